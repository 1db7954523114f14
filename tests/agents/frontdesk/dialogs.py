"""Dialogs with the front desk, and items of conversations, for the tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from voice_agent.agents.frontdesk.dialog import decide
from voice_agent.agents.frontdesk.memory import Memory

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def at(moment: datetime = MONDAY) -> int:
    return int(moment.timestamp() * 1000)


class DeskDialog:
    """One caller's dialog; what is remembered goes through JSON between any two turns."""

    def __init__(self, now: datetime = MONDAY) -> None:
        self._now_ms = at(now)
        self._stored = json.dumps(Memory().as_json())
        self.hung_up = False

    @property
    def memory(self) -> Memory:
        return Memory.from_json(json.loads(self._stored))

    def say(self, text: str | None) -> str:
        """A turn of the caller; the answer."""
        answer = decide(text, self.memory, self._now_ms)
        self._stored = json.dumps(answer.memory.as_json())
        self.hung_up = answer.hang_up
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
