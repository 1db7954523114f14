"""A child process that ends with its parent, however the parent ends.

Linux sends the child SIGTERM when its parent dies (PR_SET_PDEATHSIG). Strictly it is the
thread that started it whose end counts, so start children from a thread that stays.
Elsewhere a watchdog stands between the two: it waits on a pipe that only the parent
holds open, and its end means that the parent is gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

DEATH_SIGNAL = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Ask for SIGTERM when the parent dies, see that it did not die before that, then become the command."""

WATCHDOG = """\
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, pass_fds=[int(sys.argv[2])])
os.close(int(sys.argv[2]))
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
def watch():
    os.read(0, 1)
    child.terminate()
threading.Thread(target=watch, daemon=True).start()
sys.exit(child.wait())
"""
"""Start the command, hand SIGTERM on to it, and send it SIGTERM when standard input ends."""

HAS_DEATH_SIGNAL = sys.platform == "linux"


async def start_child(command: Sequence[str], *, kept_fd: int) -> asyncio.subprocess.Process:
    """Start a command that inherits `kept_fd` and whose output goes nowhere.

    SIGTERM to the process that is returned ends the command; so does the end of this process.
    """
    shim = DEATH_SIGNAL if HAS_DEATH_SIGNAL else WATCHDOG
    handed = [str(os.getpid())] if HAS_DEATH_SIGNAL else [str(os.getpid()), str(kept_fd)]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-c", shim, *handed, *command),
        stdin=asyncio.subprocess.DEVNULL if HAS_DEATH_SIGNAL else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=[kept_fd],
        # Ctrl-C in a terminal is for the pod, which still needs the child while it drains.
        start_new_session=True,
    )
