"""The agent that stock clients talk to: it hears, speaks, calls the client's tools and tells long stories."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.e2e.caller_of_tools import CallerOfTools
from voice_agent.agents.base import Audio, ResponsePart, Text, Turn
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.speech.workers import SpeechWorkers

STORY = "a story"
"""Who types a sentence with these words is talked to for a minute."""
ANSWER = "You said: "


class Clerk(CallerOfTools):
    """Says what it understood, in an espeak voice; with tools, it calls the first and says what that gave."""

    name = "clerk"

    def __init__(self) -> None:
        self._workers = SpeechWorkers(1)

    async def open(self) -> None:
        """Start the speech worker."""
        await self._workers.open()

    async def ready(self) -> None:
        """Wait for the speech worker, so that no client does."""
        await self._workers.ready()

    async def close(self) -> None:
        """Stop the speech worker."""
        await self._workers.close()

    async def transcribe(self, clip: Clip) -> str | None:
        """By the recognizer of the built-in agents."""
        return await self._workers.transcribe(clip.audio, clip.format)

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """A tool's call or output, a story, or what was said."""
        last = turn.items[-1] if turn.items else {}
        said = said_since_last_reply(turn.items).text
        if turn.tools or last.get("type") == "function_call_output" or STORY in said:
            async for part in super().reply(turn):
                yield part
            return
        yield Text(ANSWER + said)
        if turn.wants_audio:
            spoken = await self._workers.synthesize(ANSWER + said, turn.voice, turn.speed)
            yield Audio(spoken.audio, PCM, spoken.words)
