"""Steps of agents that block the event loop."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from tests.waiting import PATIENCE_S
from voice_agent.runtime.engine import agent_steps
from voice_agent.runtime.engine.agent_steps import BLOCKED_S, RUNNING, STUCK_S, StepWatch, StuckSteps, Watched


@pytest.fixture(autouse=True)
def _nothing_runs() -> Iterator[None]:
    yield
    RUNNING.watch = None


def watch(clock: StoppedClock, observer: CountingObserver | None = None) -> StepWatch:
    """Of one agent."""
    return StepWatch("agent", "call", clock, observer or CountingObserver())


def test_a_step_that_takes_as_long_as_that_blocks() -> None:
    """Each is counted, the first is told of; a shorter one is neither."""
    observer = CountingObserver()
    its = watch(StoppedClock(), observer)
    with capture_logs() as logs:
        its.took(BLOCKED_S - 0.001)
        assert observer.counts == {}
        its.took(BLOCKED_S)
        its.took(1.0)
    assert observer.counts["agent_fault", "blocked"] == 2
    assert [line["seconds"] for line in logs] == [BLOCKED_S]


async def test_an_agent_that_waits_is_not_stuck() -> None:
    """However long: it has given the event loop back."""
    clock, stuck = StoppedClock(), StuckSteps()
    seen: list[bool] = []

    class Waits:
        def __await__(self) -> Generator[None, None, None]:
            seen.append(RUNNING.watch is not None)
            yield
            seen.append(RUNNING.watch is not None)

    steps = Watched(Waits(), watch(clock)).__await__()
    next(steps)
    clock.now_s += 10 * STUCK_S
    assert not stuck.look()
    with pytest.raises(StopIteration):
        next(steps)
    clock.now_s += 10 * STUCK_S
    assert not stuck.look()
    assert seen == [True, True]


def test_a_step_that_ends_while_it_is_looked_at_is_not_told_of() -> None:
    """What was measured then is the time since the start of another."""

    class Ending(StoppedClock):
        def monotonic_s(self) -> float:
            RUNNING.watch = watch(self)
            return super().monotonic_s()

    clock = Ending()
    RUNNING.watch, RUNNING.began_s = watch(clock), clock.now_s - 10 * STUCK_S
    with capture_logs() as logs:
        assert not StuckSteps().look()
    assert logs == []


def test_the_thread_looks_again_and_again_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the second agent that is stuck, too, and keeps no process from its end."""
    monkeypatch.setattr(agent_steps, "LOOK_S", 0.001)
    clock, stuck, looked, told = StoppedClock(), StuckSteps(), threading.Semaphore(0), threading.Semaphore(0)
    look = stuck.look

    def noted() -> bool:
        found = look()
        (told if found else looked).release()
        return found

    stuck.look = noted  # type: ignore[method-assign]  # what the thread calls
    stuck.start()
    assert looked.acquire(timeout=PATIENCE_S)
    for _ in range(2):
        RUNNING.began_s = clock.now_s - STUCK_S
        RUNNING.watch = watch(clock)
        assert told.acquire(timeout=PATIENCE_S)
    assert stuck._thread.daemon
    stuck.stop()
    stuck._thread.join(PATIENCE_S)
    assert not stuck._thread.is_alive()
