"""The retry budget."""

from __future__ import annotations

from voice_agent.providers.budget import MOST, RetryBudget


def test_a_provider_that_answers_nothing_is_not_hammered() -> None:
    """Ten retries, and no more until something succeeds."""
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(1000)) == MOST
    for _ in range(11):
        budget.succeeded()
    assert [budget.take(), budget.take()] == [True, False]


def test_a_day_of_success_saves_up_no_more_than_the_most() -> None:
    """So a failure is not answered by a thousand retries."""
    budget = RetryBudget()
    for _ in range(10_000):
        budget.succeeded()
    assert sum(budget.take() for _ in range(1000)) == MOST
