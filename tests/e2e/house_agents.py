"""Agents of a house of its own, as an installed package brings them: one that repeats, one that breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from voice_agent.agents.base import Audio, ResponsePart, Text, Turn
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip

SENTENCES = 60
SENTENCE_MS = 100
ENTRY_POINTS = """[voice_agent.agents]
parrot = tests.e2e.house_agents:Parrot
broken = tests.e2e.house_agents:Broken
"""


def install(directory: Path) -> None:
    """Make them a package that is found where `directory` is on the path."""
    info = directory / "house-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


def sentence(number: int, said: str) -> str:
    """What the parrot says as its n-th sentence."""
    return f"Sentence {number}: you said {said}. "


def sound(number: int) -> bytes:
    """The audio of it."""
    return (number + 1).to_bytes(2, "little") * (PCM.size(SENTENCE_MS) // 2)


class Parrot:
    """The simplest agent one can write: no plan, no state, and asked again it says all of it again."""

    name = "parrot"
    lead_ms = 0
    replays = True
    mirrors = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        said = said_since_last_reply(turn.items).text or "nothing"
        for number in range(SENTENCES):
            yield Text(sentence(number, said))
            yield Audio(sound(number), PCM)


class Broken(Parrot):
    """What it yields in place of its second sentence is no part of a reply."""

    name = "broken"

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        yield Text("That is easy. ")
        wrong: Any = "It is not."
        yield wrong
