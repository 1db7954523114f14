"""What a new call is, what a claim finds, and what a call leaves behind when it goes from memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, patch

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.pod.test_ownership import until_given_up
from tests.runtime.rig import ANSWER, TYPED, Caller, FixedAgents, Rig, ScriptedAgent, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.agents.base import Agent, ResponsePart, Text, Turn
from voice_agent.errors import ConnectionRefused, StoreUnavailable
from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.base import Claim, Claimed, NotClaimed
from voice_agent.stores.memory import MemoryStore

KEY, OTHER_KEY, THIRD_KEY = "k" * 64, "l" * 64, "m" * 64
BIND_FAILED = ("store_failed", "bind_call_key")


async def turns() -> None:
    """Let everybody have some of the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- a new call -------------------------------------------------------------------


class AliasedAgents(FixedAgents):
    """One agent answers to every name, and to none."""

    def agent(self, model: str) -> Agent:
        return super().agent("scripted")


@pytest.mark.parametrize("model", ["", "gpt-realtime"])
async def test_a_new_call_is_written_with_one_write_and_weighed(model: str) -> None:
    """It keeps the name it was asked for by; where none was asked for, that of the agent. When it must end is told."""
    store = FaultyStore()
    its = Rig(store, AliasedAgents(ScriptedAgent()))
    pod = await its.pod(max_call_s=7200)
    live = await pod.ownership.make(StartCall(model, "key"))
    assert store.rounds == [1]
    assert live.call.model == (model or "scripted")
    assert live.call.session["model"] == live.call.model
    assert abs(live.call.session["expires_at"] - (pod.clock.wall_ms() / 1000 + 7200)) < PATIENCE_S
    assert pod.budget.used_by("key") == live.held_bytes > 0
    await pod.close()


# --- call keys ----------------------------------------------------------------------


async def test_a_key_is_bound_again_now_and_then_and_not_twice_at_once() -> None:
    """However often somebody looks, and however long the store takes; what fails is counted and tried again."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock, ttl_s=60)
        caller = await its.start(pod, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        answer = asyncio.Event()

        async def answered(*_: str) -> str:
            await answer.wait()
            return caller.call_id

        with patch.object(store, "bind_call_key", AsyncMock(side_effect=answered)) as bind:
            clock.leap(20)
            for _ in range(3):
                await pod.upkeep.look_after_calls()
                await turns()
            pod.owned.keep_key(live)
            await turns()
            assert bind.call_count == 1
            answer.set()
            await until(lambda: not pod.owned.call_keys._keeping)
            await pod.upkeep.look_after_calls()
            await turns()
            assert bind.call_count == 1
        with patch.object(store, "bind_call_key", side_effect=[StoreUnavailable("lost"), caller.call_id]) as bind:
            clock.leap(20)
            await pod.upkeep.look_after_calls()
            await until(lambda: bind.call_count == 1)
            clock.leap(20)
            await until(lambda: bind.call_count == 2)
        assert pod.observer.counts[BIND_FAILED] == 1  # type: ignore[attr-defined]


async def test_in_an_outage_a_call_key_finds_its_call_and_no_other() -> None:
    """Of the same API key alone, and only a call that the outage found attached: else it may be elsewhere by now."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        left, first, second = [
            await its.start(pod, call_key_hash=key, resumable=True) for key in (THIRD_KEY, KEY, OTHER_KEY)
        ]
        for caller in (left, first, second):
            await caller.greeting()
        await left.gone()
        clock.leap(1)
        store.is_away = True
        await until_given_up(pod, clock, first)
        for caller, key in ((second, OTHER_KEY), (first, KEY)):
            assert (await its.start(pod, call_key_hash=key, resumable=True)).call_id == caller.call_id
        for api_key, key in (("key", THIRD_KEY), ("another", KEY), ("key", "n" * 64)):
            with pytest.raises(ConnectionRefused) as refusal:
                await pod.start(StartCall("scripted", api_key, call_key_hash=key))
            assert (refusal.value.status, refusal.value.code) == (503, "store_unavailable")
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.resume(ResumeCall("call_" + "b" * 26))
        assert refusal.value.status == 503
        store.is_away = False
        await until(lambda: not pod.committer.is_behind)


# --- claims -------------------------------------------------------------------------


async def test_two_resumes_at_once_are_one_after_the_other() -> None:
    """On a pod that has not had the call: it gets the call once, and the caller of the first is sent away."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green", calls_per_key=9)
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await caller.gone()
        again = await asyncio.gather(*(its.resume(green, caller.call_id, 0) for _ in range(2)))
        live = green.owned.by_id[caller.call_id]
        assert live.call.epoch == 3
        assert [one.attachment._live for one in again] == [live, live]
        assert green.admission.quota.calls_of("key") == 1
        assert (await again[0].transport.until(lambda it: it.closed))[0] == 4409
        again[1].transport.say(TYPED)
        await again[1].transport.event("conversation.item.done")


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_a_pod_that_gets_a_call_back_lets_go_of_what_it_had(meanwhile: bool) -> None:
    """Another pod had it since, be it while this one asked: the old connection is closed, and the call counts once."""
    store = MemoryStore(ttl_s=60)
    claim = store.claim

    async def after_another(asked: Claim) -> Claimed | NotClaimed:
        if meanwhile:
            await claim(Claim(asked.call_id, "other", "green", 0, None, "other"))
        return await claim(asked)

    async with rig(store) as its:
        pod = await its.pod(calls_per_key=9)
        first = await its.start(pod, resumable=True)
        await first.greeting()
        before = pod.owned.by_id[first.call_id]
        if not meanwhile:
            await claim(Claim(first.call_id, "other", "green", 0, None, "other"))
        with patch.object(store, "claim", after_another):
            again = await its.resume(pod, first.call_id, 0)
        assert before.is_fenced
        live = pod.owned.by_id[first.call_id]
        assert live is not before
        assert live.call.epoch == 3
        assert pod.admission.quota.calls_of("key") == 1
        assert pod.budget.used_by("key") == live.held_bytes
        assert (await first.transport.until(lambda it: it.closed))[0] == 4409
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")


async def test_a_claim_without_an_answer_takes_no_call_while_the_store_is_well_otherwise() -> None:
    """It may have taken effect: the caller is told to come again, and the call goes on as it was."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        with (
            patch.object(store, "claim", side_effect=StoreUnavailable("lost")),
            pytest.raises(ConnectionRefused) as refusal,
        ):
            await its.resume(pod, caller.call_id, 0)
        assert (refusal.value.status, refusal.value.code) == (503, "store_unavailable")
        assert pod.observer.counts["store_failed", "claim"] == 1  # type: ignore[attr-defined]
        assert not live.in_doubt
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert caller.transport.closed is None


