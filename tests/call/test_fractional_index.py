"""Ranks of a conversation's items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.fractional_index import rank_between

MANY = 20_000


@given(st.lists(st.integers(0, 10**6), max_size=200))
def test_there_is_room_everywhere(places: list[int]) -> None:
    """Whatever is put where, ranks sort as the items stand, and no two are the same."""
    ranks: list[str] = []
    for place in places:
        at = place % (len(ranks) + 1)
        ranks.insert(at, rank_between(ranks[at - 1] if at else None, ranks[at] if at < len(ranks) else None))
    assert ranks == sorted(set(ranks))


def test_a_rank_at_an_end_or_at_one_place_stays_short() -> None:
    """Twenty thousand one behind the other, in front of all, or behind one and the same: a few characters each."""
    last = first = behind = rank_between(None, None)
    nearest = above = rank_between(behind, None)
    for _ in range(MANY):
        last = rank_between(last, None)
        first = rank_between(None, first)
        nearest = rank_between("a0", nearest)
        behind = rank_between(behind, above)
    assert max(map(len, (last, first, nearest, behind))) <= 8


def test_places_that_alternate_cost_a_number_each() -> None:
    """Between the two newest, again and again: the rank grows, by no more than two characters every other time."""
    below, above = "a0", "a1"
    for number in range(100):
        middle = rank_between(below, above)
        assert below < middle < above
        below, above = (middle, above) if number % 2 else (below, middle)
    assert len(below) <= 2 * 52


@pytest.mark.parametrize(
    ("below", "above", "between"),
    [
        (None, None, "a0"),
        ("a0", None, "a1"),
        ("a9", None, "b10"),
        ("Z9", None, "a0"),
        ("a3a7", None, "a4"),
        (None, "a0", "Z9"),
        (None, "Z0", "Y89"),
        (None, "a3a7", "a2"),
        ("a0", "a1", "a0a0"),
        ("a0", "a0a0", "a0Z9"),
        ("a0", "a2", "a1"),
        ("Z9", "a1", "a0"),
        ("Z8", "a5", "Z9"),
        ("a0a0", "a1", "a0a1"),
        ("a0a0", "a0a5", "a0a1"),
        ("a0a5a3", "a0a6", "a0a5a4"),
        ("a0Z9", "a0a0", "a0Z9a0"),
    ],
)
def test_ranks_are_as_short_as_they_are_drawn(below: str | None, above: str | None, between: str) -> None:
    """The next number at an end, the next one in a space, a number more where there is none."""
    assert rank_between(below, above) == between


@pytest.mark.parametrize("rank", ["a0", "a0a1", "Z9"])
def test_nothing_lies_between_a_rank_and_itself(rank: str) -> None:
    """Two items of one rank would stand in any order."""
    with pytest.raises(ValueError, match=rank):
        rank_between(rank, rank)
