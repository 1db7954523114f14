"""The contract of every session store, run against each of them.

Tests of `testing.call_contract`, `testing.claim_contract`, `testing.ending_contract`, `testing.fleet_contract` and
`stores.record_rules`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replicated import BUSY_S, cluster_set, sentinel_set
from tests.servers import RedisServer, binaries, redis_server
from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.call.completeness import Missing, missing
from voice_agent.stores.base import (
    Claimed,
    NotClaimed,
    Store,
    WriteOutcome,
)
from voice_agent.stores.embedded import EmbeddedStore
from voice_agent.stores.factory import open_store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore
from voice_agent.testing import StoreContract
from voice_agent.testing.call_contract import (
    claim,
    counted_write,
    first_write,
    large_write,
)
from voice_agent.testing.ending_contract import EVERYTHING, SAID, talked
from voice_agent.testing.fleet_contract import TTL_S, heartbeat


def fake_store() -> RedisStore:
    """A `RedisStore` on fakeredis."""
    store = RedisStore("redis://fake", ttl_s=TTL_S)
    store._redis = fakeredis.FakeAsyncRedis()
    return store


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RedisServer]]:
    """Real servers, started once they are asked for."""
    started: dict[str, RedisServer] = {}
    with contextlib.ExitStack() as stack:

        class Servers(dict[str, RedisServer]):
            def __missing__(self, name: str) -> RedisServer:
                self[name] = stack.enter_context(redis_server(name))
                return self[name]

        yield Servers(started)


@pytest.fixture(scope="module")
def replicated() -> Iterator[dict[str, Any]]:
    """Stores of several servers, started once they are asked for."""
    with contextlib.ExitStack() as stack:

        class Sets(dict[str, Any]):
            def __missing__(self, name: str) -> Any:
                made = sentinel_set if name == "sentinel" else cluster_set
                self[name] = stack.enter_context(made(lost_after_s=BUSY_S))
                return self[name]

        yield Sets()


@pytest.fixture(params=["memory", "fakeredis", "embedded", "unix", "sentinel", "cluster", *binaries()])
async def store(request: pytest.FixtureRequest, servers: Any, replicated: Any, tmp_path: Any) -> AsyncIterator[Store]:
    """An open, empty store of each kind."""
    kind = request.param
    made: Store
    if kind == "memory":
        made = MemoryStore(ttl_s=TTL_S)
    elif kind == "fakeredis":
        made = fake_store()
    elif kind == "embedded":
        made = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=TTL_S)
    elif kind in ("sentinel", "cluster"):
        if kind == "sentinel":
            replicated[kind].client(replicated[kind].master()).flushall()
        else:
            replicated[kind].command("FLUSHALL")
        made = open_store(replicated[kind].url, ttl_s=TTL_S)
    elif kind == "unix":
        made = RedisStore(servers["valkey"].unix_url, ttl_s=TTL_S)
    else:
        made = RedisStore(servers[kind].url, ttl_s=TTL_S)
    if isinstance(made, RedisStore):
        await made.open()
        await made._redis.flushall()
    yield made
    await made.close()


class TestEveryStore(StoreContract):
    """What authors of stores test with, on the stores of this project."""


async def lose(store: Store, part: str) -> None:
    """Have one part of a call vanish, or an entry of it: ``items/i1`` is one item."""
    name, _, entry = part.partition("/")
    if isinstance(store, MemoryStore):
        kept = store._calls["call_a"]
        if entry:
            del kept.items[entry]
        else:
            getattr(kept, name).clear()
        return
    assert isinstance(store, RedisStore)
    key = f"call:{{call_a}}:{ {'outbox': 'out', 'speech': 'in'}.get(name, name) }"
    client: Any = store._redis
    assert await (client.hdel(key, entry) if entry else client.delete(key)) == 1


PARTS = ["items", "items/i1", "outbox", "speech"]


@pytest.mark.parametrize("part", PARTS)
async def test_a_change_is_never_put_on_a_call_that_has_lost_a_part(store: Store, part: str) -> None:
    """A store that holds less than the record counts is told all again; until then it keeps what it has."""
    await store.commit([replace(first_write(), revision=1)])
    assert await store.commit([counted_write()]) == [WriteOutcome.COMMITTED]
    assert await store.commit([CallWrite("call_a", 1, 3)]) == [WriteOutcome.COMMITTED]
    await lose(store, part)
    before = await store.load("call_a")
    change = CallWrite("call_a", 1, 4, fields={"status": b"parked"}, items={"i3": b"3"})
    assert await store.commit([change]) == [WriteOutcome.UNKNOWN]
    assert await store.load("call_a") == before
    assert await store.commit([replace(counted_write(), revision=5, whole=True)]) == [WriteOutcome.COMMITTED]
    assert await store.commit([replace(change, revision=6)]) == [WriteOutcome.COMMITTED]


@pytest.mark.parametrize("part", PARTS)
async def test_a_claim_finds_out_what_is_missing(store: Store, part: str) -> None:
    """The call is given to whoever claims it, and the difference shows; a call that has ended counts nothing."""
    await store.commit([replace(counted_write(), revision=1, whole=True, fields={**first_write().fields, "seq": b"2"})])
    await store.commit([CallWrite("call_a", 1, 2, fields={"kept": b"2 2 1 1"})])
    await lose(store, part)
    claimed = await store.claim(claim())
    assert isinstance(claimed, Claimed)
    lost = missing(claimed.snapshot)
    assert (
        lost
        == {
            "items": Missing(items=2),
            "items/i1": Missing(items=1),
            "outbox": Missing(events=2),
            "speech": Missing(speech=1),
        }[part]
    )
    end = CallWrite("call_a", 2, 3, fields={"status": b"ended"}, items=SAID, whole=True, ends=True)
    assert await store.commit([end]) == [WriteOutcome.COMMITTED]
    ended = await store.load("call_a")
    assert ended is not None
    assert missing(ended) == Missing()


async def test_a_call_of_schema_1_is_found_on_whichever_server_it_is(store: Store) -> None:
    """A store in memory has none; in a cluster each of these is on one of three masters."""
    if not isinstance(store, RedisStore):
        return
    client: Any = store._redis
    for n in range(6):
        await client.hset(f"call:{{call_{n}}}", "schema", "1")
        assert await store.layout(None) == 1
        await client.delete(f"call:{{call_{n}}}")
    assert await store.layout(None) is None


async def test_a_large_call_counts_what_was_staged(store: Store) -> None:
    """A write in parts, and a claim in pages, agree with what the record counts; a page that is gone shows."""
    items = {f"i{n}": b"x" * 4096 for n in range(1500)}
    write = replace(first_write(), items=items, revision=1)
    write.fields["kept"] = b"1500 0 0 0"
    assert await store.commit([write]) == [WriteOutcome.COMMITTED]
    assert await store.commit([CallWrite("call_a", 1, 2)]) == [WriteOutcome.COMMITTED]
    claimed = await store.claim(claim())
    assert isinstance(claimed, Claimed)
    assert missing(claimed.snapshot) == Missing()
    await lose(store, "items/i1400")
    again = await store.claim(claim())
    assert isinstance(again, Claimed)
    assert missing(again.snapshot) == Missing(items=1)


async def test_a_large_call_is_kept_and_read_like_any_other(store: Store) -> None:
    """However many parts it is written and read in: all of it is there at once, in order, and nothing else."""
    write = large_write()
    assert await store.commit([first_write("call_b"), write]) == [WriteOutcome.COMMITTED] * 2
    taken = await store.claim(claim(name="taken"))
    assert isinstance(taken, Claimed)
    held = await store.load("call_a")
    assert held is not None
    for snapshot in (held, taken.snapshot):
        assert snapshot.items == write.items
        assert snapshot.outbox == write.events
        assert snapshot.speech == write.speech
    if isinstance(store, RedisStore):
        assert await keys_of(store, "call_a") == {f"call:{{call_a}}{part}" for part in ("", ":items", ":out", ":in")}


async def test_a_large_write_that_is_refused_leaves_nothing(store: Store) -> None:
    """Neither in the call nor beside it, where its parts were brought before."""
    await store.commit([first_write(session=b"kept")])
    await store.claim(claim())
    assert await store.commit([large_write()]) == [WriteOutcome.SUPERSEDED]
    await store.erase("call_a", 7)
    assert await store.commit([large_write()]) == [WriteOutcome.ENDED]
    assert "the-session" not in await everything_kept(store)
    held = await store.load("call_a")
    assert held is not None
    assert held.items == {}
    if isinstance(store, RedisStore):
        assert await keys_of(store, "call_a") == {"call:{call_a}"}


async def everything_kept(store: Store) -> str:
    """All that a store holds, under whatever key."""
    if isinstance(store, MemoryStore):
        return repr(vars(store))
    assert isinstance(store, RedisStore)
    client: Any = store._redis
    found = []
    async for key in client.scan_iter():
        kind = (await client.type(key)).decode()
        read = {"hash": client.hgetall, "stream": client.xrange, "string": client.get}.get(kind)
        found.append((key, await read(key) if read else kind))
    return repr(found)


async def keys_of(store: RedisStore, call_id: str) -> set[str]:
    """The keys of a call, and beside it."""
    client: Any = store._redis
    return {key.decode() async for key in client.scan_iter(f"call:{{{call_id}}}*")}


@pytest.mark.parametrize("whole", [False, True])
async def test_with_no_retention_the_end_leaves_a_tombstone_only(store: Store, whole: bool) -> None:
    """Nothing that was said is kept, and whoever comes back is still told that the call has ended."""
    store.retention_s = 0
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True, whole=whole)])
    assert "said" not in await everything_kept(store)
    assert "the-session" not in await everything_kept(store)
    assert await store.claim(claim()) is NotClaimed.ENDED


async def test_a_call_is_erased_whoever_owns_it(store: Store) -> None:
    """Nothing that was said is left under any key, no write of whatever epoch is taken, and a claim is told `ENDED`."""
    await talked(store)
    await store.bind_call_key("k" * 64, "call_a")
    assert not await store.erase("call_b", 7)
    assert await store.erase("call_a", 7)
    for _ in range(2):
        left = await everything_kept(store)
        assert "said" not in left
        assert "the-session" not in left
        late = CallWrite("call_a", 1, items=SAID, **EVERYTHING)
        whole = CallWrite("call_a", 9, fields={"session": b"the-session"}, items=SAID, whole=True, **EVERYTHING)
        ending = CallWrite("call_a", 1, items=SAID, ends=True, whole=True)
        assert await store.commit([late, whole]) == [WriteOutcome.ENDED] * 2
        assert await store.commit([ending]) == [WriteOutcome.ENDED]
    held = await store.load("call_a")
    assert held is not None
    assert (held.fields["status"], held.fields["outcome"], held.fields["ended_at_ms"]) == (b"ended", b"admin", b"7")
    assert held.fields["epoch"] == b"2"
    assert await store.claim(claim()) is NotClaimed.ENDED
    assert await store.find_call_key("k" * 64) == "call_a"


# --- TTL ---------------------------------------------------------------------


async def test_a_memory_call_lives_exactly_as_long_as_its_ttl() -> None:
    """Held just before the TTL runs out, gone when it has; every write starts it anew."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    await store.commit([first_write()])
    now[0] = TTL_S - 1
    assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.COMMITTED]
    now[0] = 2 * TTL_S - 1.5
    assert await store.load("call_a") is not None
    now[0] = 2 * TTL_S - 1
    assert await store.load("call_a") is None


