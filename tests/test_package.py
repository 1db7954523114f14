"""What authors of agents and stores import."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import voice_agent
from tests.waiting import PATIENCE_S
from voice_agent import kit


def test_every_name_that_is_offered_is_there() -> None:
    """What type checkers are told is what there is when the program runs."""
    source = Path(voice_agent.__file__).read_text(encoding="utf-8")
    told = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert told == voice_agent._MODULES
    for name in told:
        assert getattr(voice_agent, name) is not None
        assert name in dir(voice_agent)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = voice_agent.Nothing


def test_all_that_an_author_works_with_is_offered() -> None:
    """No class of the kit is to be had only from where it is defined; nor is what agents say their audio is in."""
    modules = [import_module(f"voice_agent.kit.{module.name}") for module in iter_modules(kit.__path__)]
    classes = {
        name: defined
        for module in modules
        for name, defined in vars(module).items()
        if isinstance(defined, type) and defined.__module__ == module.__name__ and not name.startswith("_")
    }
    assert {"Agent", "Call", "Ear", "Speech", "Voice"} <= classes.keys()
    for name, defined in classes.items():
        assert getattr(voice_agent, name, None) is defined, name
    others = "Event Item AudioFormat PCM PCMA PCMU Scripted ScriptedTurn Sentences"
    assert set(others.split()) <= set(dir(voice_agent))


def test_the_package_itself_loads_nothing() -> None:
    """Whatever imports a part of it need not pay for all of it."""
    program = "import sys, voice_agent; print([name for name in sys.modules if name.startswith('voice_agent.')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_package_called_app_is_somebody_elses(tmp_path: Path) -> None:
    """A project that has its own starts the server in its folder."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise ImportError('this is not yours')")
    done = subprocess.run(
        [sys.executable, "-m", "voice_agent", "serve", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
