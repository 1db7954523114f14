"""The servers of a comparison as processes: each contender on one core, the store on the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis

from loadtest.peers.contenders import HERE, Contender, Fronted, Ours, Peer
from loadtest.peers.ports import free_port
from loadtest.peers.processor import cores, cpu_s, on_core, pss_kb
from loadtest.peers.venvs import python_of
from voice_agent.stores.embedded import server_binary

READY_S = 30.0
POLL_S = 0.02
KEY = "key-of-the-load-generator"
MOST_CALLS = 100_000
SETTINGS = {
    "VOICE_API_KEYS": KEY,
    "VOICE_SECRET": "secret-of-a-server-that-lives-for-minutes",
    "VOICE_MAX_CALLS": str(MOST_CALLS),
    "VOICE_LOG_LEVEL": "warning",
    "VOICE_SPEECH_WORKERS": "1",
    "VOICE_OVERLOAD_LAG_MS": "0",
}
"""What makes it a server as it is run in earnest: keys are asked for, metrics are always on. But it takes every call,
however late it is: what it can bear is what is asked."""


class NotStarted(Exception):
    """A server ended or stayed silent instead of listening; holds what it said last."""


@dataclass(frozen=True)
class Server:
    """One contender, listening."""

    contender: Contender
    process: subprocess.Popen[bytes]
    port: int
    behind: Server | None = None
    """The pod to which an edge passes what comes."""

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def url(self) -> str:
        """Where callers connect."""
        return f"ws://127.0.0.1:{self.port}{self.contender.path}"

    @property
    def headers(self) -> dict[str, str]:
        """What a caller must send to be let in."""
        return {"Authorization": f"Bearer {KEY}"} if not isinstance(self.contender, Peer) else {}

    def cpu_s(self) -> float:
        """Seconds of CPU used by now."""
        return cpu_s(self.process.pid)

    def pss_kb(self) -> int:
        """Memory in KiB."""
        return pss_kb(self.process.pid)


@dataclass(frozen=True)
class Store:
    """A Valkey with an append-only file, listening on a unix socket."""

    process: subprocess.Popen[bytes]
    socket: Path

    @property
    def url(self) -> str:
        """For ``VOICE_STORE_URL``."""
        return f"unix://{self.socket}"

    def cpu_s(self) -> float:
        """Seconds of CPU used by now."""
        return cpu_s(self.process.pid)

    def received_bytes(self) -> int:
        """All that it was sent by now. Raises `redis.RedisError`."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            return cast("dict[str, int]", client.info("stats"))["total_net_input_bytes"]


class Environment:
    """Starts servers and the store; made by `opened`, which ends them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.store: Store | None = None
        """Set with the first server that needs one."""

    async def start(self, contender: Contender) -> Server:
        """A contender on the servers' core, once it listens. Raises `NotStarted`."""
        if isinstance(contender, Fronted):
            pod = await self._start(contender.pod, cores()[1])
            port = free_port()
            command = [sys.executable, "-m", "voice_agent", "edge", "--to", f"ws://127.0.0.1:{pod.port}"]
            settings = {"VOICE_EDGE_MAX_CALLS": str(MOST_CALLS), "VOICE_EDGE_LOG_LEVEL": "warning"}
            settings["VOICE_EDGE_OVERLOAD_LAG_MS"] = "0"
            process = self._spawn(contender.name, [*command, "--port", str(port)], cores()[0], settings)
            await self._listening(process, contender.name, port)
            return Server(contender, process, port, pod)
        return await self._start(contender, cores()[0])

    async def _start(self, contender: Peer | Ours, core: int) -> Server:
        port = free_port()
        if isinstance(contender, Peer):
            command = [str(python_of(contender)), str(HERE / "servers" / contender.script), str(port)]
            settings: dict[str, str] = {}
        else:
            command = [sys.executable, "-m", "voice_agent", "serve", "--port", str(port)]
            settings = await self._settings(contender)
            if contender.sources is not None:
                settings |= {"PYTHONPATH": str(contender.sources)}
        process = self._spawn(contender.name, command, core, settings)
        await self._listening(process, contender.name, port)
        return Server(contender, process, port)

    async def end(self, server: Server) -> None:
        """Kill one server, with the pod behind it, and wait until it is gone."""
        server.process.kill()
        await asyncio.to_thread(server.process.wait)
        if server.behind is not None:
            await self.end(server.behind)

    def end_all(self) -> None:
        """Kill what still runs, the store last."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
            process.wait()

    async def _settings(self, ours: Ours) -> dict[str, str]:
        if self.store is None:
            self.store = await self._start_store()
        own = {"VOICE_STORE_URL": self.store.url, "VOICE_POD": ours.name}
        return SETTINGS | own | {"VOICE_OUTBOX_BYTES": str(ours.outbox_bytes)}

    async def _start_store(self) -> Store:
        socket = self._directory / "store.sock"
        options = {"port": "0", "unixsocket": str(socket), "dir": str(self._directory), "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "everysec"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = self._spawn("store", [str(server_binary()), *words], cores()[1], {})
        async with asyncio.timeout(READY_S):
            while not await _answers(socket):
                self._check_alive(process, "store")
                await asyncio.sleep(POLL_S)
        return Store(process, socket)

    def _spawn(self, name: str, command: list[str], core: int, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("ab") as output, on_core(core):
            process = subprocess.Popen(command, env=_environment(settings), stdout=output, stderr=output)
        self._processes.insert(0 if name == "store" else len(self._processes), process)
        return process

    async def _listening(self, process: subprocess.Popen[bytes], name: str, port: int) -> None:
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        return
                    self._check_alive(process, name)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise NotStarted(f"{name} did not listen within {READY_S:.0f} s: {self._last_words(name)}") from None

    def _check_alive(self, process: subprocess.Popen[bytes], name: str) -> None:
        if process.poll() is not None:
            raise NotStarted(f"{name} ended with status {process.returncode}: {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        lines = (self._directory / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Environment]:
    """An environment for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="va-peers-") as directory:
        environment = Environment(Path(directory))
        try:
            yield environment
        finally:
            environment.end_all()


async def _answers(socket: Path) -> bool:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.startswith(b"+PONG")
    return False


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings of this shell's, which would measure something else than the report says."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")} | dict(settings)
