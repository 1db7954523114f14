"""How late the event loop is, measured for as long as the pod lives; what is too late stops new calls."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.pod.test_overload import EARLY_S, LATE_S
from tests.runtime.rig import FixedAgents, Rig, rig
from tests.waiting import until
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.loop_watch import LoopWatch
from voice_agent.runtime.pod.overload import ENTER_AFTER, ENTER_S, LEAVE_S, SAMPLE_S
from voice_agent.stores.memory import MemoryStore


class LateClock(SystemClock):
    """Time in which a sample of the loop takes `lag_s` longer than it should, and no time at all really."""

    def __init__(self) -> None:
        self.lag_s = 0.0
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        if seconds == SAMPLE_S:
            self.now_s += seconds + self.lag_s
            await asyncio.sleep(0)
        else:
            await super().sleep(seconds)


async def test_a_pod_whose_loop_is_late_refuses_new_calls_until_it_is_calm() -> None:
    """The pod's own timer tells it; both ends of it are seen."""
    async with rig() as its:
        clock = LateClock()
        pod = await its.pod(clock=clock)
        clock.lag_s = LATE_S
        await until(lambda: pod.admission.overloaded)
        refusal = pod.refusal_of_new_calls()
        assert refusal is not None
        assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "overloaded", 1)
        assert pod.observer.counts["limit_reached", "overload"] == 1  # type: ignore[attr-defined]
        clock.lag_s = EARLY_S
        await until(lambda: not pod.admission.overloaded)
        assert pod.refusal_of_new_calls() is None


async def test_a_pod_whose_callers_wait_for_their_turn_is_overloaded() -> None:
    """Though its timers are on time: the work of each turn is bounded, and there is more than that."""
    async with rig() as its:
        clock = LateClock()

        async def next_turn() -> None:
            clock.now_s += LATE_S

        pod = its.unopened_pod("a", clock=clock)
        loop_watch = LoopWatch(clock, pod.observer, pod.admission, next_turn=next_turn, overload_lag_s=ENTER_S)
        watching = asyncio.create_task(loop_watch.run())
        await until(lambda: pod.admission.overloaded)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class LaggingClock(StoppedClock):
    """Whoever sleeps wakes up so much later, or sooner."""

    lag_s = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + self.lag_s)

    async def passes(self, seconds: float) -> None:
        """Wait until whoever sleeps has put it forward by so much."""
        end_s = self.now_s + seconds
        await until(lambda: self.now_s > end_s)


async def test_an_overload_is_told_when_it_begins_and_when_it_ends() -> None:
    """However long it lasts; how late the loop is is measured all the time, and is never less than nothing."""
    clock = LaggingClock()
    pod = Rig(MemoryStore(ttl_s=60), FixedAgents()).unopened_pod("a", clock=clock)
    lags_s, seen, told = list[float](), list[bool](), Mock(wraps=pod.admission.second_is_over)
    pod.observer.loop_lag = lags_s.append  # type: ignore[assignment, method-assign]  # a number
    pod.admission.second_is_over = told  # type: ignore[method-assign]  # counted
    began_s = clock.now_s
    with capture_logs() as lines:
        watch = LoopWatch(clock, pod.observer, pod.admission, next_turn=pod.ports.next_turn, overload_lag_s=ENTER_S)
        task = asyncio.create_task(watch.run())
        for lag_s in (2 * ENTER_S, LEAVE_S / 2, -SAMPLE_S / 2):
            clock.lag_s = lag_s
            await clock.passes(4 * ENTER_AFTER)
            seen.append(pod.admission.overloaded)
        task.cancel()
    assert seen == [True, False, False]
    assert 0.8 < told.call_count / (clock.now_s - began_s) <= 1.0
    assert [line["event"] for line in lines] == ["overloaded: no new calls", "no longer overloaded"]
    assert pod.observer.counts["limit_reached", "overload"] == 1  # type: ignore[attr-defined]  # the rig's
    assert {round(lag_s, 6) for lag_s in lags_s} == {2 * ENTER_S, LEAVE_S / 2, 0.0}
