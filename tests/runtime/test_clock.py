"""The time that calls live by."""

from __future__ import annotations

import time

from voice_agent.runtime.clock import SteadyClock, SystemClock

S = 1_000_000_000


class Machine:
    """Its two clocks, in nanoseconds."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000 * S
        self.boot = 5 * S

    def passes(self, seconds: float) -> None:
        self.wall += int(seconds * S)
        self.boot += int(seconds * S)

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.boot)


def test_a_clock_that_is_set_changes_no_duration() -> None:
    """Two hours ahead, or back: what was measured before goes on."""
    machine = Machine()
    clock = machine.clock()
    began_ms = clock.wall_ms()
    assert began_ms == 1_700_000_000_000
    machine.wall += 7200 * S
    machine.passes(3)
    assert clock.wall_ms() - began_ms == 3000
    machine.wall -= 99_999 * S
    machine.passes(3)
    assert clock.wall_ms() - began_ms == 6000


def test_a_pod_starts_by_the_stores_clock() -> None:
    """However wrong its machine's is: no call has been measured by that."""
    machine = Machine()
    clock = machine.clock()
    machine.passes(1)
    clock.follow(1_800_000_000_000, leaps=True)
    machine.passes(2)
    assert clock.wall_ms() == 1_800_000_002_000


def test_a_store_that_first_answers_late_is_followed_at_once() -> None:
    """However long the pod has waited for it, unless it has calls: those are led."""
    machine = Machine()
    clock = machine.clock()
    machine.passes(3600)
    clock.follow(1_800_000_000_000, leaps=False)
    assert clock.wall_ms() == 1_700_000_000_000 + 3_600_000 + 360_000
    machine.passes(60)
    clock.follow(1_800_000_000_000, leaps=True)
    assert clock.wall_ms() == 1_800_000_000_000


def test_later_it_is_led_and_does_not_leap() -> None:
    """A store whose clock is set, or another one after a failover, ends no call."""
    machine = Machine()
    clock = machine.clock()
    clock.follow(1_700_000_000_000, leaps=True)
    machine.passes(60)
    clock.follow(1_700_000_060_000, leaps=False)
    for _ in range(10):
        before_ms = clock.wall_ms()
        machine.passes(2)
        clock.follow(1_700_007_000_000, leaps=True)
        assert 2000 <= clock.wall_ms() - before_ms <= 2200
    for _ in range(1000):
        before_ms = clock.wall_ms()
        machine.passes(2)
        clock.follow(1_700_000_000_000, leaps=False)
        assert 1800 <= clock.wall_ms() - before_ms <= 2000


def test_small_differences_are_followed_whole() -> None:
    """Two machines that drift apart by milliseconds stay together."""
    machine = Machine()
    clock = machine.clock()
    machine.passes(100)
    clock.follow(1_700_000_100_007, leaps=False)
    assert clock.wall_ms() == 1_700_000_100_007


async def test_the_systems_clock_is_the_systems() -> None:
    """Wall time in whole milliseconds; whoever sleeps sleeps so long, and its own time is led by no store."""
    clock = SystemClock()
    before_ms, before_s = int(time.time() * 1000), time.monotonic()
    clock.follow(0.0, leaps=True)
    await clock.sleep(0.01)
    assert before_s + 0.009 <= clock.monotonic_s() <= time.monotonic()
    assert before_ms <= clock.wall_ms() <= time.time() * 1000
