"""What a pod takes after an overload: all that it can bear, and no herd."""

from __future__ import annotations

import pytest

from voice_agent.runtime.pod.overload import ENTER_S, SAMPLE_S, OverloadDetector
from voice_agent.runtime.pod.recovery import DOUBLE_S, FEW_CALLS, RECOVERING_S, Recovery


class Knocked:
    """A pod whose loop is late with more than `bears` calls, and callers who knock each second until they are in."""

    def __init__(self, bears: int) -> None:
        self.active = 0
        self.most = 0
        self._bears = bears
        self._recovery = Recovery()
        self._detector = OverloadDetector(0.0)
        self._now_s = 0.0

    @property
    def overloaded(self) -> bool:
        """Whether it takes no new calls."""
        return self._detector.overloaded

    def pass_second(self, knocking: int) -> int:
        """One second; how many of those who knock were taken."""
        taken = 0
        while taken < knocking and not self.overloaded and self._recovery.allows(self.active):
            self._recovery.took(self.active)
            self.active += 1
            taken += 1
        self.most = max(self.most, self.active)
        lag_s = 2 * ENTER_S if self.active > self._bears else 0.0
        is_over = False
        while not is_over:
            self._now_s += SAMPLE_S + lag_s
            is_over = self._detector.sample(self._now_s, lag_s)
        self._recovery.second_is_over(self.active, late=self._detector.late, overloaded=self.overloaded)
        return taken


@pytest.mark.parametrize("bears", [50, 400, 3000])
def test_a_herd_that_was_refused_does_not_come_back_at_once(bears: int) -> None:
    """After the first overload, which nothing foretold, there are never many more calls than the pod bears.

    And hardly ever fewer: calls end, and their places are filled.
    """
    pod = Knocked(bears)
    for _ in range(120):
        pod.pass_second(knocking=bears)
        pod.active -= pod.active // 20 if pod.overloaded else 0
    pod.most = 0
    fewest = bears
    for second in range(600):
        pod.pass_second(knocking=bears)
        pod.active -= second % 3 == 0
        fewest = min(fewest, pod.active)
    assert pod.most <= bears * 1.15 + 8
    assert fewest >= bears * 0.8


def test_who_hangs_up_makes_room_at_once() -> None:
    """All calls have ended: nearly as many as were borne are taken without a pause."""
    pod = Knocked(400)
    while not pod.overloaded:
        pod.pass_second(knocking=100)
    pod.active = 0
    while pod.overloaded:
        assert pod.pass_second(knocking=0) == 0
    assert pod.pass_second(knocking=1000) >= 350


def test_a_loop_that_was_late_with_few_calls_is_soon_trusted_again() -> None:
    """It was not the calls: a few at once, then one a second, then more and more, and after a minute all."""
    recovery = Recovery()
    for _ in range(3):
        recovery.second_is_over(1, late=True, overloaded=True)
    recovery.second_is_over(1, late=False, overloaded=False)
    assert recovery.allows(FEW_CALLS - 1)
    active, taken = FEW_CALLS, []
    for _ in range(RECOVERING_S):
        taken.append(0)
        while recovery.allows(active) and taken[-1] < 1000:
            recovery.took(active)
            taken[-1] += 1
        recovery.second_is_over(active, late=False, overloaded=False)
    assert taken[::DOUBLE_S] == [1, 2, 4, 8, 16, 32]
    assert recovery.allows(10_000)


def test_the_fewest_calls_with_which_the_loop_was_late_are_remembered() -> None:
    """Neither how many came before that was known, nor what was long ago and no overload."""
    recovery = Recovery()
    recovery.second_is_over(10, late=True, overloaded=False)
    recovery.second_is_over(100, late=False, overloaded=False)
    for active, overloaded in ((400, False), (800, False), (1200, True), (1100, True)):
        recovery.second_is_over(active, late=True, overloaded=overloaded)
    recovery.second_is_over(300, late=False, overloaded=False)
    for active, is_taken in ((359, True), (360, False)):
        for _ in range(3):
            recovery.took(active)
        assert recovery.allows(active) == is_taken


def test_a_calm_pod_knows_no_bound() -> None:
    """Late seconds that were no overload are forgotten."""
    recovery = Recovery()
    recovery.second_is_over(500, late=True, overloaded=False)
    recovery.second_is_over(500, late=False, overloaded=False)
    assert all(recovery.allows(active) for active in (0, 500, 10_000))


def test_a_pod_that_was_never_overloaded_takes_any_number_of_calls() -> None:
    """Before its first second is over as well as after it."""
    recovery = Recovery()
    for _ in range(2):
        for _ in range(100):
            assert recovery.allows(10_000)
            recovery.took(10_000)
        recovery.second_is_over(10_000, late=False, overloaded=False)


def test_the_bound_lasts_for_a_minute_after_the_overload() -> None:
    """Each calm second of it allows its few, the last one too; how many grows with the calls under way."""
    recovery = Recovery()
    recovery.second_is_over(1000, late=True, overloaded=True)
    for second in range(RECOVERING_S):
        recovery.second_is_over(1000, late=False, overloaded=False)
        taken = 0
        while recovery.allows(900):
            recovery.took(900)
            taken += 1
        assert taken == 10 * 2 ** (second // DOUBLE_S)
        assert recovery.allows(899)
    recovery.second_is_over(1000, late=False, overloaded=False)
    for _ in range(1000):
        recovery.took(900)
    assert recovery.allows(900)


def test_an_overload_in_which_the_loop_was_never_seen_late_leaves_few_calls_free() -> None:
    """It is not known how many the pod bears."""
    recovery = Recovery()
    recovery.second_is_over(500, late=False, overloaded=True)
    recovery.second_is_over(500, late=False, overloaded=False)
    for _ in range(10):
        recovery.took(500)
    assert recovery.allows(FEW_CALLS - 1)
    assert not recovery.allows(FEW_CALLS)
