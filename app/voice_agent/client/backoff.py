"""When to try again, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from voice_agent.retry import Delays

PAUSES = Delays(first_s=0.1, longest_s=2.0)
JITTER = 0.25
COME_BACK_FOR_S = 60.0
"""How long a call is tried to be resumed, unless it is said."""
STEADY_S = 5.0
"""A connection that breaks sooner than this belongs to the same trouble as the break before it."""


class Backoff:
    """Pauses between tries: none before the first, then growing, until `for_s` after the trouble began."""

    def __init__(
        self,
        for_s: float = COME_BACK_FOR_S,
        *,
        now_s: Callable[[], float] = time.monotonic,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.for_s = for_s
        self._now_s = now_s
        self._chance = chance
        self._deadline_s = 0.0
        self._next_s = 0.0
        self._mended_s = float("-inf")

    @property
    def left_s(self) -> float:
        """How long trying may go on."""
        return max(0.0, self._deadline_s - self._now_s())

    def broke(self) -> None:
        """The connection is gone."""
        now_s = self._now_s()
        if now_s - self._mended_s >= STEADY_S:
            self._deadline_s = now_s + self.for_s
            self._next_s = 0.0

    def mended(self) -> None:
        """There is a connection again."""
        self._mended_s = self._now_s()

    def pause_s(self, asked_s: float | None = None) -> float | None:
        """How long to wait before the next try, or None when it is time to give up.

        `asked_s` is what the server asked for; beyond the deadline there is no use in waiting.
        """
        if self.left_s == 0.0 or (asked_s is not None and asked_s > self.left_s):
            return None
        pause_s = self._next_s * self._chance(1 - JITTER, 1 + JITTER)
        self._next_s = PAUSES.after(self._next_s)
        return min(max(pause_s, asked_s or 0.0), self.left_s)
