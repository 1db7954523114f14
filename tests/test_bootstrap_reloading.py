"""Agents are loaded anew while their author writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.agents.loaded import forgotten
from tests.runtime.clocks import StoppedClock
from tests.waiting import until
from voice_agent.bootstrap_agents import PodAgents, make_agents
from voice_agent.bootstrap_reloading import LOOK_S, Reloader, reloading
from voice_agent.kit.agent import Agent
from voice_agent.settings import Settings

CODE = """
from voice_agent import Agent, Ear, Voice

class Mine(Agent):
    name = "mine"
    ear = Ear()
    voice = Voice()
    version = 0
    closed = False

    async def close(self):
        if self.version == 13:
            raise OSError("of no luck")
        self.closed = True
"""


class NotedCalls:
    """Notes under which agents calls go on."""

    def __init__(self) -> None:
        self.agents: list[Any] = []

    async def change_agent(self, agent: Agent) -> None:
        if agent not in self.agents:
            self.agents.append(agent)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """That of an agent."""
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    with forgotten(tmp_path):
        yield tmp_path / "mine.py"


@asynccontextmanager
async def opened(file: Path) -> AsyncIterator[PodAgents]:
    """That agent of a pod."""
    agents, _ = make_agents(Settings(agent=f"{file}:Mine", reload=True))
    await agents.open()
    yield agents
    await agents.close()


def change(file: Path, version: int) -> None:
    """Save another one."""
    file.write_text(CODE.replace("version = 0", f"version = {version}"), encoding="utf-8")


async def test_calls_go_on_under_the_new_agent_and_the_old_one_is_closed_later(file: Path) -> None:
    """A call that was being taken over still got the old one; by the next look it has been given to the new one."""
    calls = NotedCalls()
    async with opened(file) as agents:
        old: Any = agents.registry.agent("mine")
        reloader = Reloader(agents, calls)  # type: ignore[arg-type]  # no more is asked of them
        await reloader.look()
        assert calls.agents == [old]
        change(file, 1)
        await reloader.look()
        new: Any = agents.registry.agent("mine")
        assert (new.version, calls.agents, old.closed) == (1, [old, new], False)
        await reloader.look()
        assert (old.closed, new.closed) == (True, False)
    assert new.closed


async def test_the_file_of_its_settings_is_looked_at_wherever_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that names it may lead out of the agent's folder."""
    settings = file.parent / "elsewhere" / "any.toml"
    settings.parent.mkdir()
    settings.write_text("greeting = 'hello'", encoding="utf-8")
    monkeypatch.setenv("VOICE_AGENT_MINE_SETTINGS", str(settings))
    async with opened(file) as agents:
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        old = agents.registry.agent("mine")
        await reloader.look()
        assert agents.registry.agent("mine") is old
        settings.write_text("greeting = 'good morning'", encoding="utf-8")
        await reloader.look()
        assert agents.registry.agent("mine") is not old
        await reloader.close()


VOICE = """
from voice_agent import Agent, Ear, Voice

class OwnVoice(Voice):
    name = "own"
    is_open = False

    async def open(self):
        self.is_open = True

    async def close(self):
        assert self.is_open
        self.is_open = False

    async def say(self, utterance):
        yield

class Mine(Agent):
    name = "mine"
    ear = Ear()
    voice = OwnVoice()

    async def open(self, kit):
        pass
"""


async def test_a_voice_that_an_old_agent_brought_is_closed_with_it(tmp_path: Path) -> None:
    """It may hold a model of gigabytes. That of a new one which did not open is closed at once."""
    file = tmp_path / "mine.py"
    file.write_text(VOICE, encoding="utf-8")
    with forgotten(tmp_path):
        async with opened(file) as agents:
            voices: list[Any] = [agents.registry.agent("mine").voice]
            reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
            file.write_text(VOICE.replace("        pass", "        raise OSError(self.voice)"), encoding="utf-8")
            with capture_logs() as lines:
                await reloader.look()
            assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["agent not loaded"]
            assert [voice for voice in agents._providers._open if voice.name == "own"] == voices
            file.write_text(VOICE + "\n", encoding="utf-8")
            await reloader.look()
            voices.append(agents.registry.agent("mine").voice)
            assert [voice.is_open for voice in voices] == [True, True]
            await reloader.look()
            assert [voice.is_open for voice in voices] == [False, True]
        assert [voice.is_open for voice in voices] == [False, False]


