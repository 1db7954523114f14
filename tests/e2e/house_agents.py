"""Agents of a house of its own, as an installed package brings them: one that repeats, one that breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from voice_agent.agents.scripted import Scripted, ScriptedTurn
from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.voice import Voice

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


class Parrot(Agent):
    """The simplest agent one can write: no state, and asked again it says all of it again."""

    name = "parrot"
    lead_ms = 0
    ear = Ear()
    voice = Voice()

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                async with call.speak() as speech:
                    for number in range(SENTENCES):
                        await speech.audio(sound(number), PCM, text=sentence(number, event.text or "nothing"))


class Broken(Scripted):
    """What it yields in place of its second sentence is none."""

    name = "broken"

    async def answer(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        yield "That is easy. "
        wrong: Any = 2
        yield wrong
