"""Children that end with their parent, on every system: the way of this one, and the watchdog of the others."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until
from voice_agent.stores import child
from voice_agent.stores.child import start_child, start_server

STAYS = "import os, sys, time; os.write(int(sys.argv[1]), b'%d' % os.getpid()); time.sleep(1000)"
"""A command that writes who it is to the file it was handed."""
WITH_LOOP = pytest.mark.parametrize("has_loop", [True, False], ids=["with an event loop", "without one"])


def is_locked(file: Path) -> bool:
    """Whether somebody has the lock."""
    with file.open() as tried:
        try:
            fcntl.flock(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def end_of(started: asyncio.subprocess.Process | subprocess.Popen[bytes]) -> int:
    """The exit status."""
    if isinstance(started, subprocess.Popen):
        return await asyncio.to_thread(started.wait)
    return await started.wait()


@WITH_LOOP
@pytest.mark.parametrize("has_signal", [child.HAS_DEATH_SIGNAL, False], ids=["the way of this system", "watchdog"])
async def test_a_child_keeps_what_it_is_handed_until_it_is_told_to_end(
    has_loop: bool, has_signal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is free when it has ended; Ctrl+C in the parent's terminal is none of its business."""
    monkeypatch.setattr(child, "HAS_DEATH_SIGNAL", has_signal)
    file = tmp_path / "lock"
    with file.open("w") as handed:
        fcntl.flock(handed, fcntl.LOCK_EX)
        fd = handed.fileno()
        command = [sys.executable, "-I", "-S", "-c", STAYS, str(fd)]
        started = await start_child(command, kept_fd=fd) if has_loop else start_server(command, kept_fd=fd)
    await until(file.read_text)
    assert is_locked(file)
    assert os.getsid(int(file.read_text())) == started.pid
    assert (started.stdin is None) is has_signal
    started.terminate()
    assert await end_of(started) != 0
    assert not is_locked(file)
    if started.stdin is not None:
        started.stdin.close()


@WITH_LOOP
async def test_a_watchdog_ends_the_command_with_its_parent(
    has_loop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose end closes the pipe between them; nothing else does."""
    monkeypatch.setattr(child, "HAS_DEATH_SIGNAL", False)
    command = ["sleep", "1000"]
    with (tmp_path / "lock").open("w") as handed:
        started = await start_child(command) if has_loop else start_server(command, kept_fd=handed.fileno())
    assert started.stdin is not None
    started.stdin.close()
    assert await end_of(started) == 256 - signal.SIGTERM