async def test_what_is_wrong_is_told_once_and_in_one_line(file: Path) -> None:
    """The old one goes on; when the file has been mended the new one is taken."""
    async with opened(file) as agents:
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        old = agents.registry.agent("mine")
        file.write_text("class Mine(\n", encoding="utf-8")
        with capture_logs() as lines:
            await reloader.look()
            await reloader.look()
        (line,) = lines
        assert (line["event"], line["agent"]) == ("agent not loaded", "mine")
        assert "'(' was never closed (mine.py, line 1)" in line["reason"]
        assert "\n" not in line["reason"]
        assert agents.registry.agent("mine") is old
        change(file, 2)
        await reloader.look()
        assert agents.registry.agent("mine").version == 2  # type: ignore[attr-defined]  # it has one


NOTHING_TO_OPEN = """
    async def open(self, kit):
        raise LookupError("no table")
"""
NO_EAR = """
from voice_agent import Ear

class Deaf(Ear):
    name = "deaf"

    async def open(self):
        raise LookupError("no table")
"""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (CODE + NOTHING_TO_OPEN, "The agent 'mine' cannot be opened: LookupError: no table (mine.py, line "),
        (
            NO_EAR + CODE.replace("ear = Ear()", "ear = Deaf()"),
            "The ear 'deaf' cannot be opened: LookupError: no table (",
        ),
    ],
)
async def test_what_does_not_open_is_told_as_it_is_at_a_start(file: Path, code: str, line: str) -> None:
    """By name, with the line of the author's file; the old one goes on."""
    async with opened(file) as agents:
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        old = agents.registry.agent("mine")
        file.write_text(code, encoding="utf-8")
        with capture_logs() as lines:
            await reloader.look()
        (reason,) = [told["reason"] for told in lines if told["event"] == "agent not loaded"]
        assert reason.startswith(line)
        assert agents.registry.agent("mine") is old


async def test_a_file_that_is_being_saved_is_waited_for(file: Path) -> None:
    """Editors put another file in its place; for a moment there may be none."""
    async with opened(file) as agents:
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        file.unlink()
        with capture_logs() as lines:
            await reloader.look()
            change(file, 3)
            await reloader.look()
        assert [line["event"] for line in lines] == ["agent loaded anew"]


async def test_an_old_agent_that_cannot_be_closed_keeps_nothing_from_going_on(file: Path) -> None:
    """It is named in the log."""
    async with opened(file) as agents:
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        change(file, 13)
        await reloader.look()
        change(file, 4)
        await reloader.look()
        with capture_logs() as lines:
            await reloader.look()
            await reloader.look()
        assert [line["event"] for line in lines] == ["closing an agent failed"]


async def test_files_are_looked_at_once_a_second_until_the_pod_leaves(file: Path) -> None:
    """And no more often."""
    clock = StoppedClock()
    async with opened(file) as agents:
        old: Any = agents.registry.agent("mine")
        async with reloading(agents, NotedCalls(), clock):  # type: ignore[arg-type]  # no more is asked of them
            change(file, 5)
            await until(lambda: agents.registry.agent("mine") is not old)
        assert old.closed
    assert LOOK_S >= 1


async def test_what_is_still_open_of_an_old_agent_is_closed_at_the_end(file: Path) -> None:
    """Once, and not the one in its place."""
    async with opened(file) as agents:
        old: Any = agents.registry.agent("mine")
        reloader = Reloader(agents, NotedCalls())  # type: ignore[arg-type]  # no more is asked of them
        change(file, 6)
        await reloader.look()
        await reloader.close()
        new: Any = agents.registry.agent("mine")
        assert (old.closed, new.closed) == (True, False)


class FaultyCalls(NotedCalls):
    """Fails once."""

    async def change_agent(self, agent: Agent) -> None:
        if not self.agents:
            self.agents.append(None)
            raise RuntimeError("of ours")
        await super().change_agent(agent)


async def test_a_fault_of_ours_ends_neither_the_pod_nor_the_looking(file: Path) -> None:
    """It is logged, and the next look is another try."""
    calls = FaultyCalls()
    async with opened(file) as agents:
        with capture_logs() as lines:
            async with reloading(agents, calls, StoppedClock()):  # type: ignore[arg-type]  # no more is asked of them
                await until(lambda: len(calls.agents) > 1)
        assert [line["event"] for line in lines] == ["loading agents anew failed"]
