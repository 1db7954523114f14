"""How long a provider usually takes, and so how long it is waited for before another one is asked as well.

One that is quick is soon overdue, and one that takes a second is not asked twice each time. Pure: times are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

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
"""With fewer only the longest of them is known to be usual, and a wait of `START_S` is not made longer by them."""
UNUSUAL = 4
"""One of so many may take longer than what is usual: what hangs now and then changes nothing."""
FEW_UNUSUAL = 3
"""So many may, however few there are: the first of a pod, and one or two that hang. One less where it is costly."""


class AnswerTimes:
    """One provider's, to the first of an answer or of its pauses."""

    def __init__(
        self,
        start_s: float = START_S,
        *,
        least_s: float = LEAST_S,
        most_s: float = MOST_S,
        is_costly: bool = False,
    ) -> None:
        """`start_s`: the limit while nothing is known; `least_s`, `most_s`: its bounds.

        `is_costly`: whether being overdue costs more than a request; then few times make it no shorter.
        """
        self.start_s = start_s
        self._least_s = least_s
        self._most_s = most_s
        self._is_costly = is_costly
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

    def limit_s(self, size: float = 1.0, others: Sequence[AnswerTimes] = ()) -> float:
        """After so long it is overdue. `size`: of what it is asked; what is twice as large may take twice as long.

        Not so while nothing is known: what is large may take no longer than what is small. `others`: that can do the
        same; until this one has answered it is taken to be as quick as the quickest of them.
        """
        known = () if self._newest else others
        shortest_s = min(each.slow_s(size) for each in (self, *known))
        return min(self._most_s, max(self._least_s, shortest_s))

    def last_s(self, size: float = 1.0) -> float:
        """After so long it is given up, if there is nobody else to ask. `size`: as for `limit_s`."""
        return max(LAST_S, self.slow_s(size))

    def slow_s(self, size: float) -> float:
        """What it takes when it is slow, for all that is known; bounds are not heeded."""
        rising = sorted(self._newest)
        if len(rising) >= ENOUGH:
            few = FEW_UNUSUAL - self._is_costly
            return SLACK * rising[-1 - max(few, len(rising) // UNUSUAL)] * size
        if not rising or self._is_costly:
            return self.start_s
        return min(self.start_s, SLACK * rising[-1] * size)
