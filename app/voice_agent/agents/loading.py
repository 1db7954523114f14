"""Making the agents that settings name, and seeing that each is one.

A package adds an agent with an entry point of the group ``voice_agent.agents``: it names a callable that takes nothing
and returns an `Agent`, such as its class. A file names one too, as ``agent.py:Clock``, without being installed. A pod
makes the agents that its settings name, and beside them `echo` and `loopback`, which cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from inspect import iscoroutinefunction
from typing import Any

from voice_agent.agents.echo import Echo
from voice_agent.agents.files import FILE, AgentFile
from voice_agent.agents.loopback import Loopback
from voice_agent.agents.packages import AgentPackage
from voice_agent.agents.registry import AgentRegistry, ServedAgent
from voice_agent.agents.source import AgentSource
from voice_agent.errors import SettingsError
from voice_agent.extras import DEMO, missing_extra
from voice_agent.kit.agent import Agent
from voice_agent.kit.naming import is_name
from voice_agent.opening import told_in_one_line

ENTRY_POINT_GROUP = "voice_agent.agents"
FRONTDESK = "frontdesk"
RELAY = "relay"
PIPELINE = "pipeline"
_COROUTINES = ("open", "ready", "close", "run")


def load_agents(names: Sequence[str] = (), *, speech_workers: int | None = None) -> AgentRegistry:
    """The agents called `names`, the first of which is the default, and `echo` and `loopback`.

    Without names it is `frontdesk`, or `echo` where the extra that it needs is not installed. `speech_workers`:
    processes for hearing and speaking, None for as many as fit the machine. A name may also be ``file.py:Class``.
    Raises `SettingsError` for a name that nobody has, an extra that is missing, an entry point or a file that cannot
    be loaded or makes no agent, and two agents that cannot be told apart.
    """
    built_in: dict[str, Agent] = {agent.name: agent for agent in (Echo(), Loopback())}
    plugins = {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}
    served: list[ServedAgent] = []
    for name in dict.fromkeys(names or [default_agent()]):
        if name in plugins:
            package, origin = AgentPackage(plugins[name]), f"{name} ({plugins[name].value})"
            agent = _made(name, plugins[name].value, package.load)
            served.append(ServedAgent(agent, origin, package if package.is_edited else None))
        elif FILE.fullmatch(name):
            file = AgentFile.named(name)
            served.append(ServedAgent(_made(name, name, file.load), name, file))
        elif name in OPTIONAL:
            served.append(ServedAgent(OPTIONAL[name](), name))
        elif name in built_in:
            served.append(ServedAgent(built_in.pop(name), name))
        else:
            known = ", ".join(repr(known) for known in sorted({*OPTIONAL, *plugins, Echo.name, Loopback.name}))
            raise SettingsError(f"VOICE_AGENT: there is no agent {name!r}; known are {known}, and FILE.py:Class.")
    default = served[0].agent.name
    return AgentRegistry([*served, *(ServedAgent(agent, name) for name, agent in built_in.items())], default=default)


def default_agent() -> str:
    """Which one it is where none is named."""
    return FRONTDESK if missing_extra(DEMO) is None else Echo.name


def load_anew(origin: str, source: AgentSource) -> Agent:
    """A new agent from its source as that is now. Raises `SettingsError` if it cannot be run or makes none."""
    return _made(origin, origin, source.load_anew)


def _frontdesk() -> Agent:
    if (missing := missing_extra(DEMO)) is not None:
        raise SettingsError(f"VOICE_AGENT: the agent {FRONTDESK!r} {missing}; or take another, such as --agent echo.")
    from voice_agent.agents.frontdesk import FrontDesk

    return FrontDesk()


def _relay() -> Agent:
    from voice_agent.agents.relay import Relay

    return Relay()


def _pipeline() -> Agent:
    from voice_agent.agents.pipeline import Pipeline

    return Pipeline()


OPTIONAL: Mapping[str, Callable[[], Agent]] = {FRONTDESK: _frontdesk, PIPELINE: _pipeline, RELAY: _relay}
"""Built in, and served only where they are named."""


def _made(name: str, where: str, load: Callable[[], Callable[[], Any]]) -> Agent:
    try:
        agent = load()()
    except (Exception, SystemExit) as error:
        of = "" if where == name else f" of {where!r}"
        raise SettingsError(f"The agent {name!r}{of} cannot be loaded: {told_in_one_line(error)}.") from error
    wrong = "; ".join(_what_is_wrong(agent))
    if wrong:
        raise SettingsError(f"{where!r} made something that is no agent: {wrong}.")
    return agent  # type: ignore[no-any-return]  # this is what was seen to


def _what_is_wrong(made: object) -> Iterator[str]:
    """Each reason why it cannot be served; the ends of a sentence."""
    kind = type(made).__name__
    if isinstance(made, Agent):
        if not made.name:
            yield f"{kind} has no name"
        elif not is_name(made.name):
            yield f"{made.name!r} cannot be a name (letters, digits, '.', '_' and '-', at most 128)"
        for method in _COROUTINES:
            if not iscoroutinefunction(getattr(made, method)):
                yield f"{kind}.{method} is not 'async def' without a yield"
    else:
        yield f"{kind} is no subclass of voice_agent.Agent"
