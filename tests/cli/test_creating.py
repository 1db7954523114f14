"""A package with an agent, as `voice-agent new` writes it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from voice_agent.cli.creating import PLACES, names_for, new, write
from voice_agent.errors import SettingsError

RUFF = Path(sys.executable).parent / "ruff"


@pytest.mark.parametrize(
    ("name", "package", "class_name"),
    [
        ("my-agent", "my_agent", "MyAgent"),
        ("frontDesk.v2", "frontdesk_v2", "FrontDeskV2"),
        ("7eleven", "agent_7eleven", "Agent7eleven"),
        ("none", "none", "AgentNone"),
        ("class", "agent_class", "Class"),
        ("email", "agent_email", "Email"),
        ("scripted", "scripted", "AgentScripted"),
        ("voice-agent", "agent_voice_agent", "VoiceAgent"),
        ("a_", "a", "A"),
    ],
)
def test_a_package_and_a_class_are_called_after_the_agent(name: str, package: str, class_name: str) -> None:
    """As Python can call them, and unlike what there is already."""
    names = names_for(name)
    assert (names["package"], names["class_name"]) == (package, class_name)


@pytest.mark.parametrize("name", ["two words", "../up", "", "-a", "a" * 129])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    """In one line; no path leads out of the folder."""
    with pytest.raises(SettingsError, match="cannot be the name of an agent"):
        names_for(name)


@pytest.mark.parametrize("name", ["echo", "frontdesk", "loopback"])
def test_the_name_of_an_agent_of_every_server_is_refused(name: str) -> None:
    """The server would not start with another one."""
    with pytest.raises(SettingsError, match=f"The name '{name}' is taken"):
        names_for(name)


def test_all_that_is_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what to try next; the folder is called as the agent where none is named."""
    monkeypatch.chdir(tmp_path)
    new(name="my-agent", folder=None)
    told = capsys.readouterr().out
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"my-agent/{place.format(package='my_agent')}" for place in PLACES}
    assert all(f"  {path}\n" in told for path in files)
    assert "voice-agent serve --agent my-agent/my_agent/agent.py:MyAgent --reload\n" in told


@pytest.mark.parametrize("place", ["pyproject.toml", "my_agent/agent.py", "tests/test_my_agent.py"])
def test_nothing_is_overwritten(tmp_path: Path, place: str) -> None:
    """One file that is there keeps all others from being written; a folder that is there does not."""
    mine = tmp_path / place
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(SettingsError, match=f"{place} is there already; nothing was written"):
        write(tmp_path, names_for("my-agent"))
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]
    mine.unlink()
    assert len(write(tmp_path, names_for("my-agent"))) == len(PLACES)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    """Without a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write .*Not a directory"):
        write(tmp_path / "file" / "below", names_for("my-agent"))


@pytest.mark.parametrize("name", ["my-agent", "class", "A.b_c-D"])
def test_what_is_written_is_clean(tmp_path: Path, name: str) -> None:
    """Nothing is left of the templates, and a linter finds nothing."""
    for path in write(tmp_path, names_for(name)):
        text = path.read_text(encoding="utf-8")
        assert "$" not in text
        if path.suffix == ".py":
            ast.parse(text)
        elif path.suffix == ".toml":
            tomllib.loads(text)
    linted: list[str | Path] = [
        RUFF,
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "B,E,F,I,PT,UP",
        "--line-length",
        "120",
        tmp_path,
    ]
    done = subprocess.run(linted, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
