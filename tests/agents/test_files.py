"""`--agent file.py:Class`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voice_agent.agents.loading import load_agents
from voice_agent.errors import SettingsError

CODE = """
from __future__ import annotations
from dataclasses import dataclass
from beside_it import WORDS
from voice_agent import Agent

@dataclass
class Mine(Agent):
    name: str = WORDS
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with an agent and a module beside it."""
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("WORDS = 'from-a-file'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_an_agent_is_loaded_from_a_file(folder: Path) -> None:
    """It need not be installed, may import what is beside it, and is the default under the name it has."""
    assert load_agents(["mine.py:Mine", "echo"]).agent("").name == "from-a-file"
    assert load_agents([f"{folder}/mine.py:Mine"]).names == ("echo", "from-a-file", "loopback")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("class Mine(", r"'\(' was never closed \(mine\.py, line 1\)"),
        ("\nimport not_there", r"ModuleNotFoundError: No module named 'not_there' \(mine\.py, line 2\)"),
        ("from voice_agent import Agent\n\nclass Mine(Agent):\n    name = NAME", r"NameError: .* \(mine\.py, line 4\)"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_with_its_line(folder: Path, code: str, why: str) -> None:
    """In one line, as a user who has just written it needs it."""
    (folder / "mine.py").write_text(code, encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"^The agent 'mine\.py:Mine' cannot be loaded: {why}\.$"):
        load_agents(["mine.py:Mine"])


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("none.py:Mine", "No such file"),
        ("mine.py:Nobody", "no attribute 'Nobody'"),
    ],
)
def test_a_file_without_the_agent_stops_the_start(folder: Path, named: str, why: str) -> None:
    """With what is wrong, and where."""
    with pytest.raises(SettingsError, match=f"{named}.*({why})"):
        load_agents([named])
