"""When a pod is overloaded: it neither flaps nor sticks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.runtime.pod.overload import (
    ENTER_AFTER,
    ENTER_S,
    LEAVE_AFTER,
    LEAVE_S,
    SAMPLE_S,
    SECOND_S,
    OverloadDetector,
)

LATE_S = ENTER_S * 2
EARLY_S = LEAVE_S / 2
LAGS_S = st.lists(st.floats(0, 2, allow_nan=False), max_size=400)


class Loop:
    """An event loop whose timers are as late as a test says; `changes` are the times the state changed at."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.detector = OverloadDetector(self.now_s)
        self.changes: list[float] = []

    def turn(self, lag_s: float) -> None:
        """One timer."""
        self.now_s += SAMPLE_S + lag_s
        before = self.detector.overloaded
        self.detector.sample(self.now_s, lag_s)
        if self.detector.overloaded != before:
            self.changes.append(self.now_s)

    def go_on(self, seconds: float, lag_s: float) -> None:
        """Timers for so long."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.turn(lag_s)


def test_lag_for_three_seconds_is_overload_and_calm_for_five_ends_it() -> None:
    """Neither sooner."""
    loop = Loop()
    loop.go_on(ENTER_AFTER * SECOND_S - 2 * LATE_S, LATE_S)
    assert not loop.detector.overloaded
    loop.go_on(1.5 * SECOND_S, LATE_S)
    assert loop.detector.overloaded
    loop.go_on((LEAVE_AFTER - 1) * SECOND_S, EARLY_S)
    assert loop.detector.overloaded
    loop.go_on(2 * SECOND_S, EARLY_S)
    assert not loop.detector.overloaded
    assert len(loop.changes) == 2


def test_one_long_pause_is_no_overload() -> None:
    """A process that was stopped for a minute goes on as before."""
    loop = Loop()
    for _ in range(10):
        loop.turn(60.0)
        loop.go_on(2 * SECOND_S, 0.0)
    assert loop.changes == []


def test_every_other_second_is_no_overload_and_no_calm() -> None:
    """What counts is what lasts."""
    loop = Loop()
    for late in (False, True):
        if late:
            loop.go_on(5 * SECOND_S, LATE_S)
        before = list(loop.changes)
        for _ in range(10):
            loop.go_on(2 * SECOND_S, LATE_S)
            loop.go_on(2 * SECOND_S, EARLY_S)
        assert loop.changes == before


def test_a_few_late_timers_of_many_are_no_overload() -> None:
    """The median counts: a fifth of the timers may be as late as they like."""
    loop = Loop()
    for _ in range(200):
        loop.turn(0.2)
        for _ in range(4):
            loop.turn(0.001)
    assert loop.changes == []


@given(st.lists(st.floats(LEAVE_S, ENTER_S), min_size=1, max_size=50), st.booleans())
def test_a_lag_between_the_limits_changes_nothing(lags_s: list[float], was_overloaded: bool) -> None:
    """However it moves between them, and for however long."""
    loop = Loop()
    if was_overloaded:
        loop.go_on(5 * SECOND_S, LATE_S)
    before = list(loop.changes)
    for _ in range(20):
        for lag_s in lags_s:
            loop.turn(lag_s)
    assert loop.detector.overloaded == was_overloaded
    assert loop.changes == before


@given(LAGS_S)
def test_it_does_not_flap_and_does_not_stick(lags_s: list[float]) -> None:
    """Whatever the loop did: states last for three seconds, and a calm loop takes calls again by itself."""
    loop = Loop()
    for lag_s in lags_s:
        loop.turn(lag_s)
    assert all(later - sooner >= ENTER_AFTER * SECOND_S for sooner, later in pairwise([1000.0, *loop.changes]))
    loop.go_on((LEAVE_AFTER + 2) * SECOND_S, EARLY_S)
    assert not loop.detector.overloaded


def test_the_limit_can_be_another_or_none() -> None:
    """Both limits move together; 0 is never."""
    for enter_s, was_overloaded in ((LATE_S, False), (LATE_S / 1.1, True), (0.0, False)):
        loop = Loop()
        loop.detector = OverloadDetector(loop.now_s, enter_s=enter_s)
        loop.go_on(10 * SECOND_S, LATE_S)
        assert loop.detector.overloaded == was_overloaded
    loop = Loop()
    loop.detector = OverloadDetector(loop.now_s, enter_s=4 * ENTER_S)
    loop.go_on(10 * SECOND_S, 5 * ENTER_S)
    assert loop.detector.overloaded
    loop.go_on(10 * SECOND_S, 3.9 * LEAVE_S)
    assert not loop.detector.overloaded


def test_a_second_counts_by_its_median_and_the_limits_are_exact() -> None:
    """Above the one is late, below the other is calm; each second is judged by itself, and the first by none before."""
    detector = OverloadDetector(0.0)
    assert (detector.late, detector.overloaded) == (False, False)
    late_s, calm_s = ENTER_S + 0.001, LEAVE_S - 0.001
    seconds = [(late_s, False)] * 2 + [(ENTER_S, False)] + [(late_s, False)] * 2 + [(late_s, True)]
    seconds += [(calm_s, True)] * 4 + [(LEAVE_S, True)] + [(calm_s, True)] * 4 + [(calm_s, False)]
    seconds += [(late_s, False)] * 2 + [(late_s, True)]
    for second, (lag_s, overloaded) in enumerate(seconds):
        assert not detector.sample(second + 0.25, 0.0)
        assert not detector.sample(second + 0.5, 9.0)
        assert detector.sample(second + 1.0, lag_s)
        assert (detector.late, detector.overloaded) == (lag_s > ENTER_S, overloaded)
