"""A WebSocket on a real connection, its peer, and what takes its messages."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from websockets.frames import Frame, Opcode

from tests.waiting import PATIENCE_S
from voice_agent.runtime.ports import Listener
from voice_agent.web.call_socket import CallSocket


class RecordingListener(Listener):
    """Takes messages while it is told to."""

    def __init__(self) -> None:
        self.taken: list[str | bytes] = []
        self.willing = asyncio.Event()
        self.refused = asyncio.Event()
        self.fault: Exception | None = None
        self.reserved_bytes = 10_000_000
        self.held_bytes = 0
        self.limits: list[str] = []

    def take(self, message: str | bytes) -> bool:
        if self.fault is not None:
            raise self.fault
        if not self.willing.is_set():
            self.refused.set()
            return False
        self.taken.append(message)
        return True

    def reserve(self, size_bytes: int) -> str | None:
        self.held_bytes = size_bytes
        return "no room" if size_bytes > self.reserved_bytes else None

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)

    async def ready(self) -> None:
        await self.willing.wait()


class Peer:
    """The other end, on a plain socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, opcode: int, payload: bytes) -> None:
        self.writer.write(Frame(Opcode(opcode), payload).serialize(mask=True))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame from the server."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)


@asynccontextmanager
async def connected(*, is_paused: bool = False, **options: Any) -> AsyncIterator[tuple[CallSocket, Peer, set[Any]]]:
    """A socket as after an upgrade, its peer, and the server's set of connections."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[CallSocket] = loop.create_future()
    connections: set[Any] = set()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            given = {"max_message_bytes": 1_000_000, **options}
            connection = cast("asyncio.Transport", transport)
            if is_paused:
                connection.pause_reading()
            made.set_result(CallSocket(connection, connections, **given))

    server = await loop.create_server(Accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield await made, Peer(reader, writer), connections
    finally:
        (await made).abort()
        writer.close()
        server.close()
