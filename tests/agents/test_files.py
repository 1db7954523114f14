"""`--agent file.py:Class`; loading one anew, as any `source` is, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.loaded import forgotten
from voice_agent.agents.files import AgentFile
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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current one, with an agent and a module beside it."""
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("WORDS = 'from-a-file'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with forgotten(tmp_path):
        yield tmp_path


def test_an_agent_is_loaded_from_a_file(folder: Path) -> None:
    """It need not be installed, may import what is beside it, and is the default under the name it has."""
    assert load_agents(["mine.py:Mine", "echo"]).agent("").name == "from-a-file"
    assert load_agents([f"{folder}/mine.py:Mine"]).names == ("echo", "from-a-file", "loopback")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("class Mine(", r"'\(' was never closed \(mine\.py, line 1\)"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(mine\.py, line 1\)"),
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
        ("mine.py:Nobody", r"cannot be loaded: AttributeError: it has no attribute 'Nobody'\.$"),
    ],
)
def test_a_file_without_the_agent_stops_the_start(folder: Path, named: str, why: str) -> None:
    """With what is wrong, and where."""
    with pytest.raises(SettingsError, match=f"{named}.*({why})"):
        load_agents([named])


def words(file: AgentFile) -> str:
    """The name of the agent that is made of a file as it is now."""
    name: str = file.load_anew()().name
    return name


def test_a_file_is_loaded_anew_with_what_it_imports_from_beside_it(folder: Path) -> None:
    """However soon after the last change, and though the size is the same."""
    file = AgentFile(folder / "mine.py", "Mine")
    assert file.load()().name == "from-a-file"
    assert set(file.watched) == {folder / "mine.py", folder / "mine.toml", folder / "beside_it.py"}
    for number in range(3):
        (folder / "beside_it.py").write_text(f"WORDS = 'from-file-{number}'", encoding="utf-8")
        assert words(file) == f"from-file-{number}"


def test_a_link_that_leads_elsewhere_has_changed(folder: Path) -> None:
    """As a mounted configuration is changed: the name stays, what it leads to is another file."""
    (folder / "linked.py").symlink_to(folder / "mine.py")
    file = AgentFile(folder / "linked.py", "Mine")
    file.load()
    assert folder / "linked.py" in file.watched


@pytest.mark.parametrize("broken", ["mine.py", "beside_it.py"])
def test_when_it_cannot_be_loaded_anew_all_stays_as_it_was(folder: Path, broken: str) -> None:
    """What runs may import from its own module at any time."""
    file = AgentFile(folder / "mine.py", "Mine")
    mine = file.load()
    before = {name: sys.modules[name] for name in ("beside_it", "voice_agent_file_mine")}
    (folder / broken).write_text("WORDS = ", encoding="utf-8")
    with pytest.raises(SyntaxError):
        file.load_anew()
    assert {name: sys.modules[name] for name in before} == before
    assert sys.modules[mine.__module__] is before["voice_agent_file_mine"]
    assert folder / "beside_it.py" in file.watched


def test_what_is_installed_beside_a_file_is_no_part_of_it(folder: Path) -> None:
    """In a virtual environment in the same folder."""
    installed = folder / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "installed_beside.py").write_text("", encoding="utf-8")
    sys.path.append(str(installed))
    (folder / "beside_it.py").write_text("import installed_beside\nWORDS = 'x'", encoding="utf-8")
    file = AgentFile(folder / "mine.py", "Mine")
    file.load()
    assert set(file.watched) == {folder / "mine.py", folder / "mine.toml", folder / "beside_it.py"}
