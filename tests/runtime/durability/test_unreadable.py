"""Records that this version does not read: refused one by one, in one line, and left as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.records import recorded
from tests.runtime.rig import TYPED, rig
from voice_agent.call.changes import CallWrite
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import ConnectionRefused, RecordUnreadable
from voice_agent.runtime.clock import SystemClock
from voice_agent.stores.base import Store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore

OF_RIG = {"api_key_hash": b"key", "model": b"scripted"}
CLAIMED = {b"epoch", b"owner", b"color", b"status", b"claimed_at_ms", b"claim"}
"""What a claim changes."""


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A real one."""
    made = RedisStore(redis_url, ttl_s=100)
    yield made
    await made.close()


async def stored(store: Store, **fields: bytes) -> None:
    """A call that no pod has, with these fields."""
    held = recorded("schema-2")
    now = b"%d" % SystemClock().wall_ms()  # As old as it was recorded, it would end as soon as somebody looks after it.
    record = held.fields | {"call_id": b"call_a", "status": b"parked", "created_at_ms": now} | OF_RIG | fields
    await store.commit(
        [CallWrite("call_a", 1, fields=record, items=held.items, events=held.outbox, speech=held.speech, whole=True)]
    )


async def all_of(store: RedisStore) -> dict[Any, Any]:
    """What each key holds, and when it expires; in which order a hash has its fields is chance."""
    server: Any = store._redis
    found = {}
    for key in await server.keys("call:*"):
        is_hash = await server.type(key) == b"hash"
        held = await server.hgetall(key) if is_hash else await server.dump(key)
        found[key] = (held, await server.expiretime(key))
    return found


async def refusal(its: Any, pod: Any, **more: Any) -> ConnectionRefused:
    """What a caller who comes back is told; the log has one line about it."""
    with pytest.raises(ConnectionRefused) as refused, capture_logs() as lines:
        await (its.start(pod, **more) if more else its.resume(pod, "call_a", 20))
    told = [line for line in lines if line["event"] == "the record of a call cannot be read"]
    assert [line["call_id"] for line in told] == ["call_a"]
    return refused.value


async def test_a_record_of_this_schema_is_read(store: RedisStore) -> None:
    """What the tests below start from."""
    await stored(store)
    async with rig(store) as its:
        await (await its.resume(await its.pod("b"), "call_a", 20)).greeting()


@pytest.mark.parametrize(
    "schema", [b"%d" % (SCHEMA - 1), b"%d" % (SCHEMA + 1), b"99", b"", b"soon", b"9" * 5000, b"\xff"]
)
async def test_a_record_of_another_schema_is_refused_and_left_alone(store: RedisStore, schema: bytes) -> None:
    """The refusal names the schema. Not even its epoch changes, nor when it expires; other calls go on."""
    await stored(store, schema=schema)
    before = await all_of(store)
    async with rig(store) as its:
        pod = await its.pod("b")
        refused = await refusal(its, pod)
        assert (refused.status, refused.code) == (503, "record_unreadable")
        assert (f"schema {schema.decode()[:20]}" if schema.isdigit() else "schema") in refused.message
        with pytest.raises(RecordUnreadable):
            await pod.call_record("call_a")
        assert {key: value for key, value in (await all_of(store)).items() if b"call_a" in key} == before
        await store.bind_call_key("k", "call_a")
        assert (await refusal(its, pod, call_key_hash="k", model="scripted")).code == "record_unreadable"
        assert await store.find_call_key("k") == "call_a"
        caller = await its.start(pod)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert pod.status().store == "redis:ok"
        assert [live.call_id for live in pod.view.calls()] == [caller.call_id]


