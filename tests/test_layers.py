"""The house rules on imports hold, and the contracts that say so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        timeout=100,
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
        ("web/health.py", "import prometheus_client"),
        ("web/health.py", "from voice_agent.observe import metrics"),
        ("observe/metrics.py", "import redis"),
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
