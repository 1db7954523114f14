"""A retry budget: how often a provider that failed may be asked the same again.

A share of what succeeds, so that a provider that answers nothing gets no more requests than it is sent anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST = 10.0
"""Retries that a provider may be sent in a row, however well it did before."""
PER_SUCCESS = 0.1
"""Of a retry: one for ten requests that succeed."""


@dataclass(slots=True)
class RetryBudget:
    """One provider's."""

    tokens: float = MOST

    def succeeded(self) -> None:
        """A request had its answer."""
        self.tokens = min(MOST, self.tokens + PER_SUCCESS)

    def take(self) -> bool:
        """Whether a retry may be sent; it is taken from what there is."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
