"""What the front desk remembers of a call; it is stored with the call and so must survive JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.understanding import Understood


@dataclass(frozen=True, slots=True)
class Slot:
    """A day as ISO date and a time in minutes since midnight; what is not known yet is None."""

    day: str | None = None
    time: int | None = None

    @property
    def spoken(self) -> str:
        """Tuesday the first of December at noon; without what is not known yet."""
        parts = []
        if self.day:
            parts.append(saying.day(date.fromisoformat(self.day)))
        if self.time is not None:
            parts.append(f"at {saying.time(self.time)}")
        return " ".join(parts)

    def with_(self, heard: Understood) -> Slot:
        """This slot with what was heard of day and time in place of its own."""
        return Slot(heard.day.isoformat() if heard.day else self.day, self.time if heard.time is None else heard.time)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a call from turn to turn."""

    task: str = ""
    """book, move, cancel, order, or "" between tasks."""
    asked: str = ""
    """What the last question was after: a key of `QUESTIONS` or `EXAMPLES`."""
    slot: Slot = field(default_factory=Slot)
    """What the task has of day and time so far."""
    offer: Slot | None = None
    chosen: int | None = None
    """Index of the appointment to move or cancel."""
    done: int | None = None
    """Index of the appointment last booked or moved, which a correction changes."""
    appointments: tuple[Slot, ...] = ()
    unclear: int = 0
    """Turns in a row that were not understood."""
    last: str = ""
    """What was said last, for "pardon?"."""

    def as_json(self) -> dict[str, Any]:
        """The shape it is stored in."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> Memory:
        """What `as_json` gave; fields of another version of this program are left out."""
        known = {name: raw[name] for name in (each.name for each in fields(cls)) if name in raw}
        for name in ("slot", "offer"):
            if known.get(name) is not None:
                known[name] = Slot(**known[name])
        known["appointments"] = tuple(Slot(**slot) for slot in known.get("appointments", ()))
        return cls(**known)
