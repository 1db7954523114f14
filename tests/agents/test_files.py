"""`--agent file.py:Class`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voice_agent.agents.registry import load_agents
from voice_agent.errors import SettingsError

CODE = """
from __future__ import annotations
from dataclasses import dataclass
from beside_it import WORDS
from voice_agent.agents.echo import Echo

@dataclass
class Mine(Echo):
    name: str = WORDS
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with an agent and a module beside it."""
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("WORDS = 'from a file'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_an_agent_is_loaded_from_a_file(folder: Path) -> None:
    """It need not be installed, may import what is beside it, and is the default under the name it has."""
    assert load_agents(["mine.py:Mine", "echo"]).agent("").name == "from a file"
    assert load_agents([f"{folder}/mine.py:Mine"]).names == ("echo", "from a file", "loopback")


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
