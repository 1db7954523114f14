"""Whose a call is: new ones, keys that find it, claims that hang, owners who do not know of each other."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import (
    ANSWER,
    TYPED,
    FixedAgents,
    MirrorAgent,
    Rig,
    ScriptedAgent,
    rig,
    until_given_up,
    write,
)
from tests.waiting import PATIENCE_S, until
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.runtime.durability.call_writer import FENCED
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.base import Claim, Claimed, NotClaimed
from voice_agent.stores.memory import MemoryStore

KEY, OTHER_KEY, THIRD_KEY = "k" * 64, "l" * 64, "m" * 64
KEY = "k" * 64


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
    live = await pod.connector.ownership.make(StartCall(model, "key"))
    assert store.rounds == [1]
    assert live.call.identity.model == (model or "scripted")
    assert live.call.session.fields["model"] == live.call.identity.model
    assert abs(live.call.session.fields["expires_at"] - (pod.ports.clock.wall_ms() / 1000 + 7200)) < PATIENCE_S
    assert pod.owned.budget.used_by("key") == live.memory.held_bytes > 0
    await pod.close()


async def test_who_calls_is_what_the_first_connection_said() -> None:
    """On whichever pod, whatever a later connection says."""
    async with rig(FaultyStore()) as its:
        first = await its.start(
            await its.pod("one"), call_key_hash=KEY, resumable=True, caller={"query": {"from": "a"}}
        )
        await first.greeting()
        two = await its.pod("two")
        again = await its.start(two, call_key_hash=KEY, resumable=True, caller={"query": {"from": "b"}})
        await again.greeting()
        (live,) = two.owned
        assert live.call.identity.caller == {"query": {"from": "a"}}


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
        await until(lambda: not pod.committer.write_back.is_behind)


async def test_two_resumes_at_once_are_one_after_the_other() -> None:
    """On a pod that has not had the call: it gets the call once, and the caller of the first is sent away."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green", calls_per_key=9)
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await caller.gone()
        again = await asyncio.gather(*(its.resume(green, caller.call_id, 0) for _ in range(2)))
        live = green.owned.by_id[caller.call_id]
        assert live.call.owner.epoch == 3
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
        assert before.writer.state is FENCED
        live = pod.owned.by_id[first.call_id]
        assert live is not before
        assert live.call.owner.epoch == 3
        assert pod.admission.quota.calls_of("key") == 1
        assert pod.owned.budget.used_by("key") == live.memory.held_bytes
        assert (await first.transport.until(lambda it: it.closed))[0] == 4409
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")


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
            await green.connector.ownership.take_over(caller.call_id, ResumeCall(caller.call_id), api_key_hash=None)
        timers.assert_not_called()


async def test_a_resume_by_key_begins_where_events_begin_to_be_new() -> None:
    """What happened while the claim was under way comes after the greeting: no number twice, none before it."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, call_key_hash=KEY, resumable=True)
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "seen"})
        pod.committer.mark(live.writer)
        await caller.transport.event("seen")
        store.claim_gate.clear()
        resume = asyncio.create_task(its.start(pod, call_key_hash=KEY, resumable=True))
        await until(lambda: live.writer.writes_paused)
        live.call.outbox.emit({"type": "first"})
        live.call.outbox.emit({"type": "second"})
        pod.committer.mark(live.writer)
        store.claim_gate.set()
        again = await resume
        await again.transport.event("second")
        assert [event["event_id"] for event in again.transport.events] == ["evt_1", "evt_2", "evt_3"]


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
            await until(lambda: live.writer.writes_paused)
            clock.leap(200)
            await pod.upkeep.look_after_calls()
            store.is_away = True
            store.claim_gate.set()
            again = await resume
        assert pod.owned.by_id[caller.call_id] is live
        again.transport.say(TYPED)
        await again.transport.event("conversation.item.done")
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
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
        await pod.committer.flush(pod.owned.by_id[caller.call_id].writer)
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

    async def answer(self, call: Call, asked: Asked) -> None:
        async def run(key: str) -> None:
            held = await self.store.load(call.caller.id)
            assert held is not None
            self.was_durable.append(b"book" in held.fields["act:0"])

        await self.may_go_on.wait()
        await call.once("book", run)
        async with call.speak() as speech:
            await write(speech, "booked")


async def test_a_side_effect_waits_while_its_call_is_being_taken_up() -> None:
    """Nothing of the call can be written then, so neither can the side effect's key."""
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
        await until(lambda: live.writer.writes_paused)
        agent.may_go_on.set()
        await until(lambda: live.call.agent is not None and live.call.agent.acts)
        await pod.committer.flush(live.writer)
        assert agent.was_durable == []
        store.claim_gate.set()
        await (await resume).transport.event("response.done")
        assert agent.was_durable == [True]


async def test_a_pod_without_the_agent_sends_the_caller_to_another_one() -> None:
    """Versions differ in their agents: 503, not an error of the client, and where the agent is the call goes on."""
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
