"""Whose a call is: keys that find it, claims that hang, memory that is let go, owners who do not know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import ANSWER, TYPED, Caller, CountingObserver, FixedAgents, MirrorAgent, ScriptedAgent, rig
from tests.waiting import until
from voice_agent.agents.base import ResponsePart, Text, Turn
from voice_agent.call.codec import restore
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.call.record import Call, Status
from voice_agent.errors import ConnectionRefused, StoreUnavailable
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability import claims
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ResumeCall
from voice_agent.stores.base import Claim
from voice_agent.stores.memory import MemoryStore

KEY = "k" * 64
LONG_S = 10.0
"""Longer than a store is waited for."""


async def until_given_up(pod: Pod, clock: LeapingClock, caller: Caller) -> None:
    """Say something that the store does not take, and wait until the pod goes on without it."""
    assert isinstance(pod.observer, CountingObserver)
    failed = ("store_failed", "commit")
    caller.transport.say(TYPED)
    await until(lambda: pod.observer.counts.get(failed, 0) > 0)
    clock.leap(LONG_S)
    await until(lambda: pod.committer.degraded)


# --- call keys ------------------------------------------------------------------


async def test_a_call_key_lives_as_long_as_its_call() -> None:
    """Used once, at the start of a call that lasts for several times the TTL, it still finds the call."""
    clock = LeapingClock()
    store = MemoryStore(ttl_s=60, now_s=clock.monotonic_s)
    async with rig(store) as its:
        blue, green = await its.pod("blue", ttl_s=60, clock=clock), await its.pod("green", clock=clock)
        caller = await its.start(blue, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        for _ in range(8):
            clock.leap(25)
            await blue.upkeep.look_after_calls()
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id
        assert (await again.greeting())["session"]["call"]["resumed"] is True


async def test_a_store_that_comes_back_empty_is_told_the_call_keys() -> None:
    """With the record alone a caller who knows nothing but his key would get another call."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green")
        caller = await its.start(blue, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        store.is_away = True
        await until_given_up(blue, clock, caller)
        store._calls.clear()
        store._keys.clear()
        store.is_away = False
        await until(lambda: not blue.committer.is_behind)
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id


async def test_a_call_key_that_could_not_be_bound_is_bound_later() -> None:
    """It is asked for until the store has it: lost answers at the start do not cost the caller the way back."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green")
        with patch.object(store, "bind_call_key", side_effect=StoreUnavailable("lost")) as bind:
            caller = await its.start(blue, call_key_hash=KEY, resumable=True)
            await caller.greeting()
            await until(lambda: bind.call_count == 2)
            store._keys.clear()
        clock.leap(LONG_S)
        await until(lambda: KEY in store._keys)
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id


async def test_a_resume_by_key_begins_where_events_begin_to_be_new() -> None:
    """What happened while the claim was under way comes after the greeting: no number twice, none before it."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, call_key_hash=KEY, resumable=True)
        live = pod.owned.by_id[caller.call_id]
        live.call.emit({"type": "seen"})
        pod.committer.mark(live)
        await caller.transport.event("seen")
        store.claim_gate.clear()
        resume = asyncio.create_task(its.start(pod, call_key_hash=KEY, resumable=True))
        await until(lambda: live.writes_paused)
        live.call.emit({"type": "first"})
        live.call.emit({"type": "second"})
        pod.committer.mark(live)
        store.claim_gate.set()
        again = await resume
        await again.transport.event("second")
        assert [event["event_id"] for event in again.transport.events] == ["evt_1", "evt_2", "evt_3"]


# --- a claim under way ------------------------------------------------------------


async def test_a_call_does_not_end_while_it_is_being_taken_up() -> None:
    """Its caller came back within the resume window; that the store let him wait beyond it is not his fault."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock, resume_window_s=120)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        store.is_away = True
        await until_given_up(pod, clock, caller)
        await caller.gone()
        store.is_away = False
        store.claim_gate.clear()
        with patch.object(pod.committer.write_back, "write_some", return_value=False):
            resume = asyncio.create_task(its.resume(pod, caller.call_id))
            live = pod.owned.by_id[caller.call_id]
            await until(lambda: live.writes_paused)
            clock.leap(200)
            await pod.upkeep.look_after_calls()
            store.is_away = True
            store.claim_gate.set()
            again = await resume
        assert pod.owned.by_id[caller.call_id] is live
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")
        store.is_away = False
        await until(lambda: not pod.committer.is_behind)
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["status"] == b"attached"


async def test_a_call_that_the_store_has_lost_goes_on_from_memory() -> None:
    """Nobody else can have had it: its caller comes back to the same pod, and the store gets all of it again."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        await caller.gone()
        store._calls.clear()
        again = await its.resume(pod, caller.call_id, 0)
        await again.transport.event("conversation.item.done")
        assert (await again.greeting())["session"]["call"]["epoch"] == 2
        await pod.committer.flush(pod.owned.by_id[caller.call_id])
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["epoch"] == b"2"
        assert [f"evt_{entry.n}" for entry in held.outbox] == again.transport.ids


async def test_a_call_that_ends_while_its_key_is_raced_for_is_no_call_to_resume() -> None:
    """The loser has no call to take over then: it is told to connect again, and nothing of its own is left."""
    async with rig() as its:
        pod = await its.pod()
        other = await its.start(pod)
        await other.greeting()
        await other.gone(1000)
        with (
            patch.object(its.store, "bind_call_key", return_value=other.call_id),
            pytest.raises(ConnectionRefused) as refusal,
        ):
            await its.start(pod, call_key_hash=KEY)
        assert (refusal.value.status, refusal.value.code) == (503, "call_key_changed")
        assert (pod.admission.active, pod.view.calls()) == (0, [])


@pytest.mark.parametrize("by_key", [False, True])
async def test_a_caller_taken_back_in_doubt_is_sent_to_the_owner(by_key: bool) -> None:
    """1012, not 4409: the connection is the caller's only one, and the owner is found with a resume."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        store.is_away = True
        await until_given_up(pod, clock, caller)
        await caller.gone()
        if by_key:
            again = await its.start(pod, call_key_hash=KEY, resumable=True)
        else:
            again = await its.resume(pod, caller.call_id)
        await again.greeting()
        await MemoryStore.claim(store, Claim(caller.call_id, "other", "green", 0, None, "other"))
        store.is_away = False
        assert (await again.transport.until(lambda it: it.closed))[0] == 1012


class Doer(ScriptedAgent):
    """Does one thing in the world; notes whether its key was durable by then."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.was_durable: list[bool] = []

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        async def run(key: str) -> None:
            held = await self.store.load(turn.call_id)
            assert held is not None
            self.was_durable.append(key.encode() in held.fields["response"])

        await self.may_go_on.wait()
        await turn.once("book", run)
        yield Text("booked")


async def test_a_side_effect_waits_while_its_call_is_being_taken_up() -> None:
    """Nothing of the call can be written then, so neither can the deed's key."""
    store = FaultyStore()
    agent = Doer(store)
    agent.may_go_on.clear()
    async with rig(store, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.created")
        live = pod.owned.by_id[caller.call_id]
        store.claim_gate.clear()
        resume = asyncio.create_task(its.resume(pod, caller.call_id, 0))
        await until(lambda: live.writes_paused)
        agent.may_go_on.set()
        await until(lambda: live.call.response is not None and live.call.response.side_effects)
        await pod.committer.flush(live)
        assert agent.was_durable == []
        store.claim_gate.set()
        await (await resume).transport.event("response.done")
        assert agent.was_durable == [True]


# --- letting parked calls go from memory -------------------------------------------


async def parked(its_pod: Pod, caller: Caller) -> LiveCall:
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
        first, second, _ = [await parked(pod, await its.start(pod, resumable=True)) for _ in range(3)]
        pod.admission.capacity = 1
        store.gate.clear()
        unloading = asyncio.create_task(pod.upkeep.parking.enforce())
        await until(lambda: pod.committer.has_pending(first))
        resume = asyncio.create_task(its.resume(pod, second.call.call_id, 0))
        await until(lambda: pod.committer.has_pending(second))
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
        await until(lambda: live.writes_paused)
        pod.admission.capacity = 0
        unloading = asyncio.create_task(pod.upkeep.parking.enforce())
        await pod.committer.flush(live)
        await pod.committer.flush(live)
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
        live = await parked(pod, caller)
        store.is_away = True
        unloading = asyncio.create_task(pod.owned.unload(live))
        assert isinstance(pod.observer, CountingObserver)
        await until(lambda: pod.observer.counts.get(("store_failed", "commit")))
        clock.leap(LONG_S)
        await unloading
        store.is_away = False
        agent.may_go_on.set()
        await until(lambda: live.call.response is None)
        again = await its.resume(pod, caller.call_id, 0)
        done = await again.transport.event("response.done")
        assert done["response"]["status"] == "completed"


# --- owners who do not know of each other ---------------------------------------------


async def test_a_pod_without_the_agent_sends_the_caller_to_another_one() -> None:
    """Versions differ in their agents: 503, not a mistake of the client, and where the agent is the call goes on."""
    async with rig() as its:
        blue = await its.pod("blue")
        caller = await its.start(blue, resumable=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        await caller.gone()
        its.agents = FixedAgents(MirrorAgent())
        green = await its.pod("green", "green")
        with pytest.raises(ConnectionRefused) as refusal:
            await green.resume(ResumeCall(caller.call_id, 0))
        assert (refusal.value.status, refusal.value.code) == (503, "agent_unknown")
        assert refusal.value.retry_after_s is not None
        assert green.admission.active == 0
        assert green.view.calls() == []
        again = await its.resume(blue, caller.call_id, 0)
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done", 2)
        assert again.transport.ids[:2] == caller.transport.ids


async def test_time_in_which_a_dead_pod_spoke_to_nobody_is_not_counted_as_heard() -> None:
    """A pod that died noted no leaving; what its caller had heard ends with its last write."""
    clock, agent = LeapingClock(), ScriptedAgent(chunks=20)
    agent.may_go_on.clear()
    async with rig(None, agent) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green", clock=clock)
        caller = await its.start(blue, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio.delta")
        for task in blue._tasks:
            task.cancel()
        await asyncio.gather(*blue._tasks, return_exceptions=True)
        clock.leap(30)
        agent.may_go_on.set()
        again = await its.resume(green, caller.call_id)
        await again.transport.event("response.done")
        clock.leap(0.3)
        live = green.owned.by_id[caller.call_id]
        assert live.call.status is Status.ATTACHED
        live.feed(AppendAudio(bytes(960), None, (VoiceBoundary(True, 0),)))
        truncated = await again.transport.event("conversation.item.truncated")
        assert 300 <= truncated["audio_end_ms"] < 2000


async def test_a_long_conversation_is_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other calls go on while twenty thousand items are; a short one is read at once."""
    threads: list[threading.Thread] = []

    def noted(*arguments: Any, **more: Any) -> Call:
        threads.append(threading.current_thread())
        return restore(*arguments, **more)

    monkeypatch.setattr(claims, "restore", noted)
    monkeypatch.setattr(claims, "LONG_CONVERSATION", 2)
    async with rig() as its:
        blue, green = await its.pod(), await its.pod("pod-b", "green")
        for items in (2, 3):
            caller = await its.start(blue, resumable=True)
            for number in range(1, items + 1):
                caller.transport.say(TYPED)
                await caller.transport.event("conversation.item.done", number)
            await caller.gone()
            again = await its.resume(green, caller.call_id, 0)
            await again.transport.event("conversation.item.done", items)
            assert len(green.owned.by_id[caller.call_id].call.conversation) == items
    assert [thread is threading.main_thread() for thread in threads] == [True, False]
