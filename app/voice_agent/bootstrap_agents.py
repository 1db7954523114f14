"""Puts the agents of a pod together: each is loaded, gets its settings, its ear and its voice, and is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from voice_agent.agent_settings import AgentSettings, named_file, settings_of_all
from voice_agent.agents.loading import load_agents, load_anew
from voice_agent.agents.registry import AgentRegistry, ServedAgent
from voice_agent.errors import SettingsError
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.naming import settings_prefix
from voice_agent.opening import opening
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.health import ProviderHealth
from voice_agent.settings import Settings, agent_variables
from voice_agent.speech.providers import SpeechModels, SpeechProviders
from voice_agent.speech.workers import SpeechWorkers
from voice_agent.speech_settings import EAR, VOICE

T = TypeVar("T")
Choice = TypeVar("Choice", bound=tuple[object, ...])


class PodAgents:
    """The agents of a pod, and what they hear and speak with."""

    def __init__(
        self,
        registry: AgentRegistry,
        settings: Mapping[str, AgentSettings],
        providers: SpeechProviders,
        kit: Kit | None = None,
    ) -> None:
        """`settings`: of each agent that takes any. Gives each its ear and its voice; raises `SettingsError`.

        `kit`: what they get, but for their settings; with `providers` on its HTTP client.
        """
        self.registry = registry
        self._settings = settings
        self._providers = providers
        self._kit = replace(kit or Kit(), ears=providers.ears, voices=providers.voices)
        self._opened = AsyncExitStack()
        for name, its in settings.items():
            agent = registry.served[name].agent
            equip(agent, its, providers)

    async def open(self) -> None:
        """Open all of them. When one fails, what was opened is closed again, and its error is raised."""
        async with AsyncExitStack() as undoing:
            undoing.push_async_callback(self._kit.close)
            await self._providers.open()
            undoing.push_async_callback(self._providers.close)
            await self.registry.open(
                {name: self._kit.with_settings(its.values) for name, its in self._settings.items()}
            )
            undoing.push_async_callback(self.registry.close)
            self._opened = undoing.pop_all()

    async def ready(self) -> None:
        """Wait until no call needs to wait for models. Raises what keeps one of them from that."""
        await asyncio.gather(self._providers.ready(), self.registry.ready())

    async def close(self) -> None:
        """Close what was opened, last first; safe to call twice."""
        await self._opened.aclose()

    def healths(self) -> list[ProviderHealth]:
        """How the providers do that were asked."""
        return list(self._kit.shared(ProviderClient).healths()) if self._kit.has_http else []

    def watched(self, name: str) -> list[Path]:
        """What an agent that may change is made of, and the file that is named for its settings."""
        source, named = self.registry.served[name].source, named_file(name, agent_variables())
        assert source is not None, "no other changes"
        return [*source.watched, *([named] if named is not None else [])]

    async def reload(self, name: str) -> Agent:
        """Put one that is loaded anew, opened and ready, in the place of an agent whose source has changed.

        The old one is returned, for `retire`: calls may still be under it. When anything is wrong with the new one
        that is raised, and the old one stays.
        """
        served = self.registry.served[name]
        assert served.source is not None, "no other changes"
        old, new = served.agent, await asyncio.to_thread(load_anew, served.origin, served.source)
        if new.name != name:
            raise SettingsError(f"{served.origin} is no longer the agent {name!r}: start the server again for that.")
        replaced = ServedAgent(new, served.origin, served.source)
        its = settings_of_all({**self.registry.served, name: replaced}, agent_variables())[0][name]
        self._providers.forget_unopened()
        equip(new, its, self._providers)
        await self._providers.open()
        try:
            await self._providers.ready()
            with opening(f"agent {name!r}"):
                await new.open(self._kit.with_settings(its.values))
                await new.ready()
        except BaseException:
            with suppress(Exception):  # What was wrong first is what its author needs to know.
                await new.close()
            raise
        self.registry.served[name] = replaced
        return old

    async def retire(self, agents: Iterable[Agent], *, besides: Iterable[Agent]) -> None:
        """Close agents that no call is under any more, and ears and voices that only they had.

        `besides`: agents that have been replaced, and are not to be closed yet. All are closed, whatever others raise.
        """
        served = [one.agent for one in self.registry.served.values()]
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._providers.close_unused, [*served, *besides])
            for agent in agents:
                closing.push_async_callback(agent.close)


def make_agents(settings: Settings) -> tuple[PodAgents, list[str]]:
    """The agents that the settings name, not opened yet, and warnings to be logged.

    Raises `SettingsError` for an agent that there is not, that is none, that has a wrong setting, or that has no voice.
    """
    speech_workers = settings.speech_workers or None
    registry = load_agents(settings.agent, speech_workers=speech_workers)
    if settings.reload and not any(one.source for one in registry.served.values()):
        raise SettingsError(
            "VOICE_RELOAD: no agent is from a file, such as --agent agent.py:Agent, or of a package that was "
            "installed with pip install --editable."
        )
    found, warnings = settings_of_all(registry.served, agent_variables())
    kit = Kit()
    models = SpeechModels(str(settings.whisper_model or ""), str(settings.piper_voice or ""))
    providers = SpeechProviders(SpeechWorkers(speech_workers), partial(kit.shared, ProviderClient), models)
    return PodAgents(registry, found, providers, kit), warnings


def equip(agent: Agent, settings: AgentSettings, providers: SpeechProviders) -> None:
    """Give an agent the ear and the voice that are set for it, its own, or the server's. Raises `SettingsError`."""
    agent.ear = _had(agent, EAR, settings.ear, providers.ear_for)
    agent.voice = _had(agent, VOICE, settings.voice, providers.voice_for)


def _had(agent: Agent, kind: str, chosen: Choice, find: Callable[[Agent, Choice], T]) -> T:
    try:
        return find(agent, chosen)
    except SettingsError as error:
        if not chosen:
            raise
        raise SettingsError(f"{settings_prefix(agent.name)}{kind.upper()}: {error}") from error
