"""What a cutover needs from outside: a router that sends callers to colors, and a watch that counts their calls.

One adapter a router in `voice_agent.operate.routers`, one a source in `voice_agent.operate.sources`. An
adapter never guesses: what it cannot read or write is a `CutoverError`, never a 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from voice_agent.errors import VoiceAgentError

FULL = 100
"""All weights of a routing add up to this; they are percents."""


class CutoverError(VoiceAgentError):
    """A step could not be done; the sentence says what to look at. `retryable`: trying again can help."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class RouterError(CutoverError):
    """A router could not be read, or did not do what it was told."""


class WatchError(CutoverError):
    """A source of numbers could not be read, or has no fresh number for a color. It never means 0."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How new connections are split: percent per color.

    A color with weight 0 is still in the rule, so that callers pinned to it by a cookie reach it;
    a color that is not named gets nobody at all. ``{"blue": 0, "green": 100}`` and
    ``{"green": 100}`` are the two phases of a shift.
    """

    weights: Mapping[str, int]
    differing: tuple[str, ...] = field(default=(), compare=False)
    """Rules that say something else than the first one: somebody stopped half way through a change."""

    def __post_init__(self) -> None:
        """Raises `ValueError` unless the weights are 0 to 100 and add up to 100."""
        if any(not 0 <= weight <= FULL for weight in self.weights.values()) or sum(self.weights.values()) != FULL:
            raise ValueError(f"weights must be 0-{FULL} and add up to {FULL}: {dict(self.weights)}")

    @staticmethod
    def alone(color: str) -> Routing:
        """Everybody to one color, cookies or not."""
        return Routing({color: FULL})

    @staticmethod
    def split(to: str, percent: int, rest_to: str) -> Routing:
        """So many percent to one color, the rest to the other; both are in the rule."""
        return Routing({rest_to: FULL - percent, to: percent})

    def gets_all(self, color: str) -> bool:
        """Whether every caller without a cookie comes to this color."""
        return self.weights.get(color) == FULL

    def __str__(self) -> str:
        shown = " ".join(f"{color} {weight}" for color, weight in sorted(self.weights.items()))
        return shown + (" alone" if len(self.weights) == 1 else "")


class Router(Protocol):
    """Sends first connects and resumes to colors. Every method raises `RouterError`.

    First connects are sticky, resumes are not; the smoke call's header reaches its color at any
    weight, and no method here changes that.
    """

    @property
    def name(self) -> str:
        """For people and for the journal: ``haproxy at /run/haproxy.sock``. Holds no secret."""

    async def read(self) -> Routing:
        """What is set now. Weights of another scale are converted to percents, half up."""

    async def changes(self, routing: Routing) -> Sequence[str]:
        """What `write` would change, a line each, in the router's own words; empty if all is as it should be."""

    async def write(self, routing: Routing) -> None:
        """Set it everywhere, and return once the router says that it is so. Safe to do again after a crash half way."""

    async def healthy_targets(self, color: str) -> int | None:
        """How many targets of a color the router's own health checks pass; None if this router cannot tell."""

    async def retire(self, color: str) -> Sequence[str]:
        """Take a color out of service for good, after its last call: scale it to zero or deregister it.

        Returns what was done, a line each. Safe to do again.
        """


@dataclass(frozen=True, slots=True)
class Numbers:
    """One color at one moment.

    Counters only ever grow, but start from anywhere: only differences mean something. A source
    that does not know a counter says None, and its limit is then not checked.
    """

    active_calls: int
    """Attached calls of all pods together."""
    ended: int | None = None
    """Calls that have ended, for whatever reason; counter."""
    failed: int | None = None
    """Calls that ended as an error; counter."""
    dropped: int | None = None
    """Calls lost through a fault of ours; counter."""
    resumes: int | None = None
    """Calls taken up again; counter."""
    turns: Mapping[float, int] | None = None
    """How many turns had their first audio within so many seconds (cumulative, with ``inf``); counters."""


class MetricsSource(Protocol):
    """Counts calls by color."""

    @property
    def name(self) -> str:
        """For people: ``prometheus at http://…``. Holds no secret."""

    async def look(self, colors: Sequence[str]) -> Mapping[str, Numbers]:
        """Fresh numbers of each of these colors. Raises `WatchError` when one is missing or stale."""
