"""The simulator as tests of a mutant: the same schedules for each, in parts, of which the first that fails ends it."""

from __future__ import annotations

import pytest

from tests.simulation.search import search

PART = 15
SCHEDULES = 180


@pytest.mark.parametrize("first", range(0, SCHEDULES, PART))
def test_every_promise_is_kept(first: int) -> None:
    """Whatever dies."""
    assert not search(range(first, first + PART), stop_at_first=True).broken
