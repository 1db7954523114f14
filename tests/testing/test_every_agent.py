"""The agents of the house and of `docs/agents.md`: a pod that dies at any moment changes nothing for the caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.documented import CLASS, examples
from tests.testing.agents import TOOL
from voice_agent.agents.echo import Echo
from voice_agent.agents.files import AgentFile
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.agents.loopback import Loopback
from voice_agent.kit.agent import Agent
from voice_agent.testing.script import BargeIn, Cancel, GiveResult, Press, Truncate, Type, Wait
from voice_agent.testing.simulate import Surroundings, survives

TALK = ("hello", Type("what are your opening hours"), BargeIn("stop", 700), Press("5"), Wait(4_000), Type("and now"))
CUT = ("hello", Cancel(500), Type("again"), Truncate(600))
SCRIPTS: dict[str, Any] = {"talk": TALK, "cut": CUT, "tool": ("where is my order", GiveResult("on its way"))}
SPOKEN: dict[str, Any] = {
    "talk": ("hello", "what are your opening hours", BargeIn("stop", 700), Press("5"), Wait(4_000), "and now"),
    "cut": ("hello", Cancel(500), "again and again", Truncate(600)),
}
"""For `echo`, which answers what is typed in text: nobody can interrupt what is not heard."""
AROUND = Surroundings(session={"tools": [TOOL]})
HOUSE: dict[str, Callable[[], Agent]] = {"echo": Echo, "frontdesk": FrontDesk}
SHORT = {"egg", "durations"}
"""Their replies are so short that they may be over, sent to their end, before the caller cuts them."""
CASES = [
    (name, script)
    for name in [*HOUSE, *examples()]
    for script in ("talk", "cut")
    if (name, script) not in {(each, "cut") for each in SHORT}
]
EVERY = 47
"""Of so many moments one, where all would take too long."""


def script_of(name: str, script: str) -> Any:
    """What the caller does."""
    return (SPOKEN if name == Echo.name else SCRIPTS)[script]


def made(name: str, directory: Path) -> Callable[[], Agent]:
    """An agent by its name."""
    if name in HOUSE:
        return HOUSE[name]
    file = directory / f"{name}.py"
    code = examples()[name]
    file.write_text(code)
    return AgentFile(file, CLASS.findall(code)[-1]).load()


@pytest.mark.parametrize(("name", "script"), CASES)
def test_a_crash_changes_nothing_that_a_caller_hears(name: str, script: str, tmp_path: Path) -> None:
    """Barge-in, cancel, truncation, a key of the telephone and time that passes included."""
    survives(made(name, tmp_path), script_of(name, script), surroundings=AROUND, every=EVERY)


def test_a_crash_changes_nothing_for_an_agent_with_tools(tmp_path: Path) -> None:
    """The client is asked once, and what it gives is answered once."""
    run = survives(made("orders", tmp_path), SCRIPTS["tool"], surroundings=AROUND, every=EVERY)
    assert "on its way" in run.text


@pytest.mark.slow
@pytest.mark.parametrize("hand_off", [False, True], ids=["crash", "hand-off"])
@pytest.mark.parametrize(("name", "script"), CASES)
def test_at_no_moment_at_all(name: str, script: str, hand_off: bool, tmp_path: Path) -> None:
    """As above, at each of them, and for a pod that leaves as for a release."""
    survives(made(name, tmp_path), script_of(name, script), surroundings=AROUND, hand_off=hand_off)


def test_every_agent_of_the_house_is_here() -> None:
    """But `loopback`, which is a rule of the call."""
    assert {Echo.name, FrontDesk.name} == set(HOUSE)
    assert Loopback.name not in HOUSE
