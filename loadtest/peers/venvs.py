"""A venv for each set of pinned packages, so that no peer is held back by another's versions."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from loadtest.peers.contenders import HERE, Contender, Peer

VENVS = Path(sys.prefix) / "peers"
"""Beside this project's own packages, so that ``make clean`` takes them along."""
STAMP = ".installed"


class NotInstalled(Exception):
    """A peer's packages could not be installed; says what to do."""


def python_of(contender: Contender) -> Path:
    """The interpreter that runs a contender."""
    if isinstance(contender, Peer) and contender.requirements:
        return VENVS / contender.requirements / "bin" / "python"
    return Path(sys.executable)


def ensure(contenders: Iterable[Contender], tell: Callable[[str], None]) -> None:
    """Make the venvs that are missing or whose pins have changed. Raises `NotInstalled`."""
    for name in dict.fromkeys(one.requirements for one in contenders if isinstance(one, Peer)):
        pins = HERE / f"requirements-{name}.txt"
        stamp = VENVS / name / STAMP
        digest = hashlib.sha256(pins.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            continue
        tell(f"installing {pins.name}")
        uv = Path(sys.executable).with_name("uv")
        _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(VENVS / name)])
        python = str(VENVS / name / "bin" / "python")
        _run([str(uv), "pip", "install", "--quiet", "--python", python, "-r", str(pins)])
        stamp.write_text(digest)


def versions(contender: Contender) -> dict[str, str]:
    """Versions of the packages a reader wants to know, as the contender's interpreter finds them."""
    code = "import sys, importlib.metadata as m; print(*(m.version(n) for n in sys.argv[1:]))"
    command = [str(python_of(contender)), "-c", code, *contender.shown]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(contender.shown, found, strict=True))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing was said"]
        raise NotInstalled(
            f"{' '.join(command)} failed: {said[-1]}; a package index must be within reach, or leave the peer out by "
            "--only."
        )
