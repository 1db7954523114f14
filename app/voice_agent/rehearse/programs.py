"""Programs of others that a rehearsal starts: where they are, how they are started, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import voice_agent
from voice_agent.errors import SettingsError
from voice_agent.stores.child import start_child

PORTS = range(20_000, 32_000)
"""Below the ephemeral ports of usual systems, so that nobody's outgoing connection sits on one."""
STOP_S = 10.0
ROOT = Path(voice_agent.__file__).parents[1]
"""Where `python -m app` finds this very code."""


def find_haproxy() -> Path:
    """HAProxy's program: on the PATH, where Debian has it, or beside this Python. Raises `SettingsError`."""
    beside = Path(sys.executable).parent
    found = shutil.which("haproxy") or shutil.which("haproxy", path=f"/usr/sbin:/usr/local/sbin:{beside}")
    if found is None:
        fetched = " (in this checkout, without root: make tools)" if (ROOT.parent / "Makefile").exists() else ""
        raise SettingsError(f"haproxy is not installed here; on Debian and Ubuntu: apt-get install haproxy{fetched}")
    return Path(found)


def free_ports(count: int) -> list[int]:
    """So many different loopback ports that nobody listens on."""
    found: list[int] = []
    # By chance: two rehearsals at once look for ports, and nothing holds one until a program listens on it.
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


class Program:
    """A running program that ends with this process; its output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    async def start(cls, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Program:
        """Start it; its output is added to what `log` holds."""
        with log.open("ab") as output:
            process = await start_child(command, output=output.fileno(), environment=environment, directory=ROOT)
        return cls(process, log)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Tell it, if it runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def leave(self, within_s: float) -> bool:
        """SIGTERM, and wait until it has ended; False if it has not after so long."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self.process.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if it is still there after a while."""
        if not await self.leave(STOP_S):
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL to it and to all it has started, as when a container dies: nobody can do anything about it."""
        with contextlib.suppress(ProcessLookupError):
            # Children are started as leaders of a group of their own.
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its output, for whoever has to find out why it did not start."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def python_module(*arguments: str) -> list[str]:
    """The command `voice-agent` with these arguments, of this very code."""
    return [sys.executable, "-m", "voice_agent", *arguments]
