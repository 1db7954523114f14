"""How a pod opens, lives and closes, and what it leaves."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import ANSWER, ScriptedAgent, lost, rig, told, write
from tests.waiting import PATIENCE_S, until
from voice_agent.call.drain import DrainMode
from voice_agent.errors import StoreUnfit
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.runtime.pod.heartbeat import HEARTBEAT_S
from voice_agent.runtime.pod.upkeep import UPKEEP_S
from voice_agent.stores.memory import MemoryStore


@pytest.mark.parametrize(("key_bytes", "each"), [(0, 500), (200, 200)])
async def test_a_key_may_hold_its_share_or_all(key_bytes: int, each: int) -> None:
    """0 is as much as all callers together."""
    async with rig() as its:
        budget = its.unopened_pod("a", caller_bytes=500, key_bytes=key_bytes).owned.budget
        assert (budget.limit_bytes, budget.key_bytes) == (500, each)


async def test_a_drain_is_waited_for_until_the_last_attached_call_is_gone() -> None:
    """And no longer."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        pod.drain(DrainMode.FINISH, 600)
        waiting = asyncio.create_task(pod.wait_drained())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        await caller.gone()
        async with asyncio.timeout(PATIENCE_S):
            await waiting


async def test_a_pod_of_which_a_part_has_crashed_says_that_it_fails() -> None:
    """To other pods and in its health, and the log names the part."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        assert pod.view.state == "ok"
        with patch.object(pod.upkeep, "look_after_all", side_effect=RuntimeError("broken")), capture_logs() as logs:
            await asyncio.sleep(0)
            clock.leap(UPKEEP_S)
            await until(lambda: pod.view.state == "failing")
            await until(lambda: logs)
        assert pod.status().status == "failing"
        assert [line["task"] for line in logs if line["event"] == "pod task crashed"] == ["upkeep"]


async def test_a_pod_opens_on_no_store_that_cannot_keep_calls() -> None:
    """It is asked before anything is begun."""

    class UnfitStore(MemoryStore):
        async def shortcomings(self, calls: int) -> list[str]:
            raise StoreUnfit("it forgets what it likes")

    async with rig(UnfitStore(ttl_s=60)) as its:
        pod = its.unopened_pod("a")
        with pytest.raises(StoreUnfit):
            await pod.open()
        assert await its.store.pods() == []
        assert pod._tasks.running == []


async def test_a_pod_looks_after_its_event_loop_and_its_parked_calls() -> None:
    """By itself, as long as it is open."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock, capacity=5)
        callers = [await its.start(pod, resumable=True) for _ in range(2)]
        for caller in callers:
            await lost(caller)
        with told(pod, "loop_lag") as lags:
            await until(lambda: lags)
        pod.admission.capacity = 1
        clock.leap(UPKEEP_S)
        await until(lambda: len(pod.view.calls()) == 1)


async def test_a_pod_is_in_the_fleet_as_soon_as_it_is_open_and_says_so_again() -> None:
    """Nobody waits for its first heartbeat; and it has begun by the store's clock."""
    now_ms = 5e12

    class DatedStore(MemoryStore):
        def wall_ms(self) -> float | None:
            return now_ms

    class FollowingClock(LeapingClock):
        def follow(self, wall_ms: float, *, leaps: bool) -> None:
            self._ahead_s += (wall_ms - self.wall_ms()) / 1000

    clock, store = FollowingClock(), DatedStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        [first] = await store.pods()
        assert first.name == pod.name
        assert 0 <= pod.started_at_ms - now_ms <= 1000 * PATIENCE_S
        store._pods.clear()
        await asyncio.sleep(0)
        clock.leap(HEARTBEAT_S)
        await until(store.pods)


class WaitingAgent(ScriptedAgent):
    """Says a word, and then notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.was_stopped = False

    async def answer(self, call: Call, asked: Asked) -> None:
        async with call.speak() as speech:
            await write(speech, "Let me see. ")
            try:
                await asyncio.Event().wait()
            finally:
                self.was_stopped = True


async def test_a_pod_that_has_closed_does_nothing_more_and_has_written_all() -> None:
    """What was said last is in the store, with the reply under way; no task of the pod, nor any agent, goes on."""
    agent = WaitingAgent()
    async with rig(None, agent) as its:
        pod = its.unopened_pod("pod-a")
        await pod.open()
        caller = await its.start(pod, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "last"})
        pod.committer.mark(live.writer)
        await pod.close()
        assert agent.was_stopped
        assert all(task.done() for task in pod._tasks.running)
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.outbox[-1].n == live.call.outbox.seq
        assert held.fields["response"]
        [last] = await its.store.pods()
        assert last.status == "left"
        await caller.gone()
