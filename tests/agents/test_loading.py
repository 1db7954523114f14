"""Which agents are made of what an operator names; tests of `voice_agent.extras`, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from voice_agent import extras
from voice_agent.agents import loading
from voice_agent.agents.echo import Echo
from voice_agent.agents.loading import load_agents
from voice_agent.errors import ConnectionRefused, SettingsError
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.call import Call

AddPackage = Callable[..., None]


@pytest.fixture
def add_package(monkeypatch: pytest.MonkeyPatch) -> AddPackage:
    """Has a package installed whose entry point of a name loads something."""
    found: dict[str, object] = {}

    def add(name: str, loaded: object) -> None:
        found[name] = loaded

    entries = lambda group: [EntryPoint(name, f"somewhere:{name}", group) for name in found]  # noqa: E731  # short
    monkeypatch.setattr(loading, "entry_points", entries)
    monkeypatch.setattr(EntryPoint, "load", lambda self: found[self.name])
    return add


class Third(Agent):
    """What another package's entry point names."""

    name = "third"


def test_agents_answer_to_their_names() -> None:
    """Each name finds its own agent."""
    agents = load_agents(["loopback", "frontdesk"])
    assert set(agents.names) == {"frontdesk", "echo", "loopback"}
    assert agents.agent("").name == "loopback"
    assert all(agents.agent(name).name == name for name in agents.names)


def test_only_agents_that_are_named_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech processes cost a second and a hundred megabytes; whoever serves `echo` alone has none."""
    monkeypatch.setattr(loading, "_frontdesk", pytest.fail)
    assert load_agents(["echo"]).names == ("echo", "loopback")


def test_an_agent_that_is_named_twice_is_one_agent(add_package: AddPackage) -> None:
    """A list put together from two may say so."""
    add_package("third", Third)
    assert load_agents(["third", "echo", "third", "echo"]).names == ("echo", "loopback", "third")


def test_without_the_demo_the_default_is_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain install serves; the agent that it has not got is refused by name, with the command that brings it."""
    assert load_agents().agent("").name == "frontdesk"
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert load_agents().agent("").name == "echo"
    with pytest.raises(SettingsError, match=r"'frontdesk' needs .*pocketsphinx.*pip install 'voice-agent\[demo\]'"):
        load_agents(["echo", "frontdesk"])


def test_packages_add_agents(add_package: AddPackage) -> None:
    """An entry point of the group is called and its agent answers to its name."""
    add_package("third", Third)
    agents = load_agents(["third"])
    assert agents.agent("").name == agents.agent("third").name == "third"
    with pytest.raises(ConnectionRefused):
        load_agents(["echo"]).agent("third")


def test_an_agent_whose_entry_point_is_called_otherwise_is_the_default(add_package: AddPackage) -> None:
    """It is named as its package names it, and answers to the name it has."""
    add_package("package", Third)
    assert load_agents(["package", "echo"]).agent("").name == "third"


class Nameless(Agent):
    """Its name is no text."""

    name = None  # type: ignore[assignment]


class NamelessOfTurns(Echo):
    """The same of the other kind."""

    name = None  # type: ignore[assignment]


class Unnamed(Agent):
    """It has the name that all have who say none."""


class TwoWords(Agent):
    """No URL could name it."""

    name = "two words"


class Long(Agent):
    """Nor this one."""

    name = "a" * 129


class Blocking(Agent):
    """What a first call would fail on."""

    name = "blocking"

    def run(self, call: Call) -> None:  # type: ignore[override]  # this is what is tried
        pass


class Yielding(Agent):
    """It would never begin to run."""

    name = "yielding"

    async def run(self, call: Call) -> AsyncIterator[str]:  # type: ignore[override]  # this is what is tried
        yield ""


class OpensAtOnce(Agent):
    """What the start would fail on, with an error that says little."""

    name = "opens"

    def open(self, kit: Kit) -> None:  # type: ignore[override]  # this is what is tried
        pass


class HalfAnAgent:
    """Of turns, and not enough for one."""

    name, lead_ms, mirrors = "half", 0, False
    open = close = transcribe = reply = print


class WantsMore(Agent):
    """Nobody can make it who knows nothing."""

    def __init__(self, model: object) -> None:
        self.model = model


def fails() -> Any:
    """What makes no agent."""
    nothing: dict[str, Any] = {}
    return nothing["key"]


@pytest.mark.parametrize(
    ("loaded", "why"),
    [
        (object, "made something that is no agent: object is no subclass of voice_agent.Agent."),
        (HalfAnAgent, "made something that is no agent: HalfAnAgent is no subclass of voice_agent.Agent."),
        (Unnamed, "made something that is no agent: Unnamed has no name."),
        (Nameless, "made something that is no agent: Nameless has no name."),
        (NamelessOfTurns, "made something that is no agent: NamelessOfTurns has no name."),
        (TwoWords, "made something that is no agent: 'two words' cannot be a name"),
        (Long, "made something that is no agent: 'aaa"),
        (Blocking, "made something that is no agent: Blocking.run is not 'async def' without a yield."),
        (Yielding, "made something that is no agent: Yielding.run is not 'async def' without a yield."),
        (OpensAtOnce, "made something that is no agent: OpensAtOnce.open is not 'async def' without a yield."),
        (WantsMore, "cannot be loaded: TypeError: WantsMore.__init__() missing 1 required positional argument"),
        (fails, "cannot be loaded: KeyError: 'key' (test_loading.py, line "),
        (Third(), "cannot be loaded: TypeError: 'Third' object is not callable."),
    ],
)
def test_what_makes_no_agent_stops_the_start_with_one_line(add_package: AddPackage, loaded: object, why: str) -> None:
    """It names the package, and what is wrong; nothing of it waits for the first call."""
    add_package("broken", loaded)
    with pytest.raises(SettingsError) as refused:
        load_agents(["broken"])
    line = str(refused.value)
    assert "somewhere:broken" in line
    assert why in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["echo", "loopback"])
def test_what_is_always_served_keeps_its_name(add_package: AddPackage, name: str) -> None:
    """Any client may rely on what it is."""
    add_package("mine", type("Mine", (Agent,), {"name": name}))
    with pytest.raises(SettingsError, match=rf"^VOICE_AGENT: mine \(somewhere:mine\) and {name} are both called"):
        load_agents(["mine"])


def test_two_agents_that_are_called_alike_stop_the_start(add_package: AddPackage) -> None:
    """The line names both packages."""
    add_package("third", Third)
    add_package("copy", Third)
    with pytest.raises(SettingsError, match=r"third \(somewhere:third\) and copy \(somewhere:copy\) are both"):
        load_agents(["third", "copy"])


def test_what_is_no_agent_names_those_there_are() -> None:
    """And how one is named that stands in a file."""
    with pytest.raises(SettingsError, match=r"no agent 'clock.py'; known are 'echo', .*, and FILE\.py:Class\."):
        load_agents(["clock.py"])


def test_a_file_that_cannot_be_loaded_is_named_once() -> None:
    """It is its own name."""
    with pytest.raises(SettingsError, match=r"^The agent 'nowhere\.py:Clock' cannot be loaded: .*nowhere\.py"):
        load_agents(["nowhere.py:Clock"])