DAMAGE: dict[str, dict[str, bytes]] = {
    "half a session": {"session": b'{"id":'},
    "a session that is a list": {"session": b"[]"},
    "a state that is a number": {"agent_state": b"7"},
    "counts that are words": {"counts": b"one two three four"},
    "too few counts": {"counts": b"1 2"},
    "no number of events": {"seq": b"many"},
    "a negative number of events": {"seq": b"-1"},
    "a number of events that no client counts": {"seq": b"1" + b"0" * 30},
    "half a reply": {"response": b"{"},
    "a reply of another shape": {"response": b'{"text":1}'},
    "no position in the audio": {"input_audio": b"x"},
    "clips that are a number": {"clips": b"7"},
    "a model that is no text": {"model": b"\xff"},
    "an event that is none": {"seen:1": b"\xff\xff"},
    "no time of its making": {"created_at_ms": b""},
    "no time of its last write": {"updated_at_ms": b"late"},
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_damaged_record_is_refused_and_not_overwritten(store: RedisStore, kind: str) -> None:
    """All of it but who claimed it stays; an administrator is told, too, and can erase it."""
    await stored(store, **DAMAGE[kind])
    before = await store._redis.hgetall("call:{call_a}")
    parts = {key: value for key, value in (await all_of(store)).items() if key != b"call:{call_a}"}
    async with rig(store) as its:
        pod = await its.pod("b")
        refused = await refusal(its, pod)
        assert (refused.status, refused.code) == (503, "record_unreadable")
        assert "schema 2) is damaged" in refused.message
        with pytest.raises(RecordUnreadable):
            await pod.call_record("call_a")
        after = await store._redis.hgetall("call:{call_a}")
        assert {name for name in after if after[name] != before.get(name)} <= CLAIMED
        assert before.keys() <= after.keys()
        assert {key: dumped for key, (dumped, _) in (await all_of(store)).items() if key in parts} == {
            key: dumped for key, (dumped, _) in parts.items()
        }
        assert pod.view.calls() == []
        assert await pod.erase("call_a")
        with pytest.raises(ConnectionRefused) as gone:
            await its.resume(pod, "call_a", 20)
        assert gone.value.status == 410


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        (":items", {"item_1": b"{"}),
        (":items", {"item_1": b"[]"}),
        (":items", {"item_1": b'{"rank":"a","item":{"id":"item_1","type":"message"}}'}),
        (":items", {b"\xff": b"{}"}),
        (":out", {"x": b"y"}),
        (":in", {"i": b"\xff", "a": b""}),
        ("", {b"\xff": b"x"}),
    ],
)
async def test_parts_of_a_call_that_are_odd_are_damage_too(store: RedisStore, key: str, entry: dict[Any, Any]) -> None:
    """Items, events and speech, and names of fields that are no text."""
    await stored(store)
    if key in (":out", ":in"):
        await store._redis.xadd(f"call:{{call_a}}{key}", entry)
    else:
        await store._redis.hset(f"call:{{call_a}}{key}", mapping=entry)
    async with rig(store) as its:
        pod = await its.pod("b")
        assert (await refusal(its, pod)).code == "record_unreadable"
        with pytest.raises(RecordUnreadable):
            await pod.call_record("call_a")


async def test_a_record_that_is_damaged_beside_its_owner_is_written_again(store: RedisStore) -> None:
    """Who comes back meanwhile is refused once; the pod that has the call in memory keeps it, and heals the record."""
    async with rig(store) as its:
        pod = await its.pod("a")
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await caller.gone()
        await pod.committer.flush(live.writer)
        await store._redis.hset(f"call:{{{caller.call_id}}}:items", mapping={b"\xff": b"{}"})
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, caller.call_id, 0)
        assert refused.value.code == "record_unreadable"
        await pod.committer.flush(live.writer)
        again = await its.resume(pod, caller.call_id, 0)
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")
        assert pod.owned.by_id[caller.call_id] is live
        assert await pod.call_record(caller.call_id)


async def test_an_epoch_that_is_no_number_is_refused_and_can_be_erased(store: RedisStore) -> None:
    """Nobody can own such a call."""
    await stored(store)
    await store._redis.hset("call:{call_a}", "epoch", "newest")
    async with rig(store) as its:
        pod = await its.pod("b")
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, "call_a", 20)
        assert refused.value.code == "store_refused"
        with pytest.raises(RecordUnreadable):
            await pod.call_record("call_a")
        assert await pod.erase("call_a")


async def test_the_store_in_memory_refuses_as_the_others_do() -> None:
    """It is the model of the scripts."""
    store = MemoryStore(ttl_s=60)
    await stored(store, schema=b"99")
    before = await store.load("call_a")
    async with rig(store) as its:
        assert "schema 99" in (await refusal(its, await its.pod("b"))).message
    assert await store.load("call_a") == before
