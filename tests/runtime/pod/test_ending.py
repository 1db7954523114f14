"""What has ended is let go: in the store with the write that ends a call, and in the pod's memory."""

from __future__ import annotations

import base64
import gc
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore, until
from tests.runtime.rig import ANSWER, TYPED, AnsweringAgent, Caller, Rig, ScriptedAgent, rig
from voice_agent.call.codec import SAID
from voice_agent.call.endings import transfer_event
from voice_agent.call.record import CallRecord
from voice_agent.errors import ConnectionRefused, StoreUnavailable
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.upkeep import ASK_EPOCH_S, UPKEEP_S
from voice_agent.stores.memory import MemoryStore
from voice_agent.web.refusals import body

SPEECH = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(48_000)).decode()}
"""A second of it."""
CLOSED_WITHIN_S = 2.0
"""A call that is erased on another pod."""
AN_ENDED_CALL_BYTES = 40_000
"""What the store keeps of an ordinary one."""


async def talk(its: Rig, pod: Pod, turns: int = 1, **request: Any) -> Caller:
    """A call with spoken and typed turns and answers to them."""
    caller = await its.start(pod, **request)
    await caller.greeting()
    detection = {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    }
    caller.transport.say(detection)
    for turn in range(1, turns + 1):
        caller.transport.say({**SPEECH, "event_id": f"client_event_{turn}"})
        caller.transport.say({"type": "input_audio_buffer.commit"})
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done", turn)
    return caller


async def stored(store: MemoryStore, call_id: str) -> Any:
    """What is kept of a call."""
    held = await store.load(call_id)
    assert held is not None
    return held


async def test_an_ended_call_keeps_its_conversation_and_nothing_else() -> None:
    """Three minutes of talk: no outbox, no speech, no client events; 40 kB at most. A resume is told 410."""
    async with rig() as its:
        pod = await its.pod()
        caller = await talk(its, pod, turns=40)
        before = await stored(its.store, caller.call_id)  # type: ignore[arg-type]
        assert len(before.outbox) > 100
        await caller.gone(1000)
        held = await stored(its.store, caller.call_id)  # type: ignore[arg-type]
        assert (held.outbox, held.speech) == ([], [])
        assert not any(name.startswith("seen:") for name in held.fields)
        kept = sum(len(name) + len(value) + 64 for some in (held.fields, held.items) for name, value in some.items())
        assert kept < AN_ENDED_CALL_BYTES
        record = await pod.call_record(caller.call_id)
        assert record is not None
        assert (record["status"], record["outcome"]) == ("ended", "hangup")
        assert len(record["transcript"]) == 80
        assert record["agent_state"] == {"number": 40}
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, caller.call_id)
        assert refused.value.status == 410


async def test_with_no_retention_a_tombstone_is_left() -> None:
    """Status, times and outcome, and who it belonged to: nothing that was said, and not what was asked of the agent."""
    store = MemoryStore(ttl_s=60)
    store.retention_s = 0
    async with rig(store) as its:
        pod = await its.pod()
        caller = await talk(its, pod)
        await caller.gone(1000)
        record = await pod.call_record(caller.call_id)
        assert record is not None
        assert (record["status"], record["outcome"], record["transcript"]) == ("ended", "hangup", [])
        assert (record["session"], record["agent_state"]) == (None, None)
        assert record["ended_at_ms"]
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, caller.call_id)
        assert refused.value.status == 410


async def test_an_event_made_together_with_the_end_reaches_the_caller() -> None:
    """The outbox is dropped, and the events that wait for the write wait in memory."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "last"})
        live.finish("agent")
        await caller.transport.event("last")
        await caller.task
        assert caller.transport.closed is not None
        assert (await stored(its.store, caller.call_id)).outbox == []  # type: ignore[arg-type]


async def test_a_pod_forgets_a_call_that_has_ended() -> None:
    """Nothing in it holds on to the call, however it ended."""
    agent = ScriptedAgent()
    async with rig(None, agent) as its:
        pod, other = await its.pod(), await its.pod("pod-b")
        hung_up, erased, erased_elsewhere = [await talk(its, pod) for _ in range(3)]
        await hung_up.gone(1000)
        assert await pod.erase(erased.call_id)
        assert await other.erase(erased_elsewhere.call_id)
        await erased.task
        await erased_elsewhere.task
        ids = {caller.call_id for caller in (hung_up, erased, erased_elsewhere)}
        del hung_up, erased, erased_elsewhere
        its.callers.clear()
        agent.turns.clear()
        await until(lambda: not _remembered(ids))


def _remembered(ids: set[str]) -> list[CallRecord]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, CallRecord) and found.call_id in ids]


async def test_erasing_on_any_pod_ends_the_call_and_says_so_in_the_log() -> None:
    """The caller is closed with 4410, what was said is gone, the key starts a new call, and the record says why."""
    with capture_logs() as logs:
        async with rig() as its:
            blue, green = await its.pod("blue"), await its.pod("green", color="green")
            caller = await talk(its, blue, call_key_hash="k" * 64)
            assert await green.erase(caller.call_id)
            await caller.task
            assert caller.transport.closed is not None
            assert caller.transport.closed[0] == 4410
            for pod in (blue, green):
                record = await pod.call_record(caller.call_id)
                assert record is not None
                assert (record["status"], record["outcome"]) == ("ended", "admin")
                assert (record["transcript"], record["session"]) == ([], None)
            held = await stored(its.store, caller.call_id)  # type: ignore[arg-type]
            assert (held.items, held.outbox, held.speech) == ({}, [], [])
            again = await its.start(green, call_key_hash="k" * 64)
            assert again.call_id != caller.call_id
            assert blue.observer.counts["call_ended", "admin"] == 1  # type: ignore[attr-defined]
    assert [line["call_id"] for line in logs if line["event"] == "call erased"] == [caller.call_id]


async def test_a_silent_call_that_was_erased_elsewhere_is_closed_within_two_seconds() -> None:
    """By the pod's clock: it asks about calls that have nothing to write."""
    clock = LeapingClock()
    async with rig() as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green", color="green")
        caller = await its.start(blue)
        await caller.greeting()
        await until(lambda: not blue.committer.has_pending(blue.owned.by_id[caller.call_id].writer))
        assert await green.erase(caller.call_id)
        clock.leap(ASK_EPOCH_S + UPKEEP_S)
        await caller.transport.until(lambda it: it.closed)
        assert ASK_EPOCH_S + UPKEEP_S < CLOSED_WITHIN_S