async def test_a_claim_whose_answer_was_lost_counts_once() -> None:
    """Asked for again it is the same one: nobody else had the call in between, and memory goes on."""
    store = FaultyStore()
    claim = store.claim

    async def answer_is_lost(asked: Claim) -> Claimed | NotClaimed:
        await claim(asked)
        raise StoreUnavailable("lost")

    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        with patch.object(store, "claim", answer_is_lost), pytest.raises(ConnectionRefused):
            await its.resume(pod, caller.call_id, 0)
        again = await its.resume(pod, caller.call_id, 0)
        assert pod.owned.by_id[caller.call_id] is live
        assert (await again.greeting())["session"]["call"]["epoch"] == 2


async def test_a_call_that_was_erased_while_it_was_claimed_is_not_taken_up() -> None:
    """Its caller is told to come again, and then that it has ended."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        store.is_away = True
        await until_given_up(pod, clock, caller)
        store.is_away = False
        store.claim_gate.clear()
        with patch.object(pod.committer.write_back, "write_some", return_value=False):
            resume = asyncio.create_task(its.resume(pod, caller.call_id, 0))
            await until(lambda: store.claims_waiting)
            assert await pod.erase(caller.call_id)
            store.is_away = True
            store.claim_gate.set()
            with pytest.raises(ConnectionRefused) as refusal:
                await resume
            assert refusal.value.status == 503
        store.is_away = False
        with pytest.raises(ConnectionRefused) as refusal:
            await its.resume(pod, caller.call_id, 0)
        assert refusal.value.status == 410
        assert pod.view.calls() == []


async def test_a_call_that_the_store_has_lost_is_written_whole_at_once() -> None:
    """What it asks for first is not what is new since."""
    store = FaultyStore()
    claim = store.claim

    async def lost_meanwhile(asked: Claim) -> Claimed | NotClaimed:
        store._calls.clear()
        return await claim(asked)

    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        with patch.object(store, "claim", lost_meanwhile):
            taken = await pod.ownership.take_over(caller.call_id, ResumeCall(caller.call_id), api_key_hash=None)
        assert taken.live is live  # type: ignore[union-attr]
        assert live.call.epoch == 2
        assert live.call.write_whole
        await pod.committer.flush(live)
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["epoch"] == b"2"


async def test_a_claim_waits_for_turns_of_the_event_loop_and_for_no_time() -> None:
    """A resume is ready within the store's round trip."""
    async with rig() as its:
        blue = its.unopened_pod("blue")
        await blue.open()
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await caller.gone()
        await blue.close()
        green = its.unopened_pod("green", "green")
        loop = asyncio.get_running_loop()
        with patch.object(loop, "call_later", wraps=loop.call_later) as timers:
            await green.ownership.take_over(caller.call_id, ResumeCall(caller.call_id), api_key_hash=None)
        timers.assert_not_called()


# --- letting go from memory ------------------------------------------------------------


class BusyAgent(ScriptedAgent):
    """Says a word, and then notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        self.turns.append(turn)
        yield Text("Let me see. ")
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
        live.call.emit({"type": "last"})
        await pod.owned.unload(live)
        assert agent.stopped == 1
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.outbox[-1].n == live.call.seq
        assert live.take_write() is None
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
        await until(lambda: not pod.committer.is_behind)


async def test_a_call_that_left_the_memory_counts_until_its_window_is_over() -> None:
    """To the millisecond, wherever it would have waited."""
    async with rig() as its:
        pod = await its.pod(calls_per_key=9, resume_window_s=120)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        await pod.owned.unload(live)
        quota, until_ms = pod.admission.quota, live.call.left_at_ms + 120_000
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
        now_s = pod.clock.monotonic_s
        callers = []
        for _ in range(2):
            callers.append(await its.start(pod, resumable=True))
            callers[-1].transport.say({"type": "conversation.item.create", "item": item})
            await callers[-1].transport.event("conversation.item.done")
        unloaded, over = callers
        await unloaded.gone()
        await pod.owned.unload(pod.owned.by_id[unloaded.call_id])
        assert pod.owned.ended.surplus(now_s()) is None
        with patch.object(pod.store, "erase", side_effect=StoreUnavailable("later")):
            await over.gone(1000)
            assert ended.surplus(now_s()) == (None if retention_s == 0 else over.call_id)
