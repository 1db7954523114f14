"""When a new color is not good enough, and when an old one is empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.operate.judging import EmptyFor, ErrorBudget, breach, percentile_s, since
from voice_agent.operate.ports import Numbers

INF = float("inf")


def test_only_what_was_counted_since_counts() -> None:
    """Counters start from anywhere; those that went back add nothing."""
    before = Numbers(3, ended=100, failed=10, dropped=5, turns={0.5: 50, INF: 60})
    now = Numbers(7, ended=120, failed=11, dropped=2, turns={0.5: 60, INF: 80})
    seen = since(before, now)
    assert (seen.calls, seen.failed, seen.dropped, seen.turns) == (27, 1, 0, 20)


def test_what_a_source_does_not_say_is_not_judged() -> None:
    """CloudWatch knows active calls only: no limit is passed, and none is said to be kept."""
    seen = since(Numbers(3), Numbers(4))
    assert (seen.calls, seen.failed, seen.dropped, seen.turn_p95_s) == (None, None, None, None)
    assert breach(seen, ErrorBudget(error_rate=0.0, free_errors=0)) is None


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (Numbers(100, ended=0, failed=0, dropped=0), None),
        (Numbers(100, ended=0, failed=0, dropped=1), "1 dropped calls"),
        (Numbers(99, ended=1, failed=1, dropped=0), None),
        (Numbers(0, ended=10, failed=1, dropped=0), None),
        (Numbers(98, ended=2, failed=2, dropped=0), None),
        (Numbers(97, ended=3, failed=3, dropped=0), "3 of 100 calls failed"),
        (Numbers(1, ended=0, failed=0, dropped=0, turns={2.0: 1, 5.0: 19, INF: 19}), None),
        (Numbers(1, ended=0, failed=0, dropped=0, turns={2.0: 1, 5.0: 20, INF: 20}), "20 turns took up to"),
        (Numbers(1, ended=0, failed=0, dropped=0, turns={2.0: 20, 5.0: 20, INF: 20}), None),
    ],
)
def test_a_limit_is_passed_by_more_than_it_allows(now: Numbers, reason: str | None) -> None:
    """Exactly at the limit is still good; one error among few calls, or few turns, say nothing."""
    nothing = Numbers(0, ended=0, failed=0, dropped=0, turns={2.0: 0, 5.0: 0, INF: 0})
    found = breach(since(nothing, now), ErrorBudget())
    assert found is None if reason is None else reason in (found or "")


@given(st.lists(st.floats(0.001, 9.9), min_size=20, max_size=200))
def test_the_percentile_is_in_the_bucket_of_the_true_one(times_s: list[float]) -> None:
    """No further off than the bounds between which the true value lies."""
    bounds = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, INF)
    within = {bound: sum(time_s <= bound for time_s in times_s) for bound in bounds}
    true = sorted(times_s)[-(-95 * len(times_s) // 100) - 1]
    found = percentile_s(within, 0.95)
    assert found is not None
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in bounds if bound < upper), default=0.0)
    assert lower <= found <= upper


def test_a_color_is_empty_when_it_was_for_the_whole_buffer() -> None:
    """One call, a look without a number, or a long time without a look starts the wait anew."""
    empty_for = EmptyFor(buffer_s=10, longest_gap_s=5)
    looks: list[tuple[float, int | None]] = [(0, 2), (2, 0), (6, 0), (10, 0), (11.9, 0)]
    assert not any(empty_for.look(calls, at_s) for at_s, calls in looks)
    assert empty_for.look(0, 12)
    for interruption in (1, None):
        assert not empty_for.look(interruption, 13)
        assert not empty_for.look(0, 14)
        assert not empty_for.look(0, 18)
        assert not empty_for.look(0, 22)
        assert empty_for.look(0, 24)
    assert not empty_for.look(0, 40)
    assert not empty_for.look(0, 44)


@pytest.mark.parametrize("buffer_s", [0, 5])
def test_without_a_look_nothing_is_empty(buffer_s: float) -> None:
    """Not even with a buffer of nothing."""
    empty_for = EmptyFor(buffer_s, 5)
    assert empty_for.empty_for_s(100) is None
    assert not empty_for.look(None, 100)