async def test_an_erasure_is_not_pretended_while_the_store_is_away() -> None:
    """It fails, the call goes on, and may be erased afterwards."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await talk(its, pod)
        store.is_away = True
        with pytest.raises(StoreUnavailable):
            await pod.erase(caller.call_id)
        assert caller.transport.closed is None
        store.is_away = False
        assert await pod.erase(caller.call_id)
        await caller.task


async def test_what_was_erased_is_not_written_back_after_an_outage() -> None:
    """The owner could not be told while it was cut off; its whole write is refused, and it closes the call."""
    store = FaultyStore()
    async with rig(store) as its:
        blue = await its.pod("blue")
        caller = await talk(its, blue)
        store.is_away = True
        caller.transport.say(TYPED)
        await until(lambda: blue.committer.degraded)
        assert await MemoryStore.erase(store, caller.call_id, 7)
        store.is_away = False
        await caller.transport.until(lambda it: it.closed)
        assert caller.transport.closed is not None
        assert caller.transport.closed[0] == 4410
        held = await stored(store, caller.call_id)
        assert (held.items, held.outbox) == ({}, [])


async def test_a_call_that_the_store_does_not_know_is_ended_where_it_lives() -> None:
    """The store lost it, and takes no more of it: nothing was kept, and nothing is written again."""
    store = FaultyStore()
    async with rig(store) as its:
        pod, other = await its.pod(), await its.pod("pod-b")
        caller = await talk(its, pod)
        store.is_full = True
        store._calls.clear()
        assert not await other.erase(caller.call_id)
        assert await pod.erase(caller.call_id)
        await caller.task
        store.is_full = False
        await until(lambda: not pod.committer.write_back.is_behind)
        assert await store.load(caller.call_id) is None


async def test_the_end_of_a_long_silence_of_the_store_keeps_what_was_said() -> None:
    """A call that ended in an outage is written as ended, with its conversation, and without its audio."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await talk(its, pod)
        store.is_away = True
        caller.transport.say(SPEECH)
        caller.transport.say({"type": "input_audio_buffer.commit"})
        await caller.transport.event("input_audio_buffer.committed", 2)
        await caller.gone(1000)
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
        held = await stored(store, caller.call_id)
        assert (held.fields["status"], held.speech, held.outbox) == (b"ended", [], [])
        assert len(held.items) == 1 + 3
        assert SAID in held.items


class TransferringAgent(AnsweringAgent):
    """Hands every caller over."""

    name = "transferring"

    async def answer(self, call: Call, asked: Asked) -> None:
        await call.transfer("+4930123")


async def test_whoever_comes_back_to_a_call_that_was_transferred_is_told_whom_to_call() -> None:
    """The connection may be cut just before the event that says it; until the call is erased."""
    async with rig(None, TransferringAgent()) as its:
        blue, green = await its.pod("blue"), await its.pod("green", color="green")
        caller = await its.start(blue, "transferring")
        caller.transport.say(ANSWER)
        await caller.task
        last = caller.transport.events[-1]
        assert last["type"] == "call.transfer"
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(green, caller.call_id, 0)
        told = {"outcome": "transferred", "last_event_id": last["event_id"], "transfer": {"target": "+4930123"}}
        assert (refused.value.status, refused.value.details) == (410, told)
        assert orjson.loads(body(refused.value))["error"].items() >= told.items()
        assert transfer_event(told) == last
        await green.erase(caller.call_id)
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(green, caller.call_id, 0)
        assert "transfer" not in refused.value.details


async def test_of_a_call_that_ended_otherwise_the_outcome_is_told() -> None:
    """And nobody is to be called."""
    async with rig() as its:
        blue = await its.pod("blue")
        caller = await talk(its, blue)
        await caller.gone(1000)
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(blue, caller.call_id, 0)
        assert refused.value.details["outcome"] == "hangup"
        assert transfer_event(refused.value.details) is None
