"""Which agents a pod serves; tests of `voice_agent.extras`, too."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from voice_agent import extras
from voice_agent.agents import registry
from voice_agent.agents.echo import Echo
from voice_agent.agents.loopback import Loopback
from voice_agent.agents.registry import AgentRegistry, load_agents
from voice_agent.errors import ConnectionRefused, SettingsError


class Watched(Echo):
    """Notes in a list shared with others when it is opened and closed."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self.name = name
        self._log = log
        self._fails = fails

    async def open(self) -> None:
        self._log.append(f"open {self.name}")
        if self._fails:
            raise OSError(self.name)

    async def close(self) -> None:
        self._log.append(f"close {self.name}")


def test_agents_answer_to_their_names() -> None:
    """Each name finds its own agent."""
    agents = load_agents(["loopback", "frontdesk"])
    assert set(agents.names) == {"frontdesk", "echo", "loopback"}
    assert agents.agent("").name == "loopback"
    assert all(agents.agent(name).name == name for name in agents.names)


def test_only_agents_that_are_named_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech processes cost a second and a hundred megabytes; whoever serves `echo` alone has none."""
    monkeypatch.setattr(registry, "_frontdesk", pytest.fail)
    assert load_agents(["echo"]).names == ("echo", "loopback")


def test_without_the_demo_the_default_is_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain install serves; the agent that it has not got is refused by name, with the command that brings it."""
    assert load_agents().agent("").name == "frontdesk"
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert load_agents().agent("").name == "echo"
    with pytest.raises(SettingsError, match=r"'frontdesk' needs .*pocketsphinx.*pip install 'voice-agent\[demo\]'"):
        load_agents(["echo", "frontdesk"])


@pytest.mark.parametrize("model", ["", "gpt-realtime", "gpt-4o-realtime-preview", "openai/gpt-realtime"])
def test_stock_clients_get_the_default_agent(model: str) -> None:
    """No model, or one of OpenAI's, means the default."""
    assert AgentRegistry([Echo(), Loopback()], default="echo").agent(model).name == "echo"


def test_a_provider_may_stand_before_a_name() -> None:
    """Frameworks that speak to several providers write it so; an agent of that very name goes first."""
    its_own = Watched("acme/echo", [])
    agents = AgentRegistry([Echo(), Loopback(), its_own], default="echo")
    assert agents.agent("acme/loopback").name == "loopback"
    assert agents.agent("acme/echo") is its_own
    with pytest.raises(ConnectionRefused):
        agents.agent("openai/nobody")


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    """400 before the upgrade, naming what there is."""
    with pytest.raises(ConnectionRefused, match="'echo', 'loopback'") as refused:
        AgentRegistry([Echo(), Loopback()], default="echo").agent("nobody")
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "model_not_found", "model")


def test_an_unknown_default_stops_the_start() -> None:
    """A wrong VOICE_AGENT is found at once and not by the first caller."""
    with pytest.raises(SettingsError, match="nobody"):
        AgentRegistry([Echo()], default="nobody")


def make_third_party() -> Echo:
    """What another package's entry point names."""
    return Watched("third", [])


def test_packages_add_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group is called and its agent answers to its name."""
    entry = EntryPoint("third", f"{__name__}:make_third_party", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: make_third_party)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "voice_agent.agents" else [])
    agents = load_agents(["third"])
    assert agents.agent("").name == agents.agent("third").name == "third"
    with pytest.raises(ConnectionRefused):
        load_agents(["echo"]).agent("third")


def test_an_agent_whose_entry_point_is_called_otherwise_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as its package names it, and answers to the name it has."""
    entry = EntryPoint("package", f"{__name__}:make_third_party", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: make_third_party)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert load_agents(["package", "echo"]).agent("").name == "third"


class Nameless(Echo):
    """Its name is no text."""

    name = None  # type: ignore[assignment]


class HalfAnAgent:
    """What a first call would fail on."""

    name, lead_ms, mirrors = "half", 0, False
    open = close = transcribe = reply = print


@pytest.mark.parametrize("made", [object, lambda: 1 / 0, Nameless, HalfAnAgent])
def test_a_broken_package_stops_the_start(monkeypatch: pytest.MonkeyPatch, made: object) -> None:
    """An entry point that fails or makes no agent is a settings error that names it."""
    entry = EntryPoint("broken", "somewhere:make", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: made)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(SettingsError, match="somewhere:make"):
        load_agents(["broken"])


async def test_all_agents_are_opened_and_closed_last_first() -> None:
    """And closing twice closes once."""
    log: list[str] = []
    agents = AgentRegistry([Watched("a", log), Watched("b", log)], default="a")
    await agents.open()
    await agents.close()
    await agents.close()
    assert log == ["open a", "open b", "close b", "close a"]


async def test_what_was_opened_is_closed_when_another_fails() -> None:
    """No worker is left behind by a start that failed."""
    log: list[str] = []
    agents = AgentRegistry([Watched("a", log), Watched("b", log, fails=True), Watched("c", log)], default="a")
    with pytest.raises(OSError, match="b"):
        await agents.open()
    assert log == ["open a", "open b", "close b", "close a"]


def test_what_is_no_agent_names_those_there_are() -> None:
    """And how one is named that stands in a file."""
    with pytest.raises(SettingsError, match=r"no agent 'clock.py'; known are 'echo', .*, and FILE\.py:Class\."):
        load_agents(["clock.py"])


def test_a_file_that_cannot_be_loaded_is_named_once() -> None:
    """It is its own name."""
    with pytest.raises(SettingsError, match=r"^The agent 'nowhere\.py:Clock' cannot be loaded: .*nowhere\.py"):
        load_agents(["nowhere.py:Clock"])
