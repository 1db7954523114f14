"""Percentiles from buckets are those of the numbers themselves, to 2 %."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latencies import GROWTH, LEAST_S, Latencies


@given(st.lists(st.floats(LEAST_S, 60), min_size=1, max_size=200), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_right_to_a_bucket(values: list[float], percent: int) -> None:
    """By nearest rank, as numpy finds it among the sorted values."""
    found = Latencies()
    for value in values:
        found.add(value)
    wanted = float(np.percentile(values, percent, method="inverted_cdf"))
    assert found.percentile_s(percent) == pytest.approx(wanted, rel=GROWTH - 1 + 1e-6)


def test_nothing_is_zero_and_everything_has_a_place() -> None:
    """Times outside the buckets are counted at their ends; the longest is remembered as it was."""
    found = Latencies()
    assert found.percentile_s(99) == 0
    for value in (-1.0, 0.0, 500.0):
        found.add(value)
    assert found.count == sum(found.counts) == 3
    assert found.longest_s == 500
    assert found.spread()[-1][1] == 100
