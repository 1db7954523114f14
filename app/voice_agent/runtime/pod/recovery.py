"""What a pod takes after an overload. Pure.

Whoever was refused knocks again each second. A pod that took them all as soon as its loop is calm would have far too
many before it knew, and those who talk would suffer for as long as their calls last. So the pod remembers with how many
calls its loop was late: up to nearly so many are taken freely, and beyond that a few a second, twice as many every
`DOUBLE_S`, until it is overloaded again or `RECOVERING_S` are over.
"""

from __future__ import annotations

RECOVERING_S = 60
DOUBLE_S = 10
FREE_SHARE = 0.9
"""Of the fewest calls with which the loop was late."""
FEW_CALLS = 8
"""So few are no load; what made the loop late was something else."""
MORE_SHARE = 100
"""A hundredth of the calls under way, and at least one, are the few of the first seconds."""


class Recovery:
    """One pod's. `active` is always how many calls it has, without the one that is asked about."""

    def __init__(self) -> None:
        self._late_calls: int | None = None
        """The fewest calls of all late seconds, since the loop was last calm outside an overload."""
        self._was_overloaded = False
        self._left_s = 0
        self._more_calls = 0

    def second_is_over(self, active: int, *, late: bool, overloaded: bool) -> None:
        """To be told each second whether the loop was late in it, and whether that is an overload by now."""
        if late:
            self._late_calls = active if self._late_calls is None else min(self._late_calls, active)
        elif not self._was_overloaded and not self._left_s:
            self._late_calls = None
        if self._was_overloaded and not overloaded:
            self._left_s = RECOVERING_S
        elif self._left_s:
            self._left_s -= 1
        self._was_overloaded = overloaded
        self._more_calls = max(1, active // MORE_SHARE) << ((RECOVERING_S - self._left_s) // DOUBLE_S)

    def allows(self, active: int) -> bool:
        """Whether a new call may be taken now."""
        return not self._is_careful(active) or self._more_calls > 0

    def took(self, active: int) -> None:
        """A new call was taken."""
        if self._is_careful(active):
            self._more_calls -= 1

    def _is_careful(self, active: int) -> bool:
        return self._left_s > 0 and active >= max(FEW_CALLS, int((self._late_calls or 0) * FREE_SHARE))
