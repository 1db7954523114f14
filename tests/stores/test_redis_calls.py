"""Items of a claimed call that are read beside the script: what they cost the server, and what may come between."""

from __future__ import annotations

from typing import Any

import pytest

from tests.servers import redis_server
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreUnavailable
from voice_agent.stores.base import Claim, Claimed
from voice_agent.stores.redis import RedisStore

CLAIM = Claim("call_a", "pod-b", "green", 5, name="b")


def call_of(count: int, item_bytes: int, told_bytes: int | None) -> CallWrite:
    """A call of so many items; `told_bytes`: what its record tells of their size, None in an older release's."""
    items = {f"item_{n}": bytes(item_bytes) for n in range(count)}
    kept = f"{count} 0 0 0" + ("" if told_bytes is None else f" {told_bytes}")
    return CallWrite("call_a", 1, 1, "made", fields={"kept": kept.encode()}, items=items, whole=True)


@pytest.mark.parametrize(
    ("count", "item_bytes", "told_bytes", "are_beside"),
    [
        (50, 100, 5_000, False),
        (51, 100, 5_100, True),
        (4000, 100, 400_000, True),
        (4001, 100, 400_100, False),
        (400, 2_000, 800_000, False),
        (400, 100, None, False),
    ],
    ids=["few", "many", "most", "too many", "too large", "older release"],
)
async def test_items_are_read_by_a_command_where_that_is_bounded(
    count: int, item_bytes: int, told_bytes: int | None, are_beside: bool
) -> None:
    """A hash that nobody knows the size of might keep the server from others; a script costs it three times as much."""
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=10)
        write = call_of(count, item_bytes, told_bytes)
        await store.commit([write])
        claimed = await store.claim(CLAIM)
        assert isinstance(claimed, Claimed)
        assert claimed.snapshot.items == write.items
        stats: Any = await store._redis.info("commandstats")
        read = stats["cmdstat_hgetall"]["calls"]
        assert read == (2 if are_beside else 1)  # The record's, and the items'.
        await store.close()


async def test_what_is_wrong_with_one_call_is_no_other_s(redis_url: str) -> None:
    """They are asked for together."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([call_of(60, 10, 600)])
    broken = store.keys.of_call("call_b")
    await store._redis.set(broken[1], "no hash")
    error, (items, owner) = await store._read_items([(broken, ()), (store.keys.of_call("call_a"), ())])
    assert "WRONGTYPE" in str(error)
    assert len(items) in (60, 120)  # A map, or names and values by turns.
    assert owner == [b"1", b"made"]
    await store.close()


async def test_a_claim_that_is_overtaken_before_its_items_are_read_is_lost(redis_url: str) -> None:
    """They may be those that another owner has changed since."""
    store, other = RedisStore(redis_url, ttl_s=10), RedisStore(redis_url, ttl_s=10)
    await store.commit([call_of(100, 10, 1000)])
    read_items = store._read_items

    async def overtaken(questions: Any) -> list[Any]:
        assert isinstance(await other.claim(Claim("call_a", "pod-c", "blue", 6, name="c")), Claimed)
        return await read_items(questions)

    store._read_items = overtaken  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="claimed by another pod"):
        await store.claim(CLAIM)
    await store.close()
    await other.close()