async def test_every_write_refreshes_the_ttl_of_all_keys(redis_url: str) -> None:
    """Record, items, outbox and speech live and die together, on a real server."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    keys = ["call:{call_a}", "call:{call_a}:items", "call:{call_a}:out", "call:{call_a}:in"]
    write = CallWrite(
        "call_a", 1, items={"i": b"1"}, events=[OutboxEntry(1, b"{}", b"")], speech=[SpeechEntry(1, "i", b"s")]
    )
    for refresh in (write, CallWrite("call_a", 1)):
        for key in keys:
            await client.expire(key, 7)
        await store.commit([refresh])
        assert [await client.ttl(key) for key in keys] == [TTL_S] * 4
        ends: list[Any] = [await client.pexpiretime(key) for key in keys]
        assert ends[0] == min(ends)  # A record never outlives what belongs to it.
    await store.bind_call_key("k", "call_a")
    await client.expire("voice:callkey:k", 7)
    await store.find_call_key("k")
    assert await client.ttl("voice:callkey:k") == TTL_S
    await store.close()


async def test_a_claim_refreshes_the_ttl_and_a_refused_one_does_not(redis_url: str) -> None:
    """Turning a claim down changes nothing, not even how long the call is kept."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    await client.expire("call:{call_a}", 7)
    assert await store.claim(claim(api_key_hash="other")) is NotClaimed.FOREIGN
    assert await client.ttl("call:{call_a}") <= 7
    assert isinstance(await store.claim(claim()), Claimed)
    assert await client.ttl("call:{call_a}") == TTL_S
    await store.close()


