"""An upstream for tests: it counts, in words that can be read from its sound, and goes on behind what it has said.

Asked for ``20 from 100`` it says "w100 w101 … w119". What of that stands behind the question in the conversation, be
it cut off, it does not say again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.doubles.tones import sound_of
from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.voice import Voice

QUESTION = re.compile(r"(\d+) from (\d+)")


def words(first: int, count: int) -> list[str]:
    """So many, from a number on."""
    return [f"w{number}" for number in range(first, first + count)]


def question(first: int, count: int) -> dict[str, Any]:
    """What is answered with these words."""
    return question_of(f"{count} from {first}")


def question_of(text: str) -> dict[str, Any]:
    """What the caller types."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def due(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which words are to be said: those of the newest question that do not stand behind it."""
    said: list[str] = []
    for item in reversed(items):
        text = " ".join(part.get("transcript") or part.get("text") or "" for part in item.get("content") or ())
        if item.get("role") == "assistant":
            said = text.split() + said
        elif item.get("role") == "user" and (asked := QUESTION.search(text)):
            wanted = words(int(asked[2]), int(asked[1]))
            assert said == wanted[: len(said)], f"{said} is no beginning of {wanted}"
            return wanted[len(said) :]
    return []


class LengthEar(Ear):
    """Understands how long somebody spoke."""

    name = "length"

    async def transcribe(self, clip: Clip) -> str | None:
        return f"3 from {100 * (clip.format.ms(len(clip.audio)) // 100)}"


class Counting(Agent):
    """Says each word as a piece of its own."""

    name = "counting"
    ear = LengthEar()
    voice = Voice()
    lead_ms = 1_000

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                async with call.speak() as speech:
                    for word in due(event.items):
                        await speech.audio(sound_of(word), PCM, text=f"{word} ")
