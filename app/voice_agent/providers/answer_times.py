"""How long a provider usually takes, and so how long it is waited for before another one is asked as well.

One that is quick is soon overdue, and one that takes a second is not asked twice each time. Pure: times are given.
"""

from __future__ import annotations

from collections import deque

START_S = 0.35
"""So long is waited while too little is known: half of the silence that a caller takes for a pause. One that takes
longer is asked twice for the first few requests of a pod."""
LEAST_S = 0.2
"""A packet that was lost is sent again in this time, and a pod that collects garbage is back: neither is a failure."""
MOST_S = 2.0
"""However long it usually takes: a caller asks "hello?" then."""
LAST_S = 4.0
"""So long those that were asked are waited for, at least, when there is nobody else to ask: the caller is to hear soon
that nobody answers."""
SLACK = 2.0
"""Times the usual: one that answers as it did for most of its requests is never overdue."""
KEPT = 40
"""Times that are looked at, the newest."""
ENOUGH = 5
"""With fewer nothing is known."""
UNUSUAL = 4
"""One of so many may take longer than what is usual: what hangs now and then changes nothing."""


class AnswerTimes:
    """One provider's, to the first of an answer or of its pauses."""

    def __init__(self, start_s: float = START_S, *, least_s: float = LEAST_S, most_s: float = MOST_S) -> None:
        """`start_s`: the limit while too little is known; `least_s`, `most_s`: its bounds."""
        self.start_s = start_s
        self._least_s = least_s
        self._most_s = most_s
        self._newest: deque[float] = deque(maxlen=KEPT)

    @classmethod
    def fixed(cls, seconds: float) -> AnswerTimes:
        """Whatever comes: always the same limit."""
        return cls(seconds, least_s=seconds, most_s=seconds)

    def add(self, seconds: float, size: float = 1.0) -> None:
        """It took so long. `size`: of what was asked; see `limit_s`."""
        self._newest.append(seconds / size)

    def overtaken(self, seconds: float, size: float = 1.0) -> None:
        """It would have taken longer. One that has hardly answered yet hangs, and is not waited for longer."""
        if len(self._newest) >= ENOUGH:
            self.add(seconds, size)

    def limit_s(self, size: float = 1.0) -> float:
        """After so long it is overdue. `size`: of what it is asked; what is twice as large may take twice as long."""
        return min(self._most_s, max(self._least_s, self._slow_s() * size))

    def last_s(self, size: float = 1.0) -> float:
        """After so long it is given up, if there is nobody else to ask. `size`: as for `limit_s`."""
        return max(LAST_S, self._slow_s() * size)

    def _slow_s(self) -> float:
        if len(self._newest) < ENOUGH:
            return self.start_s
        return SLACK * sorted(self._newest)[-1 - max(ENOUGH // 2, len(self._newest) // UNUSUAL)]
