"""Which agents a pod serves, and who answers to which name."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from voice_agent.agents.echo import Echo
from voice_agent.agents.loopback import Loopback
from voice_agent.agents.registry import AgentRegistry, ServedAgent
from voice_agent.errors import ConnectionRefused, SettingsError
from voice_agent.kit.agent import Agent, Kit
from voice_agent.opening import NotOpened


def registry(*agents: Agent, default: str = "") -> AgentRegistry:
    """Of these; the first is the default."""
    served = [ServedAgent(agent, f"{type(agent).__name__}, number {n}") for n, agent in enumerate(agents)]
    return AgentRegistry(served, default=default or agents[0].name)


class Noted(Agent):
    """Of the kit; notes in a list shared with others when it is opened, and with which settings, and closed."""

    def __init__(self, name: str, log: list[str] | None = None, *, fails: bool = False) -> None:
        self.name = name
        self._log = [] if log is None else log
        self._fails = fails

    async def open(self, kit: Kit) -> None:
        self._log.append(f"open {self.name} {dict(kit.settings)}")
        if self._fails:
            raise OSError(self.name)

    async def close(self) -> None:
        self._log.append(f"close {self.name}")


@pytest.mark.parametrize("model", ["", "gpt-realtime", "gpt-4o-realtime-preview", "openai/gpt-realtime"])
def test_stock_clients_get_the_default_agent(model: str) -> None:
    """No model, or one of OpenAI's, means the default."""
    assert registry(Echo(), Loopback()).agent(model).name == "echo"


def test_an_agent_that_is_called_like_one_of_openais_models_answers_to_it() -> None:
    """And to no other of them."""
    agents = registry(Echo(), Noted("gpt-realtime"))
    assert agents.agent("openai/gpt-realtime").name == "gpt-realtime"
    assert agents.agent("gpt-realtime-mini").name == "echo"


def test_a_provider_may_stand_before_a_name() -> None:
    """Frameworks that speak to several providers write it so; an agent of that very name goes first."""
    its_own = Noted("acme/echo")
    agents = registry(Echo(), Loopback(), its_own)
    assert agents.agent("acme/loopback").name == "loopback"
    assert agents.agent("acme/echo") is its_own
    with pytest.raises(ConnectionRefused):
        agents.agent("openai/nobody")


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    """400 before the upgrade, naming what there is."""
    with pytest.raises(ConnectionRefused, match="'echo', 'loopback'") as refused:
        registry(Echo(), Loopback()).agent("nobody")
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "model_not_found", "model")


def test_an_unknown_default_stops_the_start() -> None:
    """A wrong VOICE_AGENT is found at once and not by the first caller."""
    with pytest.raises(SettingsError, match="nobody"):
        registry(Echo(), default="nobody")


def test_two_agents_of_one_name_stop_the_start() -> None:
    """Whichever was served, half of the callers would get the wrong one; the line says where both are from."""
    with pytest.raises(SettingsError) as refused:
        registry(Echo(), Noted("desk"), Noted("desk"))
    assert str(refused.value) == (
        "VOICE_AGENT: Noted, number 1 and Noted, number 2 are both called 'desk'; rename one of them."
    )


def test_two_agents_whose_settings_are_called_alike_stop_the_start() -> None:
    """What is meant for the one would be taken by the other."""
    with pytest.raises(SettingsError) as refused:
        registry(Noted("front-desk"), Noted("Front.Desk"))
    assert str(refused.value) == (
        "VOICE_AGENT: the agents 'front-desk' and 'Front.Desk' would share their settings, VOICE_AGENT_FRONT_DESK_…; "
        "rename one of them."
    )


async def test_all_agents_are_opened_and_closed_last_first() -> None:
    """Each with what is its own; and closing twice closes once."""
    log: list[str] = []
    agents = registry(Noted("a", log), Noted("b", log), Noted("c", log))
    await agents.open({"a": Kit(settings={"size": 1})})
    await agents.ready()
    await agents.close()
    await agents.close()
    assert log == ["open a {'size': 1}", "open b {}", "open c {}", "close c", "close b", "close a"]


async def test_what_was_opened_is_closed_when_another_fails() -> None:
    """No worker is left behind by a start that failed."""
    log: list[str] = []
    agents = registry(Noted("a", log), Noted("b", log, fails=True), Noted("c", log))
    told = r"^The agent 'b' cannot be opened: OSError: b \(test_registry\.py, line \d+\)\. Mend it, "
    with pytest.raises(NotOpened, match=told):
        await agents.open()
    assert log == ["open a {}", "open b {}", "close b", "close a"]


class Wrong(Noted):
    """Has a mistake in it."""

    async def open(self, kit: Kit) -> None:
        kit.settings["model"]


async def test_whoever_starts_an_agent_with_a_mistake_reads_one_line() -> None:
    """Which agent, what is wrong and where; the traceback is for who asks for it."""
    with capture_logs() as logs, pytest.raises(NotOpened) as raised:
        await registry(Wrong("a")).open()
    said = str(raised.value)
    assert said.startswith("The agent 'a' cannot be opened: KeyError: 'model' (test_registry.py, line ")
    assert "\n" not in said
    assert [(line["log_level"], line["what"]) for line in logs] == [("debug", "agent 'a'")]


async def test_what_the_server_says_of_it_is_told_as_it_is() -> None:
    """It names the setting already."""

    class Unset(Noted):
        async def open(self, kit: Kit) -> None:
            raise SettingsError("VOICE_AGENT_A_MODEL is missing.")

    with pytest.raises(SettingsError, match=r"^VOICE_AGENT_A_MODEL is missing\.$"):
        await registry(Unset("a")).open()


class Unprepared(Noted):
    """Its models cannot be loaded."""

    async def ready(self) -> None:
        raise OSError("no models")


async def test_what_keeps_an_agent_from_getting_ready_is_told() -> None:
    """The server then leaves."""
    with pytest.raises(NotOpened, match=r"^The agent .* cannot be opened: OSError: no models \(test_registry"):
        await registry(Echo(), Unprepared("a")).ready()