async def test_what_has_expired_is_unknown_on_a_real_server(redis_url: str) -> None:
    """A call whose time has run out can be neither read, written nor claimed, and a silent pod leaves the fleet."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    await store.bind_call_key("k", "call_a")
    await store.heartbeat(heartbeat("a"), ttl_s=5)
    assert await client.ttl("voice:pod:a") == 5
    for key in ("call:{call_a}", "voice:callkey:k", "voice:pod:a"):
        await client.pexpire(key, 1)
    while await client.exists("call:{call_a}", "voice:callkey:k", "voice:pod:a"):
        pass
    assert await store.load("call_a") is None
    assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.UNKNOWN]
    assert await store.claim(claim()) is NotClaimed.UNKNOWN
    assert await store.find_call_key("k") is None
    assert await store.pods() == []
    await store.close()


async def test_what_was_said_expires_before_the_tombstone(redis_url: str) -> None:
    """On a real server: the items go after the retention, the record stays until the TTL."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    store.retention_s = 7
    client: Any = store._redis
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True)])
    assert (await client.ttl("call:{call_a}:items"), await client.ttl("call:{call_a}")) == (7, TTL_S)
    assert sorted(await client.keys("call:*")) == [b"call:{call_a}", b"call:{call_a}:items"]
    await store.close()


