"""The bytes of a pod's callers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.runtime.budget import FLOOR_BYTES, Budget

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


def test_the_limits_hold_to_the_byte() -> None:
    """For one byte more, too; who holds more than allowed may go on holding it, and no less may he grow than others."""
    budget = Budget(4 * MIB, 2 * MIB)
    large, other = budget.holder("a"), budget.holder("b")
    assert large.resize(2 * MIB)
    assert large.may_grow
    assert not large.resize(2 * MIB + 1)
    large.force(2 * MIB + 1)
    assert not large.may_grow
    assert large.resize(2 * MIB + 1)
    assert large.resize(2 * MIB)
    assert other.resize(2 * MIB)
    assert not budget.holder("c").resize(FLOOR_BYTES + 1)


def test_a_key_under_which_nothing_is_held_is_forgotten() -> None:
    """However many have called: a pod lives for weeks."""
    budget = Budget(MIB, MIB)
    holders = [budget.holder(f"key {number}") for number in range(3)]
    for holder in holders:
        holder.force(10)
    for holder in holders[1:]:
        holder.release()
        holder.release()
    assert dict(budget._by_key) == {"key 0": 10}


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
