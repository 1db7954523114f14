"""A child process that ends with its parent, however the parent ends.

Linux sends the child SIGTERM when its parent dies (PR_SET_PDEATHSIG). Strictly it is the
thread that started it whose end counts, so start children from a thread that stays.
Elsewhere a watchdog stands between the two: it waits on a pipe that only the parent
holds open, and its end means that the parent is gone.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DEATH_SIGNAL = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Ask for SIGTERM when the parent dies, see that it did not die before that, then become the command."""

WATCHDOG = """\
import os, signal, subprocess, sys, threading
kept = [int(sys.argv[2])] if int(sys.argv[2]) >= 0 else []
child = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, pass_fds=kept)
for fd in kept:
    os.close(fd)
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
def watch():
    os.read(0, 1)
    child.terminate()
threading.Thread(target=watch, daemon=True).start()
sys.exit(child.wait())
"""
"""Start the command, hand SIGTERM on to it, and send it SIGTERM when standard input ends."""

HAS_DEATH_SIGNAL = sys.platform == "linux"
NO_FD = -1


def start_server(command: Sequence[str], *, kept_fd: int) -> subprocess.Popen[bytes]:
    """The same as `start_child` for a process without an event loop, which waits for the command itself."""
    return subprocess.Popen(
        _with_shim(command, kept_fd),
        stdin=subprocess.DEVNULL if HAS_DEATH_SIGNAL else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[kept_fd],
        start_new_session=True,
    )


def _with_shim(command: Sequence[str], kept_fd: int | None) -> list[str]:
    shim = DEATH_SIGNAL if HAS_DEATH_SIGNAL else WATCHDOG
    handed = [str(os.getpid())] if HAS_DEATH_SIGNAL else [str(os.getpid()), str(NO_FD if kept_fd is None else kept_fd)]
    return [sys.executable, "-I", "-S", "-c", shim, *handed, *command]


async def start_child(
    command: Sequence[str],
    *,
    kept_fd: int | None = None,
    output: int = asyncio.subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start a command that inherits `kept_fd`, and writes to the open file `output`.

    `environment` and `directory` are this process' own unless given. SIGTERM to the process
    that is returned ends the command; so does the end of this process.
    """
    return await asyncio.create_subprocess_exec(
        *_with_shim(command, kept_fd),
        stdin=asyncio.subprocess.DEVNULL if HAS_DEATH_SIGNAL else asyncio.subprocess.PIPE,
        stdout=output,
        stderr=output,
        pass_fds=[] if kept_fd is None else [kept_fd],
        env=environment,
        cwd=directory,
        # Ctrl-C in a terminal is for the pod, which still needs the child while it drains.
        start_new_session=True,
    )
