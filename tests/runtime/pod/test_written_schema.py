"""A format changes in two releases: here with a third schema, which the newer of two releases reads and writes."""

from __future__ import annotations

import pytest

from tests.runtime.rig import TYPED, rig
from tests.waiting import until
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import ConnectionRefused
from voice_agent.stores.memory import MemoryStore

OLDER, NEWER = (SCHEMA, SCHEMA), (SCHEMA, SCHEMA + 1)


def schema_of(store: MemoryStore, call_id: str) -> int:
    """What a call's record says."""
    return int(store._calls[call_id].fields["schema"])


async def test_the_newer_schema_is_written_only_while_every_pod_reads_it() -> None:
    """While one of the older release is there its schema is written; also of calls that stood in the newer one."""
    store = MemoryStore(ttl_s=60)
    async with rig(store) as its:
        newer = await its.pod("newer", "green", reads_schemas=NEWER)
        alone = await its.start(newer, resumable=True)
        assert schema_of(store, alone.call_id) == SCHEMA + 1
        older = await its.pod("older", "blue", reads_schemas=OLDER)
        await newer.heartbeat.heartbeat()
        await until(lambda: schema_of(store, alone.call_id) == SCHEMA)
        beside = await its.start(newer)
        assert schema_of(store, beside.call_id) == SCHEMA
        alone.transport.say(TYPED)
        last = await alone.transport.event("conversation.item.done")
        taken = await its.resume(older, alone.call_id, int(last["event_id"].removeprefix("evt_")))
        await taken.greeting()
        await older.close()
        its.pods.remove(older)
        await newer.heartbeat.heartbeat()
        await until(lambda: schema_of(store, beside.call_id) == SCHEMA + 1)
        again = await its.resume(newer, alone.call_id, 0)
        await again.greeting()
        await until(lambda: schema_of(store, alone.call_id) == SCHEMA + 1)


async def test_pods_of_the_newer_release_hand_calls_on_in_the_newer_schema() -> None:
    """Each says what it reads, and so none goes back to the older schema for the other's sake."""
    store = MemoryStore(ttl_s=60)
    async with rig(store) as its:
        pods = [await its.pod(name, "green", reads_schemas=NEWER) for name in ("one", "two")]
        for pod in pods:
            await pod.heartbeat.heartbeat()
        caller = await its.start(pods[0], resumable=True)
        assert schema_of(store, caller.call_id) == SCHEMA + 1
        again = await its.resume(pods[1], caller.call_id, 0)
        await again.greeting()
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")
        assert schema_of(store, caller.call_id) == SCHEMA + 1


async def test_a_call_in_a_schema_that_a_pod_does_not_read_stays_with_those_that_do() -> None:
    """Until the next heartbeat of the newer pod the older one refuses it, and changes nothing."""
    store = MemoryStore(ttl_s=60)
    async with rig(store) as its:
        newer = await its.pod("newer", "green", reads_schemas=NEWER)
        caller = await its.start(newer, resumable=True)
        older = await its.pod("older", "blue", reads_schemas=OLDER)
        # Else the agent acknowledges that the call began, at a moment of its own.
        await until(lambda: b'"waiting":[]' in store._calls[caller.call_id].fields["agent_events"])
        before = dict(store._calls[caller.call_id].fields)
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(older, caller.call_id, 0)
        assert (refused.value.status, refused.value.code) == (503, "record_unreadable")
        assert store._calls[caller.call_id].fields == before
