"""What happened to every call, second by second, and the arithmetic on it. Pure.

Times are seconds since the rehearsal began. A call is served in legs: from a greeting until
its connection is lost or hung up. The resume gap is the time between two legs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Leg:
    """One connection of a call."""

    color: str
    pod: str
    from_s: float
    to_s: float | None = None
    """None while it lasts."""
    ended_with: int | None = None
    """The close code; None while it lasts, and for the caller's own hang-up."""


@dataclass(slots=True)
class CallLine:
    """One call as its caller saw it."""

    caller: str
    kind: str
    """sdk, browser or plain."""
    call_id: str = ""
    legs: list[Leg] = field(default_factory=list)

    def begin_leg(self, color: str, pod: str, at_s: float) -> None:
        """A greeting has come."""
        self.legs.append(Leg(color, pod, at_s))

    def end_leg(self, at_s: float, ended_with: int | None = None) -> None:
        """The connection is gone; the first to notice says so."""
        if self.legs and self.legs[-1].to_s is None:
            self.legs[-1].to_s, self.legs[-1].ended_with = at_s, ended_with

    @property
    def gaps_s(self) -> list[float]:
        """How long nobody served, for each resume."""
        return [
            new.from_s - old.to_s for old, new in zip(self.legs, self.legs[1:], strict=False) if old.to_s is not None
        ]

    @property
    def resumed_after(self) -> list[int | None]:
        """What the connection before each resume ended with; 1006 is a crash."""
        return [leg.ended_with for leg in self.legs[:-1]]

    @property
    def is_on(self) -> str | None:
        """The pod that serves now."""
        return self.legs[-1].pod if self.legs and self.legs[-1].to_s is None else None


@dataclass(slots=True)
class Mark:
    """Something that was done: a phase of the script, a step of a cutover, a crash."""

    at_s: float
    kind: str
    """phase, step, shift, crash, over."""
    text: str


def active_calls(calls: Iterable[CallLine], color: str, moments: Sequence[float]) -> list[int]:
    """How many calls a color serves at each moment; moments in any order."""
    changes = sorted(
        change
        for call in calls
        for leg in call.legs
        if leg.color == color
        for change in ((leg.from_s, 1), (math.inf if leg.to_s is None else leg.to_s, -1))
    )
    counts = dict.fromkeys(moments, 0)
    at, active = 0, 0
    for moment in sorted(counts):
        while at < len(changes) and changes[at][0] <= moment:
            active += changes[at][1]
            at += 1
        counts[moment] = active
    return [counts[moment] for moment in moments]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share does not pass (nearest rank); None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
