"""How many events an upstream may send: a bucket that is full at first, and fills at a steady rate. Pure."""

from __future__ import annotations

EVENTS_PER_S = 1_000
EVENTS_AT_ONCE = 20_000
"""So many more at once: half an hour of speech that is sent as fast as it can be. Stops an upstream that keeps this pod
busy with events that say nothing."""
REFUSAL_EVENTS = 100
"""So many others an error counts as: each is a line in the log."""


class EventBudget:
    """One connection's."""

    def __init__(self, now_s: float) -> None:
        self._left = float(EVENTS_AT_ONCE)
        self._at_s = now_s

    def spend(self, now_s: float, events: int = 1) -> bool:
        """So many came; False: too many have."""
        self._left = min(EVENTS_AT_ONCE, self._left + (now_s - self._at_s) * EVENTS_PER_S) - events
        self._at_s = now_s
        return self._left >= 0
