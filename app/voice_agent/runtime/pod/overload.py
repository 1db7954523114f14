"""Whether a pod's event loop is too busy for new calls. Pure: told how late a timer ran, and when.

Looked at once a second, by the median of how late the loop was in it::

                    3 seconds in a row above `ENTER_S`
        rested  ──────────────────────────────────────────>  overloaded
           ^                                                      │
           └──────────────────────────────────────────────────────┘
                    5 seconds in a row below `LEAVE_S`

| state      | median of the second        | then                                  |
| ---------- | --------------------------- | ------------------------------------- |
| rested     | above `ENTER_S`             | one more of `ENTER_AFTER`             |
| rested     | up to `ENTER_S`             | counts from 0 again                   |
| overloaded | below `LEAVE_S`             | one more of `LEAVE_AFTER`             |
| overloaded | `LEAVE_S` and more          | counts from 0 again                   |

So a lag between the two changes nothing, and a state lasts for 3 seconds at least. One long pause (a process that was
stopped, a collector) is one second, however long it was. A second ends with the first sample after it: a loop that is
later than that has longer ones.
"""

from __future__ import annotations

from statistics import median

SAMPLE_S = 0.05
"""How often the loop is asked for a timer."""
SECOND_S = 1.0
ENTER_S = 0.025
"""More than a frame of 20 ms late: callers begin to hear it."""
LEAVE_SHARE = 0.48
LEAVE_S = LEAVE_SHARE * ENTER_S
"""12 ms: calm again."""
ENTER_AFTER = 3
LEAVE_AFTER = 5


class OverloadDetector:
    """One pod's. `overloaded` is the state, which may change at the end of each second."""

    def __init__(self, began_s: float, *, enter_s: float = ENTER_S) -> None:
        """`enter_s` in place of `ENTER_S`, and as much less than it in place of `LEAVE_S`; 0: never overloaded."""
        self.overloaded = False
        self.late = False
        """Whether the loop was later than `ENTER_S` in the second that ended last."""
        self.lag_s = 0.0
        """How late it was in that second, in the median."""
        self._enter_s = enter_s or float("inf")
        self._leave_s = LEAVE_SHARE * enter_s
        self._lags_s: list[float] = []
        self._second_began_s = began_s
        self._in_a_row = 0

    def sample(self, now_s: float, lag_s: float) -> bool:
        """Take how late a timer ran, at a monotonic time that never goes back; True at the end of a second."""
        self._lags_s.append(lag_s)
        if now_s - self._second_began_s < SECOND_S:
            return False
        self.lag_s = lag_s = median(self._lags_s)
        self._lags_s.clear()
        self._second_began_s = now_s
        self.late = lag_s > self._enter_s
        counts = lag_s < self._leave_s if self.overloaded else self.late
        self._in_a_row = self._in_a_row + 1 if counts else 0
        if self._in_a_row == (LEAVE_AFTER if self.overloaded else ENTER_AFTER):
            self.overloaded = not self.overloaded
            self._in_a_row = 0
        return True
