"""A store of another schema is refused in one line, and left as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest

from voice_agent.call.changes import CallWrite
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import OtherLayout
from voice_agent.stores.base import AGREED_SCHEMA, PodHeartbeat
from voice_agent.stores.layout import check_layout
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore

HEARTBEAT = PodHeartbeat("a", "blue", "1", "ok", 0, 0, 1, 0, 0, reads_schemas=(SCHEMA, SCHEMA))


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A real one."""
    made = RedisStore(redis_url, ttl_s=100)
    await made.open()
    yield made
    await made.close()


async def dumped(store: RedisStore) -> dict[Any, Any]:
    """All that is in the server."""
    client: Any = store._redis
    return {key: await client.dump(key) for key in await client.keys("*")}


async def test_an_empty_store_becomes_one_of_this_schema_with_its_first_pod(store: RedisStore) -> None:
    """A tool that looks leaves it empty."""
    await check_layout(store, begins=False)
    assert await dumped(store) == {}
    await check_layout(store, begins=True)
    assert await store.get_or_set(AGREED_SCHEMA, b"7") == b"%d" % SCHEMA
    await store.get_or_set("secret", b"s" * 32)
    await store.heartbeat(HEARTBEAT, ttl_s=5)
    await check_layout(store, begins=True)
    await check_layout(store, begins=False)


LEFT_BY_SCHEMA_1: dict[str, tuple[Any, ...]] = {
    "its secret": ("SET", "voice:agreed:secret", "s" * 32),
    "a pod": ("ZADD", "voice:pods", "1", "pod-a"),
    "the router's weights": ("HSET", "voice:routing", "weights", '{"blue":100}'),
    "a cutover": ("SET", "voice:value:cutover", "{}"),
    "a call": ("HSET", "call:{call_a}", "schema", "1", "epoch", "1"),
}


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("left", LEFT_BY_SCHEMA_1)
async def test_a_store_of_schema_1_is_refused_and_left_alone(store: RedisStore, left: str, begins: bool) -> None:
    """It told no schema: any of what a pod or an operator leaves behind is enough."""
    client: Any = store._redis
    await client.execute_command(*LEFT_BY_SCHEMA_1[left])
    before = await dumped(store)
    with pytest.raises(OtherLayout, match="is of schema 1, and this version reads schema 2: .* empty the store") as no:
        await check_layout(store, begins=begins)
    assert "\n" not in str(no.value)
    assert await dumped(store) == before


async def test_a_call_alone_is_found_among_many_keys(store: RedisStore) -> None:
    """A server shows some keys at a time; the pods of a release that ended an hour ago left nothing else."""
    client: Any = store._redis
    await client.eval("for n = 1, 20000 do redis.call('SET', 'call:{' .. n .. '}', 'of another program') end", 0)
    await client.hset("call:{call_a}", "schema", "1")
    with pytest.raises(OtherLayout, match="is of schema 1,"):
        await check_layout(store, begins=True)


OF_OTHERS: dict[str, tuple[Any, ...]] = {
    "a text": ("SET", "call:{x}", "1"),
    "a hash": ("HSET", "call:{x}", "caller", "1"),
    "a schema that is no number": ("HSET", "call:{x}", "schema", "one"),
    "another installation's call": ("HSET", "b:call:{x}", "schema", "1"),
    "what belongs to no record": ("HSET", "call:{x}:items", "schema", "1"),
}


@pytest.mark.parametrize("theirs", OF_OTHERS)
async def test_what_other_programs_keep_there_is_no_sign_of_schema_1(store: RedisStore, theirs: str) -> None:
    """The store becomes one of this schema beside it."""
    client: Any = store._redis
    await client.execute_command(*OF_OTHERS[theirs])
    await check_layout(store, begins=True)
    assert await store.get_or_set(AGREED_SCHEMA, b"7") == b"%d" % SCHEMA


