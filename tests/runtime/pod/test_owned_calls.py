"""How calls leave the memory of a pod, and what they leave behind."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import (
    ANSWER,
    GIVEN_UP_S,
    TYPED,
    Caller,
    CountingObserver,
    Rig,
    ScriptedAgent,
    rig,
    until_given_up,
    write,
)
from tests.waiting import until
from voice_agent.errors import StoreUnavailable
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.memory import MemoryStore


async def turns() -> None:
    """Let everybody have some of the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


class BusyAgent(ScriptedAgent):
    """Says a word, and then notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    async def answer(self, call: Call, asked: Asked) -> None:
        self.turns.append(asked)
        async with call.speak() as speech:
            await write(speech, "Let me see. ")
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1


async def parked(its: Rig, pod: Pod) -> Caller:
    """A caller who was lost while a reply was made."""
    caller = await its.start(pod, resumable=True)
    caller.transport.say(ANSWER)
    await caller.transport.event("response.output_audio_transcript.delta")
    await caller.gone()
    return caller


async def test_a_call_that_leaves_the_memory_is_all_in_the_store_and_nothing_goes_on_for_it() -> None:
    """Its agent is stopped, what was new is written, and nothing is written from here any more."""
    agent = BusyAgent()
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await parked(its, pod)
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "last"})
        await pod.owned.unload(live)
        assert agent.stopped == 1
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.outbox[-1].n == live.call.outbox.seq
        assert live.writer.take_write() is None
        assert pod.view.calls() == []


async def test_a_call_stays_undisturbed_while_the_store_lacks_it() -> None:
    """It cannot leave the memory, so its reply is not begun again for nothing."""
    clock, store, agent = LeapingClock(), FaultyStore(), BusyAgent()
    async with rig(store, agent) as its:
        pod = await its.pod(clock=clock)
        caller = await parked(its, pod)
        other = await its.start(pod)
        store.is_away = True
        await until_given_up(pod, clock, other)
        await pod.owned.unload(pod.owned.by_id[caller.call_id])
        await turns()
        assert (len(agent.turns), agent.stopped) == (1, 0)
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)


async def test_a_call_that_left_the_memory_counts_until_its_window_is_over() -> None:
    """To the millisecond, wherever it would have waited."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=9, resume_window_s=120)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        await pod.owned.unload(live)
        quota, until_ms = pod.admission.quota, live.call.lifecycle.left_at_ms + 120_000
        quota.expire(until_ms - 1)
        assert quota.calls_of("key") == 1
        quota.expire(until_ms)
        assert quota.calls_of("key") == 0


@pytest.mark.parametrize("retention_s", [None, 0])
async def test_only_what_an_ended_call_leaves_counts_as_such(retention_s: int | None) -> None:
    """Neither a call that was unloaded, which may be resumed, nor one of which the store keeps nothing."""
    store = MemoryStore(ttl_s=60)
    store.retention_s = retention_s
    page = {"type": "input_text", "text": "x" * (FLOOR_BYTES // 2 + 1)}
    item = {"type": "message", "role": "user", "content": [page, page]}
    async with rig(store) as its:
        pod = await its.pod()
        ended = pod.owned.ended
        ended.limit_bytes = 0
        now_s = pod.ports.clock.monotonic_s
        callers = []
        for _ in range(2):
            callers.append(await its.start(pod, resumable=True))
            callers[-1].transport.say({"type": "conversation.item.create", "item": item})
            await callers[-1].transport.event("conversation.item.done")
        unloaded, over = callers
        await unloaded.gone()
        await pod.owned.unload(pod.owned.by_id[unloaded.call_id])
        assert pod.owned.ended.surplus(now_s()) is None
        with patch.object(pod.ports.store, "erase", side_effect=StoreUnavailable("later")):
            await over.gone(1000)
            assert ended.surplus(now_s()) == (None if retention_s == 0 else over.call_id)


async def answering(its_pod: Pod, caller: Caller) -> LiveCall:
    """The call of a caller who asked for a reply, heard its beginning and was lost."""
    caller.transport.say(ANSWER)
    await caller.transport.event("response.output_audio.delta")
    await caller.gone()
    return its_pod.owned.by_id[caller.call_id]


async def test_a_caller_who_comes_back_in_time_keeps_his_reply() -> None:
    """His call was one of those to be let go from memory, and an earlier one was being written."""
    store, agent = FaultyStore(), ScriptedAgent()
    agent.may_go_on.clear()
    async with rig(store, agent) as its:
        pod = await its.pod(capacity=10)
        first, second, _ = [await answering(pod, await its.start(pod, resumable=True)) for _ in range(3)]
        pod.admission.capacity = 1
        store.gate.clear()
        unloading = asyncio.create_task(pod.upkeep.parking.enforce())
        await until(lambda: pod.committer.has_pending(first.writer))
        resume = asyncio.create_task(its.resume(pod, second.call.call_id, 0))
        await until(lambda: pod.committer.has_pending(second.writer))
        store.gate.set()
        again = await resume
        await unloading
        assert first.call.call_id not in pod.owned.by_id
        assert pod.owned.by_id[second.call.call_id] is second
        agent.may_go_on.set()
        await again.transport.event("response.done")


async def test_a_call_that_is_being_taken_up_stays_in_memory() -> None:
    """Else its caller would be connected to a call that nobody keeps."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(capacity=10)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        store.claim_gate.clear()
        resume = asyncio.create_task(its.resume(pod, caller.call_id, 0))
        await until(lambda: live.writer.writes_paused)
        pod.admission.capacity = 0
        unloading = asyncio.create_task(pod.upkeep.parking.enforce())
        await pod.committer.flush(live.writer)
        await pod.committer.flush(live.writer)
        store.claim_gate.set()
        again = await resume
        await unloading
        assert pod.owned.by_id[caller.call_id] is live
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")


async def test_a_call_that_the_store_did_not_take_goes_on_in_memory() -> None:
    """The store went away in the moment in which the call was to be let go: its reply is made all the same."""
    clock, store, agent = LeapingClock(), FaultyStore(), ScriptedAgent()
    agent.may_go_on.clear()
    async with rig(store, agent) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, resumable=True)
        live = await answering(pod, caller)
        store.is_away = True
        unloading = asyncio.create_task(pod.owned.unload(live))
        assert isinstance(pod.observer, CountingObserver)
        await until(lambda: pod.observer.counts.get(("store_failed", "commit")))
        clock.leap(GIVEN_UP_S)
        await unloading
        store.is_away = False
        agent.may_go_on.set()
        await until(lambda: live.call.response is None)
        again = await its.resume(pod, caller.call_id, 0)
        done = await again.transport.event("response.done")
        assert done["response"]["status"] == "completed"
