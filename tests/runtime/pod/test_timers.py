"""What runs out runs from its start, whether or not anything has succeeded by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.pod.test_ended import hung_up
from tests.runtime.pod.test_signs_of_life import questions
from tests.runtime.rig import FixedAgents, Rig, ScriptedAgent, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.drain import DrainMode
from voice_agent.call.status import Status
from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.clock import SteadyClock
from voice_agent.runtime.pod.heartbeat import HEARTBEAT_S
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.upkeep import UPKEEP_S
from voice_agent.runtime.ports import StartCall
from voice_agent.stores.base import DrainRequest, PodHeartbeat
from voice_agent.stores.memory import MemoryStore

MIB = 1024 * 1024


class SilentStore(FaultyStore):
    """Answers nothing from the beginning, not even a heartbeat."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = True

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        self._check()
        return await super().heartbeat(heartbeat, ttl_s=ttl_s)


@pytest.fixture
def store() -> SilentStore:
    return SilentStore()


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
async def its(store: SilentStore) -> AsyncIterator[Rig]:
    """Pods that were started while their store does not answer."""
    async with rig(store) as made:
        yield made


async def test_a_pod_whose_first_heartbeat_failed_shows_up_with_a_later_one(
    its: Rig, store: SilentStore, clock: LeapingClock
) -> None:
    """Else it would take calls for ever, and no drain would reach it."""
    pod = await its.pod(clock=clock)
    assert pod.store_health.heartbeat_failure is not None
    store.is_away = False
    clock.leap(HEARTBEAT_S)
    await until(lambda: pod.store_health.heartbeat_failure is None)
    assert [heartbeat.name for heartbeat in await store.pods()] == [pod.name]


async def test_a_caller_who_never_says_anything_is_let_go(its: Rig, clock: LeapingClock) -> None:
    """Silence counts from the upgrade, not from the first message."""
    caller = await its.start(await its.pod(clock=clock, idle_timeout_s=600))
    await caller.greeting()
    clock.leap(601)
    assert (await caller.transport.until(lambda it: it.closed))[0] == 4408


async def test_a_call_that_was_never_written_ends_at_its_length(its: Rig, clock: LeapingClock) -> None:
    """Its length counts from its start."""
    caller = await its.start(await its.pod(clock=clock, max_call_s=3600))
    await caller.greeting()
    clock.leap(3601)
    assert (await caller.transport.until(lambda it: it.closed))[0] == 4408


async def test_a_call_whose_upgrade_failed_ends_after_its_window(its: Rig, clock: LeapingClock) -> None:
    """Nobody was ever attached to it; it waits for nobody for ever."""
    pod = await its.pod(clock=clock, resume_window_s=120)
    attachment = await pod.start(StartCall(model="scripted", api_key_hash="key"))
    live = pod.owned.by_id[attachment.call_id]
    await attachment.abandon()
    assert pod.status().parked_calls == 1
    clock.leap(121)
    await until(lambda: live.call.lifecycle.status is Status.ENDED)
    assert live.call.lifecycle.outcome == "abandoned"


async def test_a_drain_ends_at_its_deadline_though_the_store_has_never_answered(its: Rig, clock: LeapingClock) -> None:
    """It needs neither a heartbeat nor another pod for that."""
    pod = await its.pod(clock=clock)
    caller = await its.start(pod)
    await caller.greeting()
    begun = questions(caller.transport)
    pod.drain(DrainMode.HANDOFF, 300)
    await until(lambda: begun)
    clock.leap(301)
    assert (await caller.transport.until(lambda it: it.closed))[0] == 1012
    async with asyncio.timeout(PATIENCE_S):
        await pod.wait_drained()


class HangingStore(FaultyStore):
    """Never says whether it has erased a call."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()

    async def erase(self, call_id: str, now_ms: int) -> bool:
        self.is_asked.set()
        await asyncio.Event().wait()
        return False


async def test_calls_are_looked_after_while_the_store_hangs() -> None:
    """What parked and ended calls keep in the store is another matter than what attached ones wait for."""
    store, clock = HangingStore(), LeapingClock()
    async with rig(store) as its:
        pod = await its.pod(clock=clock, idle_timeout_s=600)
        pod.owned.ended.limit_bytes = MIB
        await hung_up(pod, 3)
        caller = await its.start(pod)
        await caller.greeting()
        clock.leap(UPKEEP_S)
        async with asyncio.timeout(PATIENCE_S):
            await store.is_asked.wait()
        clock.leap(601)
        assert (await caller.transport.until(lambda it: it.closed))[0] == 4408


async def test_a_call_that_ends_while_it_leaves_the_memory_is_ended_in_the_store() -> None:
    """Its window may be over in the middle of that: a resume gets 410, not a call that nobody ends any more."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        await until(lambda: not pod.committer.has_pending(live.writer))
        live.call.record.mark("agent")
        store.gate.clear()
        leaving = asyncio.create_task(pod.owned.unload(live))
        await until(lambda: pod.committer.under_way)
        live.finish("abandoned")
        store.gate.set()
        await leaving
        await until(lambda: not pod.committer.has_pending(live.writer))
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["status"] == b"ended"


class ToldTheTime(MemoryStore):
    """Tells its clock, and refuses heartbeats until it is told otherwise."""

    is_well = False

    def wall_ms(self) -> float | None:
        return 1_800_000_000_000.0

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        if not self.is_well:
            raise StoreUnavailable("not now")
        return await super().heartbeat(heartbeat, ttl_s=ttl_s)


async def test_a_wrong_clock_does_not_wait_for_a_store_that_is_well() -> None:
    """The store tells the time with every question; what else it answers does not matter."""
    pod: Pod = Rig(ToldTheTime(ttl_s=60), FixedAgents(ScriptedAgent())).unopened_pod("a", clock=SteadyClock())
    await pod.heartbeat.heartbeat()
    assert pod.store_health.heartbeat_failure is not None
    assert abs(pod.ports.clock.wall_ms() - 1_800_000_000_000) < 60_000
