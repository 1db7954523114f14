"""Dialogs with the front desk, and items of conversations, for the tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from voice_agent.agents.frontdesk.desk import context
from voice_agent.agents.frontdesk.dialog import decide
from voice_agent.agents.frontdesk.doubts import CallersWords
from voice_agent.agents.frontdesk.memory import Memory

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def at(moment: datetime = MONDAY) -> int:
    return int(moment.timestamp() * 1000)


class DeskDialog:
    """One caller's dialog; what is remembered goes through JSON between any two turns."""

    def __init__(self, now: datetime = MONDAY, **settings: str) -> None:
        self.desk = context(at(now), **settings)
        self._stored = json.dumps(Memory().as_json())
        self.hung_up = False
        self.transfer = ""
        self.acts: list[str] = []
        self.asked_back = False

    @property
    def memory(self) -> Memory:
        return Memory.from_json(json.loads(self._stored))

    def say(self, text: str | None, *alternatives: str, uncertain: bool | None = None, **more: Any) -> str:
        """A turn of the caller, which is uncertain if there are alternatives; `more`: of `CallersWords`. The answer."""
        said = CallersWords(text, bool(alternatives) if uncertain is None else uncertain, alternatives, **more)
        answer = decide(said, self.memory, self.desk)
        self._stored = json.dumps(answer.memory.as_json())
        self.hung_up = answer.hang_up
        self.transfer = answer.transfer
        self.acts += answer.acts
        self.asked_back = answer.asks_back
        return answer.text

    def slots(self) -> list[tuple[str | None, int | None]]:
        """The appointments held."""
        return [(slot.day, slot.time) for slot in self.memory.appointments]


def message(role: str, **part: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [part]}


def typed(text: str) -> dict[str, Any]:
    return message("user", type="input_text", text=text)


def spoken(transcript: str | None) -> dict[str, Any]:
    return message("user", type="input_audio", transcript=transcript)
