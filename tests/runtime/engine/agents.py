"""Agents for tests, a voice whose audio tells what it says, and an ear that knows what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zlib import crc32

from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Event
from voice_agent.kit.voice import Utterance, Voice

MS_A_CHAR = 60


class SpellingVoice(Voice):
    """Says each character for 60 ms; `variant` makes it another voice, and a longer or shorter one."""

    name = "spelling"
    deterministic = True
    lead_ms = 0

    def __init__(self, *, variant: int = 0, ms_a_char: int = MS_A_CHAR) -> None:
        self.variant = variant
        self.ms_a_char = ms_a_char
        self.said: list[Utterance] = []

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        self.said.append(utterance)
        text = utterance.text
        words = [at for at in range(1, len(text)) if text[at - 1] == " " and text[at] != " "]
        for at, char in enumerate(text):
            sample = (crc32(char.encode()) + self.variant) & 0x7FFF
            starts = [[0, at]] if at in words else []
            yield VoicedAudio(sample.to_bytes(2, "little") * (PCM.size(self.ms_a_char) // 2), PCM, starts)


def spelled(text: str, *, variant: int = 0, ms_a_char: int = MS_A_CHAR) -> bytes:
    """What that voice says, whole."""
    return b"".join(
        ((crc32(char.encode()) + variant) & 0x7FFF).to_bytes(2, "little") * (PCM.size(ms_a_char) // 2) for char in text
    )


class HelloEar(Ear):
    """Understands the same of everything."""

    name = "hello"

    async def transcribe(self, clip: Clip) -> str | None:
        return "hello"


class Acting(Agent):
    """Does with each event what a test says; notes all events."""

    name = "acting"

    def __init__(self, act: Callable[[Call, Event], Awaitable[Any]] | None = None, voice: Voice | None = None) -> None:
        self.act = act
        self.voice = voice or SpellingVoice()
        self.ear = HelloEar()
        self.events: list[Event] = []
        self.runs = 0

    async def run(self, call: Call) -> None:
        self.runs += 1
        async for event in call.events():
            self.events.append(event)
            if self.act is not None:
                await self.act(call, event)

    @property
    def kinds(self) -> list[str]:
        """Of the events, in order."""
        return [type(event).__name__ for event in self.events]
