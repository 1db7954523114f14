"""How long a provider is waited for."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voice_agent.providers.answer_times import ENOUGH, KEPT, LEAST_S, MOST_S, SLACK, START_S, AnswerTimes

TIMES = st.floats(0.001, 60.0)
HEALTHY = st.floats(0.001, MOST_S)
MANY = 400


def hedged(times: list[float], known: AnswerTimes) -> list[int]:
    """Which requests another one is asked for as well. It answers in a tenth of a second, or is too late."""
    found = []
    for number, seconds in enumerate(times):
        limit_s = known.limit_s()
        if seconds > limit_s:
            found.append(number)
        if seconds > limit_s + 0.1:
            known.overtaken(limit_s + 0.1)
        else:
            known.add(seconds)
    return found


@given(st.lists(st.tuples(TIMES, st.floats(1.0, 20.0)), max_size=2 * KEPT), st.floats(1.0, 20.0))
def test_a_limit_is_within_its_bounds(times: list[tuple[float, float]], size: float) -> None:
    """Whatever came, for whatever is asked; and it is no longer than the fixed one until enough is known."""
    known, careful = AnswerTimes(), AnswerTimes(is_costly=True)
    assert known.limit_s(size) == START_S
    for number, (seconds, its) in enumerate(times):
        if number < ENOUGH:
            assert known.limit_s(size) <= careful.limit_s(size) == START_S
        careful.add(seconds, its)
        known.add(seconds, its)
        assert LEAST_S <= known.limit_s(size) <= MOST_S
    assert AnswerTimes.fixed(7.0).limit_s(size) == 7.0


def test_one_that_was_quick_once_is_soon_overdue() -> None:
    """An ear that few turns were given to: the first that hangs is not waited for as if nothing were known."""
    known = AnswerTimes()
    known.add(0.24, 2.0)
    assert known.limit_s(1.0) == pytest.approx(0.24)
    known.add(0.11)
    assert known.limit_s(1.25) == pytest.approx(0.3)
    known.add(5.0)
    assert known.limit_s() == START_S


def test_one_that_has_never_answered_is_taken_to_be_as_quick_as_others() -> None:
    """It fails whenever it is asked, so nothing is learned of it; what it takes the others is known."""
    new, quick, slow = AnswerTimes(), AnswerTimes(), AnswerTimes()
    assert new.limit_s(1.0, (new, quick, slow)) == START_S
    quick.add(0.13)
    for _ in range(ENOUGH):
        slow.add(1.0)
    assert new.limit_s(1.0, (new, quick, slow)) == pytest.approx(0.26)
    assert slow.limit_s(1.0, (new, quick, slow)) == 2.0
    assert AnswerTimes.fixed(7.0).limit_s(1.0, (quick,)) == 7.0


@given(st.floats(0.02, 0.3), st.permutations(["hangs", "hangs", *["usual"] * ENOUGH]))
def test_one_of_which_few_are_known_may_hang_twice(usual_s: float, requests: list[str]) -> None:
    """It is waited for as long as ever, though its first request of the pod was slow, too."""
    known = AnswerTimes()
    for number in range(ENOUGH):
        known.add(usual_s if number else 2.9 * usual_s)
    hedged([60.0 if request == "hangs" else usual_s for request in requests], known)
    assert known.limit_s() == max(LEAST_S, SLACK * usual_s)


@given(st.floats(0.001, MOST_S / SLACK), st.lists(st.floats(1.0, SLACK), max_size=3 * KEPT))
def test_one_that_takes_about_as_long_as_ever_is_never_asked_twice(least_s: float, factors: list[float]) -> None:
    """Once it is known, if times differ by two."""
    known = AnswerTimes()
    for _ in range(ENOUGH):
        known.add(least_s)
    assert not hedged([least_s * factor for factor in factors], known)


@given(st.lists(HEALTHY, min_size=ENOUGH, max_size=50), st.integers())
@example([0.125, 0.125, 2.0, 2.0, 0.125, 0.125], 78_804_838)
def test_a_healthy_provider_is_asked_twice_for_a_small_share_of_its_requests(times: list[float], seed: int) -> None:
    """A quarter (`UNUSUAL`), and what chance adds; however its times are spread, as long as they come in any order."""
    drawn = Random(seed).choices(times, k=MANY)
    known = AnswerTimes()
    for seconds in times[:ENOUGH]:
        known.add(seconds)
    assert len(hedged(drawn, known)) <= MANY / 3


@given(st.floats(0.02, 0.3), st.floats(1.0, 6.0), st.floats(0.001, 0.15), st.integers())
def test_one_that_has_become_slower_is_learned_and_one_that_hangs_now_and_then_changes_nothing(
    usual_s: float, slower: float, share: float, seed: int
) -> None:
    """Slower for good: it is asked twice for the first few. Of one that hangs the limit stays what it was."""
    known = AnswerTimes()
    hedged([usual_s] * KEPT, known)
    before_s = known.limit_s()
    hanging = [60.0 if number % round(1 / share) == 0 else usual_s for number in range(1, MANY)]
    hedged(hanging, known)
    assert known.limit_s() == before_s
    assert len(hedged([min(slower * usual_s, MOST_S)] * MANY, known)) <= KEPT


def test_what_is_larger_may_take_longer_and_is_learned_as_that() -> None:
    """A turn of ten seconds, against short ones: twice as large, twice as long."""
    known = AnswerTimes()
    for size in (1.0, 2.0, 3.0, 1.5, 2.0, 1.0):
        known.add(0.2 * size, size)
    assert known.limit_s(3.0) == 3 * known.limit_s(1.0)
    assert known.limit_s() == pytest.approx(SLACK * 0.2)