async def test_memory_forgets_what_was_said_before_the_tombstone() -> None:
    """As a real server does."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    store.retention_s = 7
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True)])
    now[0] = 7.0
    assert "what-was-said" not in repr(await store.load("call_a")) + repr(vars(store))
    assert await store.claim(claim()) is NotClaimed.ENDED


async def test_memory_forgets_what_has_expired() -> None:
    """Calls, keys and pods that nobody asks for again do not pile up."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    for n in range(50):
        await store.commit([first_write(f"call_{n}")])
        await store.bind_call_key(f"key_{n}", f"call_{n}")
        await store.heartbeat(heartbeat(f"pod_{n}"), ttl_s=5)
    now[0] = TTL_S - 1
    await store.commit([CallWrite("call_0", 1)])
    await store.find_call_key("key_0")
    now[0] = TTL_S
    await store.heartbeat(heartbeat("pod_z"), ttl_s=5)
    assert await store.find_call_key("key_0") == "call_0"
    assert (list(store._calls), list(store._keys), list(store._pods)) == (["call_0"], ["key_0"], ["pod_z"])


# --- the Lua scripts and their Python model ------------------------------------

WRITES = st.tuples(
    st.integers(1, 4),
    st.booleans(),
    st.dictionaries(st.sampled_from("abc"), st.binary(max_size=4), max_size=2),
    st.dictionaries(st.sampled_from("xyz"), st.binary(max_size=4), max_size=2),
    st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
    st.lists(st.integers(1, 9), max_size=4, unique=True).map(sorted),
    st.integers(0, 9),
    st.integers(0, 5),
    st.sampled_from(["", "one", "two"]),
    st.sampled_from(["", "one", "two"]),
    st.sampled_from([False, False, True]),
    st.sampled_from(["", "", "0 0 0 0", "1 0 0 0", "1 1 0 0", "0 1 1 9", "2 2 2 2"]),
)
STEPS = st.one_of(WRITES, WRITES, st.sampled_from(["claim", "claim one", "claim two", "erase"]))


