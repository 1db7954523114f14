"""Which agents a pod serves, and which one answers to a model's name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from voice_agent.agents.source import AgentSource
from voice_agent.errors import ConnectionRefused, SettingsError
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.naming import settings_prefix
from voice_agent.opening import opening
from voice_agent.speech.silero import silero_model

log = structlog.get_logger(__name__)

STOCK_PREFIX = "gpt-"
"""Clients made for OpenAI ask for models of this name; they get the default agent."""


@dataclass(frozen=True, slots=True)
class ServedAgent:
    """One of them."""

    agent: Agent
    origin: str
    """How the operator named it."""
    source: AgentSource | None = None
    """Where its author may change it; None: nowhere."""


class AgentRegistry:
    """The agents of a pod, by name."""

    def __init__(self, served: Iterable[ServedAgent], *, default: str) -> None:
        """Raises `SettingsError` when no agent is called `default`, or two have one name or one name for settings."""
        self.served: dict[str, ServedAgent] = {}
        by_prefix: dict[str, ServedAgent] = {}
        for one in served:
            prefix = settings_prefix(one.agent.name)
            if (other := by_prefix.setdefault(prefix, one)) is not one:
                raise SettingsError(_alike(other, one, prefix))
            self.served[one.agent.name] = one
        if default not in self.served:
            raise SettingsError(f"There is no agent {default!r}; known are {self._known()}.")
        self._default = default
        self._opened = AsyncExitStack()

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in alphabetical order."""
        return tuple(sorted(self.served))

    def agent(self, model: str) -> Agent:
        """The agent that answers to `model`; raises `ConnectionRefused` (400) for an unknown one.

        The empty name and any that starts with ``gpt-`` mean the default agent, unless an
        agent has that very name. A provider may stand before a name: ``openai/gpt-realtime``.
        """
        name = model.rpartition("/")[2]
        found = self.served.get(model) or self.served.get(name)
        if found is None and (not model or name.startswith(STOCK_PREFIX)):
            found = self.served[self._default]
        if found is not None:
            return found.agent
        raise ConnectionRefused(
            400, "model_not_found", f"There is no agent {model!r}; known are {self._known()}.", param="model"
        )

    async def open(self, kits: Mapping[str, Kit] | None = None) -> None:
        """Open every agent, with the kit of its name. When one fails, those before it are closed.

        Raises `NotOpened`, or the error that the agent raised if that is the server's own.
        """
        try:
            for name, one in self.served.items():
                self._opened.push_async_callback(self._close, name)
                with opening(f"agent {name!r}"):
                    await one.agent.open((kits or {}).get(name) or Kit())
        except BaseException:
            await self.close()
            raise

    async def ready(self) -> None:
        """Wait until no agent's calls need to wait for its models.

        Raises `NotOpened`, or the error that keeps one from that if it is the server's own.
        """
        if any(one.agent.turn_detection == "semantic_vad" for one in self.served.values()):
            await asyncio.to_thread(silero_model)
        await asyncio.gather(*(self._ready(name) for name in self.served))

    async def close(self) -> None:
        """Close what was opened, last first; safe to call twice. Every agent is closed, whatever the others raise."""
        await self._opened.aclose()

    async def _ready(self, name: str) -> None:
        with opening(f"agent {name!r}"):
            await self.served[name].agent.ready()

    async def _close(self, name: str) -> None:
        await self.served[name].agent.close()

    def _known(self) -> str:
        return ", ".join(repr(name) for name in self.names)


def _alike(one: ServedAgent, other: ServedAgent, prefix: str) -> str:
    if one.agent.name == other.agent.name:
        return f"VOICE_AGENT: {one.origin} and {other.origin} are both called {one.agent.name!r}; rename one of them."
    names = f"{one.agent.name!r} and {other.agent.name!r}"
    return f"VOICE_AGENT: the agents {names} would share their settings, {prefix}…; rename one of them."
