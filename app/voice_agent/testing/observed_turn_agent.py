"""A turn-based agent in a simulation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from voice_agent.agents.base import ResponsePart, SideEffect, Turn, TurnAgent
from voice_agent.kit.agent import Kit
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice
from voice_agent.testing.agent_probe import AgentProbe, Probed


class ObservedTurnAgent:
    """As `ObservedAgent`; it makes its speech itself."""

    def __init__(self, agent: TurnAgent, probe: AgentProbe, ear: Ear, voice: Voice) -> None:
        self.name = agent.name
        self.lead_ms = agent.lead_ms
        self.replays = agent.replays
        self.mirrors = agent.mirrors
        self._ear = ear
        self._agent = agent
        self._probe = probe

    async def open(self, kit: Kit | None = None) -> None:
        """See `TurnAgent`."""
        await self._agent.open()

    async def close(self) -> None:
        """See `TurnAgent`."""
        await self._agent.close()

    async def transcribe(self, clip: Clip) -> str | None:
        """As the simulation's ear hears it."""
        return await self._ear.transcribe(clip)

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """See `TurnAgent`."""

        async def once(name: str, run: SideEffect) -> Any:
            async def noted(key: str) -> Any:
                self._probe.did(f"{turn.response_id}: {name}", key)
                return await run(key)

            return await turn.once(name, noted)

        parts = self._agent.reply(replace(turn, once=once))
        end: Any = object()
        while (part := await Probed(anext(parts, end), self._probe)) is not end:
            yield part
