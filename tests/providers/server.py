"""A provider for tests that sends what bytes it is told to, and counts its connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.servers import free_port
from voice_agent.providers.endpoint import Endpoint


@dataclass
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class RawProvider:
    """Each connection is given to `answer`, request after request, until it is closed by either side."""

    answer: Callable[[Request, asyncio.StreamWriter], Awaitable[None]]
    port: int = field(default_factory=free_port)
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    def endpoint(self, **more: object) -> Endpoint:
        """Where it is."""
        return Endpoint.model_validate({"url": f"{self.scheme}://127.0.0.1:{self.port}/v1", **more})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while not writer.is_closing():
                    request = await read_request(reader)
                    self.requests.append(request)
                    answering = asyncio.ensure_future(self.answer(request, writer))
                    gone = asyncio.ensure_future(reader.read(1))
                    await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
                    if gone.done() or writer.is_closing():
                        answering.cancel()
                        break
                    gone.cancel()
                    with suppress(asyncio.CancelledError):
                        await gone
                    await answering
        finally:
            self.open.discard(writer)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Request:
    """One request, its body included."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    body = b""
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(line, headers, body)


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces: bytes) -> bytes:
    """An answer in pieces."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def sending(answer: bytes, *, cut: bool = False) -> Callable[[Request, asyncio.StreamWriter], Awaitable[None]]:
    """Always these bytes; `cut`: and then the connection is closed."""

    async def send(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if cut:
            writer.close()

    return send


def stalling(answer: bytes) -> Callable[[Request, asyncio.StreamWriter], Awaitable[None]]:
    """These bytes, and then nothing."""

    async def stall(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await asyncio.Event().wait()

    return stall


@asynccontextmanager
async def serving(
    answer: Callable[[Request, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawProvider]:
    """One that runs."""
    provider = RawProvider(answer, scheme="http" if tls is None else "https")
    server = await asyncio.start_server(provider.serve, "127.0.0.1", provider.port, ssl=tls)
    try:
        yield provider
    finally:
        server.close()
        for writer in list(provider.open):
            writer.close()
