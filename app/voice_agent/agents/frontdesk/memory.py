"""What the front desk remembers of a call; it is stored with the call and so must survive JSON.

The release before reads it too: it passes over fields of `Memory` that it does not know, so new ones go there and none
into `Slot`; and what is read back before it is done is an `offer`, which that release takes a "yes" to as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.language import Language
from voice_agent.agents.frontdesk.understanding import Understood

MAX_APPOINTMENTS = 20
"""Of one call."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A day as ISO date and a time in minutes since midnight, by the caller's clock; what is not known yet is None."""

    day: str | None = None
    time: int | None = None

    def spoken(self, language: Language) -> str:
        """Tuesday the first of December at noon; without what is not known yet."""
        return saying.slot(self.day, self.time, language)

    def with_(self, heard: Understood) -> Slot:
        """This slot with what was heard of day and time in place of its own."""
        return Slot(heard.day.isoformat() if heard.day else self.day, self.time if heard.time is None else heard.time)

    @property
    def is_complete(self) -> bool:
        """Whether day and time are known."""
        return self.day is not None and self.time is not None


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """What was said last, and what was to follow it."""

    text: str = ""
    then: str = ""
    """``hang_up``, ``transfer``, or ""."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What an uncertain turn may have been, and what it was not."""

    others: tuple[str, ...] = ()
    """Beside what the caller was asked about: the first of them is asked about after a no."""
    denied: tuple[str, ...] = ()
    """Questions that got a no, since something was certain: they are not asked about what is uncertain."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a call from turn to turn."""

    task: str = ""
    """book, move, cancel, order, person, or "" between tasks."""
    asked: str = ""
    """What the last question was after: ``ask_…`` of the answers, and ``example_…``."""
    slot: Slot = field(default_factory=Slot)
    """What the task has of day and time so far."""
    offer: Slot | None = None
    """What "yes" does: the slot that was asked for, read back, or another in its place."""
    chosen: int | None = None
    """Index of the appointment to move or cancel."""
    done: int | None = None
    """Index of the appointment last booked or moved, which a correction changes."""
    appointments: tuple[Slot, ...] = ()
    unclear: int = 0
    """Turns in a row that were not understood."""
    last: str = ""
    """What was said last, for "pardon?"."""
    said: LastAnswer = field(default_factory=LastAnswer)
    """The last answer, whatever it was: it goes on where a sound cuts it."""
    later: tuple[str, ...] = ()
    """Wishes of the same breath that wait for their turn, in plain words."""
    doubt: str = ""
    """What the caller may have said, and has been asked about; a yes makes it so."""
    readings: Readings = field(default_factory=Readings)
    """Of what was said uncertainly."""
    zone: str = ""
    """In whose time the slot was said, if not in the caller's."""
    name: str = ""
    """Of the caller, for the call back."""

    def reading(self, **changed: tuple[str, ...]) -> Memory:
        """With those fields of `readings`."""
        return replace(self, readings=replace(self.readings, **changed))

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
        known["later"] = tuple(known.get("later", ()))
        readings, said = known.get("readings", {}), known.get("said", {})
        known["readings"] = Readings(tuple(readings.get("others", ())), tuple(readings.get("denied", ())))
        known["said"] = LastAnswer(said.get("text", ""), said.get("then", ""))
        return cls(**known)
