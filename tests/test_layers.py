"""The house rules on imports hold, and the contracts that say so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parent.parent
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the package `voice_agent` in `folder`."""
    return subprocess.run(
        [str(LINT_IMPORTS), "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package to plant violations in."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "app" / "voice_agent", folder / "voice_agent", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_imports_go_one_way(copied: Path) -> None:
    """Every contract of .importlinter is kept."""
    found = lint_imports(copied)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("call/record.py", "import asyncio"),
        ("call/record.py", "import time"),
        ("call/record.py", "from voice_agent.runtime import ports"),
        ("protocol/realtime.py", "import socket"),
        ("stores/memory.py", "from voice_agent.agents import base"),
        ("runtime/ports.py", "import fastapi"),
        ("runtime/ports.py", "from voice_agent.settings import Settings"),
        ("runtime/ports.py", "from voice_agent.runtime import budget"),
        ("runtime/durability/writing.py", "from voice_agent.runtime.calls import parts"),
        ("runtime/calls/muted.py", "from voice_agent.runtime.pod import fleet"),
        ("web/health.py", "import prometheus_client"),
        ("web/health.py", "from voice_agent.observe import metrics"),
        ("observe/metrics.py", "import redis"),
        ("websocket/frames.py", "import uvicorn"),
        ("websocket/websocket.py", "from voice_agent.call import closing"),
        ("websocket/websocket.py", "from voice_agent.runtime import ports"),
    ],
)
def test_a_planted_violation_is_found(copied: Path, module: str, planted: str) -> None:
    """One forbidden import anywhere breaks the build."""
    path = copied / "voice_agent" / module
    kept = path.read_text()
    path.write_text(f"{kept}\n{planted}\n")
    try:
        found = lint_imports(copied)
    finally:
        path.write_text(kept)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "BROKEN" in found.stdout


def in_circles(package: str) -> set[str]:
    """The modules of a package that import a module which imports them, directly or over others.

    An import for type checkers alone counts, and so does one inside a function.
    """
    graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
    return {
        module
        for module in graph.modules
        if any(graph.chain_exists(it, module) for it in graph.find_modules_directly_imported_by(module))
    }


def test_no_module_imports_one_that_imports_it() -> None:
    """Not even for the sake of a type: each can be read without those that use it."""
    assert in_circles("voice_agent") == set()


def test_a_planted_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two modules or of more, by whatever kind of import; what only leads to a circle is not in it."""
    package = tmp_path / "planted"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "first": "from planted import second",
        "second": "def late():\n    from planted.third import it",
        "third": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted.first import it",
        "outside": "import planted.first",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert in_circles("planted") == {"planted.first", "planted.second", "planted.third"}
