"""Dialogs with the front desk, and turns for agents, for the tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from voice_agent.agents.base import Progress, ResponsePart, Turn, TurnAgent
from voice_agent.agents.frontdesk.dialog import decide
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.kit.clip import Clip

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


def turn(
    *items: Mapping[str, Any],
    clip: Clip | None = None,
    wants_audio: bool = True,
    state: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    voice: str = "alloy",
) -> Turn:
    return Turn(
        call_id="call_a",
        response_id="resp_a",
        instructions="",
        voice=voice,
        speed=1.0,
        wants_audio=wants_audio,
        tools=(),
        items=items,
        clip=clip,
        now_ms=at(),
        state=state or {},
        progress=progress or Progress(),
    )


async def parts_of(agent: TurnAgent, asked: Turn) -> list[ResponsePart]:
    """Everything the agent replies."""
    parts: AsyncIterator[ResponsePart] = agent.reply(asked)
    return [part async for part in parts]
