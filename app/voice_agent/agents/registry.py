"""Which agents there are, and which one answers to a model's name.

A package adds an agent with an entry point of the group ``voice_agent.agents``: it
names a callable that takes nothing and returns a `TurnAgent`. A file names one too, as ``agent.py:Clock``, without
being installed. A pod makes and opens the agents that its settings name,
and beside them `echo` and `loopback`, which cost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import entry_points

from voice_agent.agents.base import GetsReady, TurnAgent
from voice_agent.agents.echo import Echo
from voice_agent.agents.files import FILE, load_from_file
from voice_agent.agents.loopback import Loopback
from voice_agent.errors import ConnectionRefused, SettingsError
from voice_agent.extras import DEMO, missing_extra

ENTRY_POINT_GROUP = "voice_agent.agents"
FRONTDESK = "frontdesk"
_NEEDED = ("name", "lead_ms", "replays", "mirrors", "open", "close", "transcribe", "reply")
"""What an agent without would fail at its first call, and not at the start."""
STOCK_PREFIX = "gpt-"
"""Clients made for OpenAI ask for models of this name; they get the default agent."""


class AgentRegistry:
    """The agents of a pod, by name. Later agents replace earlier ones of the same name."""

    def __init__(self, agents: Iterable[TurnAgent], *, default: str) -> None:
        """Raises `SettingsError` when no agent is called `default`."""
        self._agents = {agent.name: agent for agent in agents}
        if default not in self._agents:
            raise SettingsError(f"There is no agent {default!r}; known are {self._known()}.")
        self._default = self._agents[default]
        self._opened = AsyncExitStack()

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in alphabetical order."""
        return tuple(sorted(self._agents))

    def agent(self, model: str) -> TurnAgent:
        """The agent that answers to `model`; raises `ConnectionRefused` (400) for an unknown one.

        The empty name and any that starts with ``gpt-`` mean the default agent, unless an
        agent has that very name. A provider may stand before a name: ``openai/gpt-realtime``.
        """
        name = model.rpartition("/")[2]
        found = self._agents.get(model) or self._agents.get(name)
        if found is not None:
            return found
        if not model or name.startswith(STOCK_PREFIX):
            return self._default
        raise ConnectionRefused(
            400, "model_not_found", f"There is no agent {model!r}; known are {self._known()}.", param="model"
        )

    async def open(self) -> None:
        """Open every agent. When one fails, those opened before it are closed again and its error is raised."""
        try:
            for agent in self._agents.values():
                self._opened.push_async_callback(agent.close)
                await agent.open()
        except BaseException:
            await self.close()
            raise

    async def ready(self) -> None:
        """Wait until no agent's calls need to wait for its models. Raises what keeps one from that."""
        await asyncio.gather(*(agent.ready() for agent in self._agents.values() if isinstance(agent, GetsReady)))

    async def close(self) -> None:
        """Close what was opened, last first; safe to call twice. Every agent is closed, whatever the others raise."""
        await self._opened.aclose()

    def _known(self) -> str:
        return ", ".join(repr(name) for name in self.names)


def load_agents(names: Sequence[str] = (), *, speech_workers: int | None = None) -> AgentRegistry:
    """The agents called `names`, the first of which is the default, and `echo` and `loopback`.

    Without names it is `frontdesk`, or `echo` where the extra that it needs is not installed. `speech_workers`:
    processes for hearing and speaking, None for as many as fit the machine. A name may also be ``file.py:Class``.
    Raises `SettingsError` for a name that nobody has, an extra that is missing, and an entry point or a file that
    cannot be loaded or makes no agent.
    """
    names = names or [default_agent()]
    made: dict[str, TurnAgent] = {agent.name: agent for agent in (Echo(), Loopback())}
    plugins = {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}
    default = ""
    for name in names:
        agent = made.get(name)
        if name in plugins:
            agent = _made(name, plugins[name].value, plugins[name].load)
        elif FILE.fullmatch(name):
            agent = _made(name, name, partial(load_from_file, name))
        elif name == FRONTDESK:
            agent = _frontdesk(speech_workers)
        if agent is None:
            known = ", ".join(repr(known) for known in sorted({FRONTDESK, *made, *plugins}))
            raise SettingsError(f"VOICE_AGENT: there is no agent {name!r}; known are {known}, and FILE.py:Class.")
        made[agent.name] = agent
        default = default or agent.name
    return AgentRegistry(made.values(), default=default)


def default_agent() -> str:
    """Which one it is where none is named."""
    return FRONTDESK if missing_extra(DEMO) is None else Echo.name


def _frontdesk(speech_workers: int | None) -> TurnAgent:
    if (missing := missing_extra(DEMO)) is not None:
        raise SettingsError(f"VOICE_AGENT: the agent {FRONTDESK!r} {missing}; or take another, such as --agent echo.")
    from voice_agent.agents.frontdesk import FrontDesk
    from voice_agent.speech.workers import SpeechWorkers

    return FrontDesk(SpeechWorkers(speech_workers))


def _made(name: str, where: str, load: Callable[[], Callable[[], TurnAgent]]) -> TurnAgent:
    try:
        agent = load()()
    except Exception as error:
        of = "" if where == name else f" of {where!r}"
        raise SettingsError(f"The agent {name!r}{of} cannot be loaded: {error}") from error
    lacks = [name for name in _NEEDED if not hasattr(agent, name)]
    if lacks or not isinstance(agent.name, str):
        raise SettingsError(f"{where!r} made something that is no agent: it has no {', '.join(lacks) or 'name'}.")
    return agent