async def test_calls_of_an_installation_with_a_prefix_are_its_own(store: RedisStore) -> None:
    """Whatever SCAN would take the prefix for."""
    client: Any = store._redis
    store.use_prefix("[a]*:")
    await client.hset("a:call:{x}", "schema", "1")
    await check_layout(store, begins=False)
    await client.hset("[a]*:call:{x}", "schema", "1")
    with pytest.raises(OtherLayout, match="is of schema 1,"):
        await check_layout(store, begins=True)


async def test_calls_of_this_schema_make_a_store_of_it(store: RedisStore) -> None:
    """The schema alone was lost, and no pod lives that could tell it."""
    await store.commit([CallWrite("call_a", 1, fields={"schema": b"%d" % SCHEMA}, whole=True)])
    await check_layout(store, begins=True)
    assert await store.get_or_set(AGREED_SCHEMA, b"7") == b"%d" % SCHEMA


async def test_a_server_that_forbids_to_look_for_calls_is_taken_for_empty(store: RedisStore) -> None:
    """Nothing else speaks against it."""
    client: Any = store._redis
    await client.hset("call:{x}", "schema", "1")
    await client.execute_command("ACL", "SETUSER", "default", "-scan")
    try:
        await check_layout(store, begins=True)
    finally:
        await client.execute_command("ACL", "SETUSER", "default", "+scan")
    assert await store.get_or_set(AGREED_SCHEMA, b"7") == b"%d" % SCHEMA


@pytest.mark.parametrize(("settled", "told"), [(b"3", 3), (b"1", 1), (b"soon", 0), (b"9" * 30, 0)])
async def test_a_store_of_another_schema_is_refused(store: RedisStore, settled: bytes, told: int) -> None:
    """By number, whatever else is there; what is no number is no schema."""
    await store.get_or_set(AGREED_SCHEMA, settled)
    with pytest.raises(OtherLayout, match=f"is of schema {told},"):
        await check_layout(store, begins=False)


async def test_a_store_that_lost_the_schema_alone_is_not_taken_for_an_old_one(store: RedisStore) -> None:
    """A living pod of this schema tells it again with its next heartbeat."""
    await store.heartbeat(HEARTBEAT, ttl_s=5)
    await store.get_or_set("secret", b"s" * 32)
    with patch.object(store, "_schema_of_a_call", side_effect=AssertionError("no call need be looked for")):
        await check_layout(store, begins=True)


async def test_a_pod_that_begins_a_store_meanwhile_is_seen(store: RedisStore) -> None:
    """What it leaves there is no sign of schema 1: the schema was told first."""
    left_behind = store._schema_left_behind

    async def meanwhile() -> bytes | None:
        await store.get_or_set(AGREED_SCHEMA, b"%d" % SCHEMA)
        await store.get_or_set("secret", b"s" * 32)
        return await left_behind()

    with patch.object(store, "_schema_left_behind", meanwhile):
        await check_layout(store, begins=True)


async def test_a_store_begins_with_the_oldest_schema_that_its_first_pod_reads(store: RedisStore) -> None:
    """So that pods of the release before may join."""
    with patch("voice_agent.stores.layout.READS_SCHEMAS", (SCHEMA, SCHEMA + 1)):
        await check_layout(store, begins=True)
    assert await store.get_or_set(AGREED_SCHEMA, b"7") == b"%d" % SCHEMA


async def test_a_store_in_memory_begins_with_the_process() -> None:
    """Whatever is in it is of this version."""
    store = MemoryStore(ttl_s=60)
    await check_layout(store, begins=True)
    await check_layout(store, begins=False)
    assert await store.layout(7) == SCHEMA


async def test_a_heartbeat_stands_in_place_of_the_last_as_a_whole(store: RedisStore) -> None:
    """A field of a version ahead, told by the pod of this name before, is not told by this one."""
    client: Any = store._redis
    await store.heartbeat(HEARTBEAT, ttl_s=5)
    await client.hset("voice:pod:a", "mood", "sunny")
    assert await store.pods()
    assert await client.hget("voice:pod:a", "mood") == b"sunny", "who reads it takes nothing away"
    await store.heartbeat(HEARTBEAT, ttl_s=5)
    assert await client.hget("voice:pod:a", "mood") is None
