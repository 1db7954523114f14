"""An agent of a package that is installed where it is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.loaded import forgotten
from voice_agent.agents.loading import load_agents, load_anew
from voice_agent.agents.registry import ServedAgent
from voice_agent.bootstrap_agents import make_agents
from voice_agent.errors import SettingsError
from voice_agent.settings import Settings

CODE = """
from voice_agent import Agent, Ear, Voice

from .words import NAME

class Packaged(Agent):
    name = "packaged"
    ear = Ear()
    voice = Voice()
    words = NAME
"""


def installed(folder: Path, sources: Path) -> None:
    """What `pip install --editable` leaves in a folder of modules: its metadata, and a path to `sources`."""
    metadata = folder / "packaged_agent-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged-agent\nVersion: 1\n", encoding="utf-8")
    entry_point = "[voice_agent.agents]\npackaged = packaged_agent.agent:Packaged\n"
    (metadata / "entry_points.txt").write_text(entry_point, encoding="utf-8")
    package = sources / "packaged_agent"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "agent.py").write_text(CODE, encoding="utf-8")
    (package / "words.py").write_text("NAME = 'first'", encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sources of one that is installed as editable."""
    installed(tmp_path / "site-packages", tmp_path / "sources")
    with forgotten(tmp_path):
        monkeypatch.syspath_prepend(tmp_path / "site-packages")
        monkeypatch.syspath_prepend(tmp_path / "sources")
        yield tmp_path / "sources" / "packaged_agent"


def served() -> ServedAgent:
    """As a pod has it that was told its name."""
    return load_agents(["packaged"]).served["packaged"]


def test_it_is_loaded_anew_with_all_of_its_package(package: Path) -> None:
    """Relative imports among it; what else is loaded stays."""
    one = served()
    assert one.source is not None
    assert set(one.source.watched) == {package / name for name in ("__init__.py", "agent.py", "words.py")}
    echo = sys.modules["voice_agent.agents.echo"]
    (package / "words.py").write_text("NAME = 'other'", encoding="utf-8")
    assert load_anew(one.origin, one.source).words == "other"  # type: ignore[attr-defined]  # it has some
    assert sys.modules["voice_agent.agents.echo"] is echo
    assert one.source.exists
    (package / "agent.py").rename(package / "agent.py~")
    assert not one.source.exists


def test_when_it_cannot_be_loaded_anew_all_stays_as_it_was(package: Path) -> None:
    """And the line says where."""
    one = served()
    assert one.source is not None
    before = {name: module for name, module in sys.modules.items() if name.startswith("packaged_agent")}
    (package / "words.py").write_text("NAME = ", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"cannot be loaded: invalid syntax \(words\.py, line 1\)\.$"):
        load_anew(one.origin, one.source)
    assert {name: sys.modules[name] for name in before} == before


def test_a_copy_never_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for it to be loaded anew is told what can be."""
    folder = tmp_path / "site-packages"
    installed(folder, folder)
    with forgotten(tmp_path):
        monkeypatch.syspath_prepend(folder)
        assert served().source is None
        with pytest.raises(SettingsError, match=r"^VOICE_RELOAD: no agent is from a file, .*--editable\.$"):
            make_agents(Settings(agent="packaged", reload=True))