@settings(max_examples=int(os.environ.get("STORE_EXAMPLES", "60")), suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=14), st.sampled_from([TTL_S, 0]))
def test_the_scripts_do_what_their_model_does(shared_redis: RedisServer, steps: list[Any], retention_s: int) -> None:
    """Any order of writes, whole writes, ends, trims, claims and erasures ends alike in memory and on a real server."""

    async def run() -> None:
        real = RedisStore(shared_redis.url, ttl_s=TTL_S)
        try:
            await real._redis.flushall()
            model = MemoryStore(ttl_s=TTL_S)
            model.retention_s = real.retention_s = retention_s
            await compare(model, real)
        finally:
            await real.close()

    async def compare(model: MemoryStore, real: RedisStore) -> None:
        for step in steps:
            if step == "erase":
                assert await model.erase("call_a", 7) == await real.erase("call_a", 7)
                continue
            if isinstance(step, str):
                asked = claim(name=step.removeprefix("claim").strip())
                left, right = await model.claim(asked), await real.claim(asked)
                assert left == right
                continue
            epoch, whole, fields, items, dropped, numbers, keep, revision, owned_by, doubted, ends, kept = step
            write = CallWrite(
                "call_a",
                epoch,
                revision,
                owned_by,
                doubted,
                fields=fields | ({"kept": kept.encode()} if kept else {}),
                items=dict(items),
                dropped_items=[item_id for item_id in dropped if item_id not in items],
                events=[OutboxEntry(n, b"h", b"a" * (n % 2)) for n in numbers],
                speech=[SpeechEntry(n, "i", b"s") for n in numbers],
                keep_events_from=keep,
                keep_speech_from=keep,
                whole=whole,
                ends=ends,
            )
            assert await model.commit([write]) == await real.commit([write])
        assert await model.load("call_a") == await real.load("call_a")

    asyncio.run(run())


async def test_a_turn_costs_the_same_however_long_the_call_is(redis_url: str) -> None:
    """Bytes to the server per turn at turn 1 000 are within a tenth of those at turn 10."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    watch = redis.asyncio.Redis.from_url(redis_url)
    await store.commit([first_write()])

    async def bytes_for(turn: int) -> int:
        before = (await watch.info("stats"))["total_net_input_bytes"]
        await store.commit(
            [
                CallWrite(
                    "call_a",
                    1,
                    fields={"seq": b"%08d" % turn},
                    items={f"item_{turn:06d}": b"i" * 200},
                    events=[OutboxEntry(10_000 + turn, b"{}" * 50, b"")],
                    keep_events_from=max(1, turn - 100),
                )
            ]
        )
        return int((await watch.info("stats"))["total_net_input_bytes"]) - before

    costs = [await bytes_for(turn) for turn in range(1, 1001)]
    assert sum(costs[990:]) <= 1.1 * sum(costs[5:15])
    await watch.aclose()
    await store.close()
