"""The agent `echo`: says back what it heard, sample for sample, so that any client can check what it got."""

from __future__ import annotations

from collections.abc import AsyncIterator

from voice_agent.agents.base import Audio, ResponsePart, Text, Turn
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.kit.clip import Clip

MAX_ECHO_CHARS = 64 * 1024


class Echo:
    """A spoken turn is answered with its own audio, a typed one with its own text."""

    name = "echo"
    lead_ms = 0
    replays = True
    mirrors = False

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def transcribe(self, clip: Clip) -> str | None:
        """Always None: an echo understands nothing."""
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """The clip if there is one and speech is wanted, else the text typed since the last reply."""
        if turn.clip is not None and turn.wants_audio:
            yield Audio(turn.clip.audio, turn.clip.format)
            return
        said = said_since_last_reply(turn.items, failed_to=turn.failed_to, typed_only=True, max_chars=MAX_ECHO_CHARS)
        if said.text:
            yield Text(said.text)
