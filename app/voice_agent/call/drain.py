"""Which calls a draining pod closes, and when.

The runtime (`runtime.pod.drainer`) calls `Drain.to_hand_off` again and again with what it knows of its attached calls,
and closes those that it names with 1012. Two modes, one deadline at which all are named: so a drain always ends, but
for one that is to leave alone whom it would lose. A pod that gives away only some of its calls asks `to_move`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

QUIET_JITTER_S = 2.0
"""Calls that may move are handed off spread over this long, so that the other pods are not stampeded."""
HANDOFFS_PER_S = 100
"""More calls are spread over longer: a pod that takes one over works some milliseconds for it."""


class DrainMode(StrEnum):
    """`handoff`: resumable calls move to another pod. `finish`: every call may end by itself."""

    HANDOFF = "handoff"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class DrainingCall:
    """What the plan needs to know of one attached call."""

    call_id: str
    resumable: bool
    quiet: bool
    spread: float
    """A number from 0 to 1 that the call keeps, by which handoffs are spread."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain that was asked for: how, and how long it may take."""

    mode: DrainMode
    deadline_s: float
    closes_rest: bool = True
    """Whether all are closed at the deadline. Else those that cannot resume stay until they end, and so does the drain;
    those that can move then whatever goes on."""
    calls: int = 0
    """How many there were when it began."""

    def left_s(self, elapsed_s: float) -> float:
        """How long calls may still stay."""
        return max(0.0, self.deadline_s - elapsed_s)

    def is_over(self, elapsed_s: float) -> bool:
        """Whether every call is to be closed now."""
        return self.closes_rest and elapsed_s >= self.deadline_s

    def to_hand_off(self, calls: Iterable[DrainingCall], *, elapsed_s: float, others_take_calls: bool) -> list[str]:
        """Ids of the calls to close with 1012 now.

        At the deadline that is all of them, so a drain always ends. Before it, a handoff
        takes resumable calls: quiet ones, spread over `QUIET_JITTER_S` (longer if they would be more than
        `HANDOFFS_PER_S`, but a tenth of the deadline at most), and from half the deadline on also those
        that never got quiet. While no other pod takes calls, no call is closed before the deadline.
        """
        if self.is_over(elapsed_s):
            return [call.call_id for call in calls]
        if self.mode is DrainMode.FINISH or not others_take_calls:
            return []
        jitter_s = min(max(QUIET_JITTER_S, self.calls / HANDOFFS_PER_S), self.deadline_s / 10)
        return [
            call.call_id
            for call in calls
            if call.resumable
            and elapsed_s >= call.spread * jitter_s
            and (call.quiet or elapsed_s >= self.deadline_s / 2)
        ]


def to_move(calls: Iterable[DrainingCall], limit: int) -> list[str]:
    """Ids of at most `limit` calls that a pod that stays may close with 1012 now, in the order of `calls`."""
    return [call.call_id for call in calls if call.resumable and call.quiet][: max(0, limit)]
