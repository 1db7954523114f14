"""The agent `loopback`: every appended frame comes straight back, for load tests.

The mirroring itself is a rule of the call (`voice_agent.call`), since it must cost no task and
no await per frame; this class only says so by `mirrors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from voice_agent.agents.base import ResponsePart, Turn
from voice_agent.kit.clip import Clip


class Loopback:
    """Has nothing to say itself: a reply asked of it (``response.create``) is empty."""

    name = "loopback"
    lead_ms = 0
    replays = True
    mirrors = True

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def transcribe(self, clip: Clip) -> str | None:
        """Always None: nothing is listened to."""
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """Yields nothing."""
        nothing: tuple[ResponsePart, ...] = ()
        for part in nothing:
            yield part
