"""What happened to every call, second by second, and the arithmetic on it. Pure.

Times are seconds since the rehearsal began. A call is served in legs: from a pod's greeting until
its connection is lost or hung up. The resume gap is the time between two legs. Of a call whose caller
an edge holds the legs are those of the edge's connections: the caller sees one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from voice_agent.call.closing import CloseCode


@dataclass(frozen=True, slots=True)
class Move:
    """A call that an edge had another pod go on with."""

    call_id: str
    color: str
    pod: str
    at_s: float
    """When the pod greeted."""
    gap_s: float
    """How long no pod served it; of one that fell silent, since its last word."""
    after: int
    """The close code of the connection before; 1006: it broke."""
    reason: str
    """Of that close, as the pod or the edge has put it."""

    @property
    def cause(self) -> str:
        """``handoff``, ``crash`` or ``silence``: what ended the connection before."""
        if self.after in (CloseCode.SERVICE_RESTART, CloseCode.GOING_AWAY):
            return "handoff"
        return "silence" if self.reason.startswith("silent") else "crash"


@dataclass(frozen=True, slots=True)
class PodFault:
    """Something that was done to a pod while edges held the callers."""

    what: str
    """kill -9, stop or drain."""
    pod: str
    calls: int
    """How many calls that edges hold it served."""
    moved_s: float | None
    """After so long all of them were served by other pods; None: they were not within a minute."""

    @property
    def told(self) -> str:
        """When all were served elsewhere."""
        return "never" if self.moved_s is None else f"{self.moved_s:.1f} s"


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
    edge: str = ""
    """The edge that holds the caller; "" is none."""
    legs: list[Leg] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    """By its edge."""

    def begin_leg(self, color: str, pod: str, at_s: float) -> None:
        """A greeting has come."""
        self.legs.append(Leg(color, pod, at_s))

    def end_leg(self, at_s: float, ended_with: int | None = None) -> None:
        """The connection is gone; the first to notice says so."""
        if self.legs and self.legs[-1].to_s is None:
            self.legs[-1].to_s, self.legs[-1].ended_with = at_s, ended_with

    def moved(self, move: Move) -> None:
        """Its edge says so, perhaps after the call has ended."""
        if not self.legs:
            return
        self.moves.append(move)
        last = self.legs[-1]
        self.legs.append(Leg(move.color, move.pod, move.at_s, last.to_s, last.ended_with))
        last.to_s, last.ended_with = max(last.from_s, move.at_s - move.gap_s), move.after

    @property
    def gaps_s(self) -> list[float]:
        """How long nobody served, for each resume."""
        return [
            new.from_s - old.to_s for old, new in zip(self.legs, self.legs[1:], strict=False) if old.to_s is not None
        ]

    @property
    def brief_gaps_s(self) -> list[float]:
        """Without those behind a pod that fell silent: these are as long as it takes an edge to be sure."""
        silent = {move.at_s for move in self.moves if move.cause == "silence"}
        return [
            new.from_s - old.to_s
            for old, new in zip(self.legs, self.legs[1:], strict=False)
            if old.to_s is not None and new.from_s not in silent
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
    spans = [(leg.from_s, leg.to_s) for call in calls for leg in call.legs if leg.color == color]
    return _open_spans(spans, moments)


def held_calls(calls: Iterable[CallLine], moments: Sequence[float]) -> list[int]:
    """How many callers have their one connection to an edge at each moment, whether a pod serves them or not."""
    spans = [(call.legs[0].from_s, call.legs[-1].to_s) for call in calls if call.edge and call.legs]
    return _open_spans(spans, moments)


def _open_spans(spans: Iterable[tuple[float, float | None]], moments: Sequence[float]) -> list[int]:
    changes = sorted(
        change for from_s, to_s in spans for change in ((from_s, 1), (math.inf if to_s is None else to_s, -1))
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
