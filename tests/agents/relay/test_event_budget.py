"""How many events an upstream may send. Tests of `event_budget`."""

from __future__ import annotations

from voice_agent.agents.relay.event_budget import EVENTS_AT_ONCE, EVENTS_PER_S, EventBudget


def test_so_many_may_come_at_once_and_then_at_a_steady_rate() -> None:
    """However long it goes on."""
    budget = EventBudget(0.0)
    assert all(budget.spend(0.0) for _ in range(EVENTS_AT_ONCE))
    assert not budget.spend(0.0)
    budget = EventBudget(0.0)
    assert all(budget.spend(number / EVENTS_PER_S) for number in range(3 * EVENTS_AT_ONCE))


def test_what_was_not_sent_for_long_may_come_at_once_and_no_more() -> None:
    """The bucket does not overflow."""
    budget = EventBudget(0.0)
    assert sum(budget.spend(1_000_000.0) for _ in range(2 * EVENTS_AT_ONCE)) == EVENTS_AT_ONCE
