"""Checking that a call's events run on without gap or repeat, whichever pod sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voice_agent.call.event_ids import event_id, event_number


@dataclass(slots=True)
class Tally:
    """What a call has been through, as its client saw it."""

    events: int = 0
    """Server events, the greetings not counted."""
    gaps: int = 0
    """Event ids that were skipped and not named in ``session.call.gap``."""
    repeats: int = 0
    """Events that came twice; they are not handed on."""
    forgotten: int = 0
    """Event ids that ``session.call.gap`` named: nobody has them any more."""
    told_gaps: int = 0
    """How often a resume said that the server had forgotten something, seen by this client or not."""
    resumes: int = 0
    resent_ms: int = 0
    """Audio that was sent once more after a resume."""
    lost_ms: int = 0
    """Audio that the server lost and that was too old to send again."""
    longest_break_s: float = 0.0


class SequenceChecker:
    """Follows ``evt_<n>`` from one connection to the next.

    Ids of other shapes, and those of a server that never said where it begins, are let through unchecked.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last_n: int | None = None

    @property
    def last_n(self) -> int:
        """Number of the newest event seen."""
        return self._last_n or 0

    @property
    def last_event_id(self) -> str:
        """The same, as a resume wants it."""
        return event_id(self.last_n)

    def begin(self, greeting: dict[str, Any], gap: dict[str, Any] | None, *, first: bool) -> None:
        """Start on a new connection: the greeting's id is the position that it starts from."""
        if first or self._last_n is None:
            self._last_n = number(greeting) or 0
        if gap is None:
            return
        self._tally.told_gaps += 1
        to = number({"event_id": gap.get("to")})
        if to is not None and to > self._last_n:
            self._tally.forgotten += to - self._last_n
            self._last_n = to

    def is_new(self, event: dict[str, Any]) -> bool:
        """Count an event; False for one that came before."""
        self._tally.events += 1
        n = number(event)
        if n is None or self._last_n is None:
            return True
        if n <= self._last_n:
            self._tally.repeats += 1
            return False
        self._tally.gaps += n - self._last_n - 1
        self._last_n = n
        return True


def number(event: dict[str, Any]) -> int | None:
    """41 for an event with the id ``evt_41``; None for ids of another shape."""
    given = event.get("event_id")
    return event_number(given) if isinstance(given, str) else None
