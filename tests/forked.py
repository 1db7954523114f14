"""Processes of `voice-agent` that have imported all of it when they begin.

Nearly all of a pod's start is imports: two seconds of CPU, hundreds of times in a run of the tests. So one process, the
parent, imports it once and forks for each that a test starts, as a host with several workers does. What runs is a
process like any other: its own session, environment, arguments and output; it is killed, stopped and waited for.
That `voice-agent` starts from nothing is seen elsewhere: `tests/test_startup.py`, `test_wheel.py`, the servers of
`test_cli.py`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S

MOST_BYTES = 1 << 17
"""A request: arguments and environment."""
IMPORTED = (
    "voice_agent.agents.frontdesk",
    "voice_agent.bootstrap_edge",
    "voice_agent.cli.fronting",
    "voice_agent.cli.operating",
    "voice_agent.cli.serving",
    "voice_agent.hosting",
    "voice_agent.operate.drain",
    "voice_agent.operate.fleet",
    "voice_agent.stores.redis",
    "voice_agent.web.acceptor",
    "voice_agent.web.application",
    "voice_agent.web.server",
)


class ForkedProcess:
    """What tests use of `subprocess.Popen`, for a process that another one forked and waits for."""

    def __init__(self, parent: ForkingParent, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent
        self._asking = threading.Lock()
        self._ends = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._ends)

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, once it has ended. Raises `subprocess.TimeoutExpired`."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended."""
        # Until the parent has waited for it, on its word alone, no other process gets its number.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        # Several threads may wait, and others see to it meanwhile.
        ends = select.poll()
        ends.register(self._ends, select.POLLIN)
        if self.returncode is None and ends.poll(None if timeout is None else timeout * 1000):
            with self._asking:
                if self.returncode is None:
                    self.returncode = self._parent.ask({"waited for": self.pid})["status"]
        return self.returncode


class ForkingParent:
    """The process that forks, and the way to it."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
            root = Path(__file__).parents[1]
            self._process = subprocess.Popen(
                command, env=kept, cwd=root, pass_fds=[theirs.fileno()], start_new_session=True
            )
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], *output: int) -> ForkedProcess:
        """A process that writes to the descriptor `output`, or its errors to a second one."""
        asked = {"arguments": list(arguments), "environment": dict(environment), "directory": str(Path.cwd())}
        return ForkedProcess(self, self.ask(asked, *output)["pid"])

    def ask(self, request: Mapping[str, Any], *descriptors: int) -> dict[str, Any]:
        """What it answers."""
        with self._asking:
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            answer: dict[str, Any] = json.loads(self._channel.recv(MOST_BYTES))
            return answer

    def close(self) -> None:
        """It ends when nobody can ask it any more."""
        self._channel.close()
        self._process.wait()


forking_parent = functools.cache(ForkingParent)
"""The one of this process."""


def start(
    arguments: Sequence[str], environment: Mapping[str, str], output: Any
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start `voice-agent` in a session of its own; what it says goes to the file `output`."""
    if sys.platform == "linux":
        return forking_parent().start(arguments, environment, output.fileno())
    return start_from_nothing(arguments, environment, output)


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of `voice-agent` to its end, and what it wrote."""
    command = [sys.executable, "-m", "voice_agent", *arguments]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if sys.platform == "linux":
            process = forking_parent().start(arguments, environment, out.fileno(), err.fileno())
            try:
                status = process.wait(PATIENCE_S)
            finally:
                process.kill()
        else:
            status = subprocess.run(command, env=environment, stdout=out, stderr=err, check=False).returncode
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def start_from_nothing(
    arguments: Sequence[str], environment: Mapping[str, str], output: Any
) -> subprocess.Popen[bytes]:
    """As `start`, by the interpreter's own start."""
    command = [sys.executable, "-m", "voice_agent", *arguments]
    return subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output, start_new_session=True)


def main() -> None:
    """Fork whenever asked to; return in what was forked, and end when nobody asks any more."""
    for name in IMPORTED:
        import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, 2)
            if not packet:
                sys.exit()
            request = json.loads(packet)
            if "waited for" in request:
                status = os.waitstatus_to_exitcode(os.waitpid(request["waited for"], 0)[1])
                channel.send(json.dumps({"status": status}).encode())
            elif pid := os.fork():
                for descriptor in descriptors:
                    os.close(descriptor)
                channel.send(json.dumps({"pid": pid}).encode())
            else:
                break
    _become(request["arguments"], request["environment"], request["directory"], descriptors)


def _become(arguments: list[str], environment: dict[str, str], directory: str, output: list[int]) -> None:
    """What the interpreter would have made of all that at its start."""
    os.setsid()
    os.dup2(output[0], sys.stdout.fileno())
    os.dup2(output[-1], sys.stderr.fileno())
    for descriptor in output:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    paths = [str(Path(path).absolute()) for path in environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:] = list(dict.fromkeys([directory, *paths, *sys.path[1:]]))
    sys.argv = ["voice-agent", *arguments]


if __name__ == "__main__":
    main()
    from voice_agent.__main__ import main as voice_agent

    voice_agent()
