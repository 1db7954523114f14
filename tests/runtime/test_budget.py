"""The bytes of a pod's callers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.runtime.budget import FLOOR_BYTES, Budget

MIB = 1024 * 1024


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    """The pod's limit holds for all holders together."""
    budget = Budget(4 * MIB, 4 * MIB)
    greedy, other = budget.holder("a"), budget.holder("b")
    assert greedy.resize(3 * MIB)
    assert not other.resize(2 * MIB)
    assert (other.size_bytes, budget.used_bytes) == (0, 3 * MIB)
    greedy.release()
    assert other.resize(2 * MIB)


def test_one_key_cannot_take_all() -> None:
    """What is left of the pod's bytes is for other keys."""
    budget = Budget(4 * MIB, 2 * MIB)
    assert budget.holder("a").resize(2 * MIB)
    assert not budget.holder("a").resize(MIB)
    assert budget.holder("b").resize(2 * MIB)


def test_a_modest_holder_is_never_refused() -> None:
    """Whatever others took, an ordinary call goes on."""
    budget = Budget(MIB, MIB)
    budget.holder("a").force(2 * MIB)
    modest = budget.holder("a")
    assert modest.resize(FLOOR_BYTES)
    assert not modest.resize(FLOOR_BYTES + 1)


def test_less_is_always_granted() -> None:
    """Even while more is held than allowed."""
    budget = Budget(MIB, MIB)
    holder = budget.holder("a")
    holder.force(3 * MIB)
    assert holder.resize(2 * MIB)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * MIB))))
def test_the_sums_are_those_of_the_holders(sizes: list[tuple[int, int]]) -> None:
    """However they grow and shrink; and beyond the floors nothing passes the limit."""
    budget = Budget(4 * MIB, 2 * MIB)
    holders = [budget.holder("a"), budget.holder("a"), budget.holder("b"), budget.holder("b")]
    for at, size in sizes:
        holders[at].resize(size)
        assert budget.used_bytes == sum(holder.size_bytes for holder in holders)
        assert budget.used_by("a") == holders[0].size_bytes + holders[1].size_bytes
        assert budget.used_bytes <= budget.limit_bytes + len(holders) * FLOOR_BYTES
    for holder in holders:
        holder.release()
    assert budget.used_bytes == budget.used_by("a") == 0
