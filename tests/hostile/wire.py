"""A hostile caller's end of a connection: raw bytes out at any speed, and a note of whatever comes back.

It reads all the time, so that an error, a close code or a status is not lost behind replies that nobody wants; a mode
whose point is not to read says so (`read=False`). No caller of others is used for it: each of them keeps the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from loadtest.peers.holding import upgrade_request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
FINAL = 0x80
HANDSHAKE_S = 30.0
HOST = "127.0.0.1"
ADDRESS = "203.0.113.7"
"""Of all hostile callers, as a proxy would tell it: loopback's connects are not counted."""
ERROR_MARK = b'"type":"error"'
SHORT_BYTES = 16 * 1024
"""A longer message of the server's is no error event and is not looked into, unless it is waited for."""
READ_BYTES = 256 * 1024
BEGINNING_BYTES = 400


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """A client's frame (RFC 6455, section 5.2), masked with zeros."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 0x10000:
        length = b"\xfe" + struct.pack(">H", size)
    else:
        length = b"\xff" + struct.pack(">Q", size)
    return b"".join((bytes(((FINAL if final else 0) | opcode,)), length, bytes(4), payload))


def event(kind: str, **fields: Any) -> bytes:
    """A client event as a text frame."""
    return frame(json.dumps({"type": kind, **fields}, separators=(",", ":")).encode())


class RefusedByServer(Exception):
    """The upgrade was refused; holds the status."""


@dataclass
class Got:
    """What hostile callers got, by name, and one whole example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, example: str = "") -> None:
        """Count one."""
        self.counts[name] += 1
        if example:
            self.examples.setdefault(name, example[:300])

    def add_http(self, head: bytes) -> None:
        """The start of an HTTP answer."""
        status = head[:12].rpartition(b" ")[2].decode(errors="replace")
        self.add(status, head.partition(b"\r\n\r\n")[2].decode(errors="replace"))


@dataclass
class Target:
    """Where the callers connect, and with which key."""

    ports: list[int]
    key: str
    got: Got = field(default_factory=Got)

    @contextlib.asynccontextmanager
    async def tcp(self, *, at: int = 0) -> AsyncIterator[Tcp]:
        """A bare connection. Raises `OSError`."""
        reader, writer = await asyncio.open_connection(HOST, self.ports[at], limit=READ_BYTES)
        door = Tcp(reader, writer, self.got)
        try:
            yield door
        finally:
            door.drop()

    async def call(self, query: str = "model=echo", *, at: int = 0, read: bool = True) -> Call:
        """A call, once its upgrade was granted. Raises `RefusedByServer`, `OSError`, `TimeoutError`."""
        headers = {"Authorization": f"Bearer {self.key}", "X-Forwarded-For": ADDRESS}
        reader, writer = await asyncio.open_connection(HOST, self.ports[at], limit=READ_BYTES)
        try:
            writer.write(upgrade_request(f"ws://{HOST}:{self.ports[at]}/v1/realtime?{query}", headers))
            async with asyncio.timeout(HANDSHAKE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101"):
                    head += await reader.read(SHORT_BYTES)
        except asyncio.IncompleteReadError:
            writer.close()
            raise ConnectionResetError from None
        except BaseException:
            writer.close()
            raise
        if not head.startswith(b"HTTP/1.1 101"):
            writer.close()
            self.got.add_http(head)
            raise RefusedByServer(head[:12].decode(errors="replace"))
        return Call(reader, writer, self.got, read=read)


class Tcp:
    """A connection that speaks no WebSocket; notes the first answer, and how it ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: Got) -> None:
        self._writer = writer
        self._got = got
        self._listening = asyncio.create_task(self._listen(reader))

    async def send(self, data: bytes) -> None:
        """Raises `OSError` once the server has closed."""
        if self._listening.done():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def over(self) -> None:
        """Wait until the server has closed."""
        await asyncio.wait({self._listening})

    def drop(self) -> None:
        """Cut it."""
        self._listening.cancel()
        self._writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while more := await reader.read(READ_BYTES):
                data = (data + more)[:SHORT_BYTES]
        if data:
            self._got.add_http(data)
        else:
            self._got.add("cut without a word")


class Call:
    """A call of a hostile caller's. `async with` cuts it at the end, without a close frame."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: Got, *, read: bool = True
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._got = got
        self._wanted: tuple[bytes, asyncio.Future[dict[str, Any]]] | None = None
        self._listening = asyncio.create_task(self._listen() if read else asyncio.sleep(0))
        self._reads = read

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    async def send(self, data: bytes) -> None:
        """Raises `OSError` once the connection is gone."""
        if self._reads and self._listening.done():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def wait(self, mark: bytes) -> dict[str, Any]:
        """The next event that has this at its beginning. Raises `OSError` if the connection ends first."""
        found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._wanted = (mark, found)
        both: set[asyncio.Future[Any]] = {found, self._listening}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            raise ConnectionResetError
        return found.result()

    async def over(self, within_s: float) -> None:
        """Read, until the server has closed or for so long."""
        if not self._reads:
            self._reads = True
            self._listening = asyncio.create_task(self._listen())
        await asyncio.wait({self._listening}, timeout=within_s)

    def drop(self) -> None:
        """Cut it."""
        self._listening.cancel()
        self._writer.transport.abort()

    async def _listen(self) -> None:
        try:
            while True:
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size >= 126:
                    size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
                payload = await self._reader.readexactly(size)
                opcode = first & 0x0F
                if opcode == CLOSE:
                    code = int.from_bytes(payload[:2]) if payload else 1005
                    self._got.add(f"close {code}", payload[2:].decode(errors="replace"))
                    return
                self._hear(opcode, payload)
        except (OSError, asyncio.IncompleteReadError):
            self._got.add("cut without a word")

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._writer.write(frame(payload, PONG))
        elif self._wanted is not None and self._wanted[0] in payload[:BEGINNING_BYTES]:
            self._wanted[1].set_result(json.loads(payload))
            self._wanted = None
        elif len(payload) < SHORT_BYTES and ERROR_MARK in payload:
            error = json.loads(payload)["error"]
            self._got.add(f"error {error.get('code') or error.get('type')}", error.get("message", ""))
