"""The front desk as an evaluation sees it: what was heard goes in, an answer and its kind come out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from voice_agent.agents.frontdesk.agent import FrontDesk
from voice_agent.agents.frontdesk.desk import context
from voice_agent.agents.frontdesk.dialog import decide
from voice_agent.agents.frontdesk.doubts import CallersWords
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.kit.ear import Transcript

_ASKS_YES_OR_NO = frozenset({"confirm", "offer", "callback", "name_right"})


@dataclass(frozen=True, slots=True)
class DeskReply:
    """What the desk answered, and what has come of it."""

    text: str
    understood: bool
    """False: it said that it did not understand."""
    told: bool
    """Something was told or done, as the result of what was understood; False: it only asks."""
    acts: tuple[str, ...]
    """What was told or done, as the desk names it."""
    asks_yes_or_no: bool
    appointments: tuple[Any, ...]
    hung_up: bool

    def same_as(self, other: DeskReply) -> bool:
        """The same result, and the same answer or the same told: what is asked after it may be another question."""
        if (self.appointments, self.hung_up) != (other.appointments, other.hung_up):
            return False
        return self.text == other.text or (bool(self.acts) and self.acts == other.acts)


class Desk:
    """One talk."""

    def __init__(self, now: datetime, memory: Memory | None = None, language: str = "en") -> None:
        """A talk that takes place at `now`."""
        self._now = now
        self._memory = memory or Memory()
        self._language = language

    @property
    def appointments(self) -> tuple[Any, ...]:
        """What is booked."""
        return self._memory.appointments

    @property
    def asks_yes_or_no(self) -> bool:
        """What the agent tells its ear; `FrontDesk` has it from the same memory."""
        return FrontDesk().asks_yes_or_no(self._memory.as_json())

    def copy(self) -> Desk:
        """Another, in which the same has been said until now."""
        return Desk(self._now, self._memory, self._language)

    def type(self, text: str) -> DeskReply:
        """A typed turn."""
        return self.hear(Transcript(text))

    def hear(self, heard: Transcript) -> DeskReply:
        """A turn as an ear understood it."""
        said = CallersWords(heard.text, not heard.certain, heard.alternatives)
        desk = context(int(self._now.timestamp() * 1000), language=self._language)
        answer = decide(said, self._memory, desk)
        before, self._memory = self._memory, answer.memory
        changed = answer.memory.appointments != before.appointments
        return DeskReply(
            answer.text,
            answer.memory.unclear == 0,
            changed or answer.hang_up or bool(answer.acts),
            answer.acts,
            answer.memory.asked in _ASKS_YES_OR_NO or bool(answer.memory.doubt),
            answer.memory.appointments,
            answer.hang_up,
        )
