"""Places of an edge: how many callers it holds, and whether it takes one more."""

from __future__ import annotations

from voice_agent.errors import ConnectionRefused


class EdgeAdmission:
    """`loop_watch.Gate`. A place is taken before a pod is asked, and given back when the connection is over."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.active = 0
        self.draining = False
        self.overloaded = False
        """The event loop is too busy for new calls; callers that come back are taken all the same."""

    def refusal(self, *, may_resume: bool = False) -> ConnectionRefused | None:
        """Why a caller is not taken. `may_resume`: its call may exist."""
        if self.draining:
            return ConnectionRefused(503, "draining", "This edge leaves; connect again.", retry_after_s=1)
        if self.active >= self.capacity:
            return ConnectionRefused(503, "capacity", f"All {self.capacity} places are taken.", retry_after_s=1)
        if self.overloaded and not may_resume:
            return ConnectionRefused(503, "overloaded", "This edge is overloaded; connect again.", retry_after_s=1)
        return None

    def take(self, *, may_resume: bool) -> None:
        """Raises `ConnectionRefused`: 503 while draining, full or overloaded."""
        if (refusal := self.refusal(may_resume=may_resume)) is not None:
            raise refusal
        self.active += 1

    def give_back(self) -> None:
        """Free a place."""
        self.active -= 1

    def second_is_over(self, *, late: bool, overloaded: bool, lag_s: float) -> None:
        """To be told each second whether the event loop is overloaded."""
        self.overloaded = overloaded
