"""A server at its `maxmemory`: what it takes all the same, and that nothing is lost to what it does not take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.servers import binaries, redis_server
from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.errors import StoreFull
from voice_agent.stores.base import Claim, Claimed, DrainRequest, NotClaimed, PodHeartbeat, WriteOutcome
from voice_agent.stores.redis import RedisStore

SAID = {"item_1": b"what-was-said"}
EVERYTHING: dict[str, Any] = {
    "items": SAID,
    "events": [OutboxEntry(1, b"{}", bytes(1000))],
    "speech": [SpeechEntry(1, "item_1", bytes(1000))],
}
ENDED = {"status": b"ended", "outcome": b"hangup"}
HEARTBEAT = PodHeartbeat("pod-a", "blue", "1", "ok", 0, 0, 1, 0, 1)


@pytest.fixture(params=binaries())
async def full(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    """A store whose server holds `call_a`, and has no memory for anything else."""
    with redis_server(request.param) as server:
        store = RedisStore(server.url, ttl_s=100)
        fields = {"status": b"attached", "session": b"the-session"}
        made = CallWrite("call_a", 1, 1, "made", fields=fields, whole=True, **EVERYTHING)
        assert await store.commit([made]) == [WriteOutcome.COMMITTED]
        await limit(store, 1)
        yield store
        await store.close()


async def limit(store: RedisStore, maxmemory: int) -> None:
    """Set the server's."""
    await store._redis.config_set("maxmemory", maxmemory)


async def test_a_write_that_does_not_fit_changes_nothing(full: RedisStore) -> None:
    """Not even a whole one, which replaces what is held: what was durable stays so. With room it goes through."""
    before = await full.load("call_a")
    change = CallWrite("call_a", 1, 2, "made", fields={"seq": b"2"})
    whole = CallWrite("call_a", 1, 3, "made", fields={"seq": b"3"}, whole=True, **EVERYTHING)
    assert await full.commit([change, whole]) == [WriteOutcome.FULL] * 2
    assert await full.load("call_a") == before
    await limit(full, 0)
    assert await full.commit([change, whole]) == [WriteOutcome.COMMITTED] * 2


async def test_a_new_call_does_not_fit(full: RedisStore) -> None:
    """And leaves nothing behind."""
    assert await full.commit([CallWrite("call_b", 1, 1, "made", whole=True, **EVERYTHING)]) == [WriteOutcome.FULL]
    assert await full.load("call_b") is None
    with pytest.raises(StoreFull, match="is full"):
        await full.get_or_set("nothing yet", b"x")


async def test_a_call_is_taken_over_all_the_same(full: RedisStore) -> None:
    """With all that is held; the owner before is fenced, and learns it by asking."""
    taken = await full.claim(Claim("call_a", "pod-b", "green", 5, name="taken"))
    assert isinstance(taken, Claimed)
    assert (taken.epoch, taken.snapshot.items, len(taken.snapshot.outbox)) == (2, SAID, 1)
    assert await full.commit([CallWrite("call_a", 1, claim="made")]) == [WriteOutcome.SUPERSEDED]
    assert await full.commit([CallWrite("call_a", 2, claim="taken")]) == [WriteOutcome.FULL]


@pytest.mark.parametrize("whole", [False, True])
async def test_a_call_ends_all_the_same(full: RedisStore, whole: bool) -> None:
    """Its end frees memory."""
    end = CallWrite("call_a", 1, 2, "made", fields=ENDED, items={"item_2": b"2"}, ends=True, whole=whole)
    assert await full.commit([end]) == [WriteOutcome.COMMITTED]
    held = await full.load("call_a")
    assert held is not None
    assert held.items.keys() == ({"item_2"} if whole else {"item_1", "item_2"})
    assert (held.fields["status"], held.outbox, held.speech) == (b"ended", [], [])


async def test_of_an_end_that_needs_much_memory_the_end_alone_is_taken(full: RedisStore) -> None:
    """Else calls that end would fill a server beyond its limit. The conversation follows once there is room."""
    items = {f"item_{n}": bytes(10_000) for n in range(10)}
    end = CallWrite("call_a", 1, 2, "made", fields=ENDED, items=items, ends=True, whole=True)
    assert await full.commit([end]) == [WriteOutcome.FULL]
    held = await full.load("call_a")
    assert held is not None
    assert (held.fields["status"], held.items, held.outbox, held.speech) == (b"ended", SAID, [], [])
    assert await full.claim(Claim("call_a", "pod-b", "green", 5)) is NotClaimed.ENDED
    await limit(full, 0)
    assert await full.commit([end]) == [WriteOutcome.COMMITTED]
    held = await full.load("call_a")
    assert held is not None
    assert held.items == items


async def test_a_call_is_erased_all_the_same(full: RedisStore) -> None:
    """What erases frees memory, too."""
    assert await full.erase("call_a", 5)
    held = await full.load("call_a")
    assert held is not None
    assert (held.items, held.outbox, held.fields["status"]) == ({}, [], b"ended")


async def test_the_fleet_stays_in_sight(full: RedisStore) -> None:
    """Heartbeats are written, also the first of a pod; so are requests to drain, and values."""
    request = DrainRequest("finish", 5, 7)
    assert await full.heartbeat(HEARTBEAT, ttl_s=5) is None
    await full.request_drain("blue", request)
    assert await full.heartbeat(HEARTBEAT, ttl_s=5) == request
    await full.request_drain("blue", None)
    await full.tell_weights({"green": 100}, 0)
    told = await full.weights()
    assert told is not None
    assert told.weights == {"green": 100}
    assert await full.drain_request("blue") is None
    assert [heartbeat.name for heartbeat in await full.pods()] == ["pod-a"]
    assert await full.compare_and_set("progress", None, b"1", ttl_s=5)
    await limit(full, 0)
    assert await full.get_or_set("secret", b"x") == b"x"
    await limit(full, 1)
    assert await full.get_or_set("secret", b"y") == b"x"
    memory = await full.memory()
    assert memory is not None
    assert memory.used_bytes > memory.limit_bytes == 1
