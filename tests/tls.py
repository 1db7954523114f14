"""TLS in front of servers that speak none, with an authority made for one test run."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.waiting import PATIENCE_S

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")

HANDSHAKE = b"\x16"
"""First byte of every TLS connection; no Redis command begins with it."""


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for this machine, which vouches for itself, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    request += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def trusting(certificate: Path) -> ssl.SSLContext:
    """What a client believes who was given this certificate."""
    return ssl.create_default_context(cafile=str(certificate))


class TlsPeer:
    """A client whose records are in its own hands."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        self.socket = socket.socket()
        self._loop = asyncio.get_running_loop()

    async def connect(self, before: bytes = b"", *, is_alone: bool = False) -> None:
        """Shake hands. `before`: what is sent first, in plain, together with the rest or `is_alone`."""
        self.socket.setblocking(False)
        await self._loop.sock_connect(self.socket, ("127.0.0.1", self._port))
        if is_alone:
            self.socket.sendall(before)
            await asyncio.sleep(0)
        else:
            self.outgoing.write(before)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                self.flush()
                return
            self.flush()
            async with asyncio.timeout(PATIENCE_S):
                self.incoming.write(await self._loop.sock_recv(self.socket, 65_536))

    def flush(self) -> None:
        """Send what was written; so little is taken at once."""
        self.socket.sendall(self.outgoing.read())

    def end(self) -> None:
        """Say that nothing more is sent."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.flush()

    async def rest(self) -> bytes:
        """All that the server sends until the end."""
        found = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                while data := await self._loop.sock_recv(self.socket, 65_536):
                    self.incoming.write(data)
        with contextlib.suppress(ssl.SSLError):
            while data := self.tls.read(65_536):
                found += data
        self.socket.close()
        return found


class TlsProxy:
    """A port that leads to another one, with TLS for whoever speaks it and without for the servers among themselves."""

    def __init__(self, behind_port: int, context: ssl.SSLContext) -> None:
        self.port = free_port()
        self.encrypted = 0
        """Connections that spoke TLS."""
        self._behind_port = behind_port
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", self.port), backlog=64) as listening:
            listening.setblocking(False)
            try:
                while True:
                    connection, _ = await loop.sock_accept(listening)
                    task = asyncio.create_task(self._carry(connection))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            context = await self._spoken(connection)
            self.encrypted += context is not None
            # `connect_accepted_socket` by way of the streams: they give a reader and a writer.
            reader = asyncio.StreamReader()
            transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), connection, ssl=context
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._behind_port)
            try:
                await asyncio.gather(_pour(reader, back_writer), _pour(back_reader, writer))
            finally:
                writer.close()
                back_writer.close()

    async def _spoken(self, connection: socket.socket) -> ssl.SSLContext | None:
        """The context if TLS is spoken. Looks at the first byte and leaves it to whoever reads next."""
        connection.setblocking(False)
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            asyncio.get_running_loop().remove_reader(connection)
        return self._context if connection.recv(1, socket.MSG_PEEK) == HANDSHAKE else None


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
    sink.close()


@contextlib.asynccontextmanager
async def tls_proxies(certificate: Path, key: Path, *behind_ports: int) -> AsyncIterator[list[TlsProxy]]:
    """One proxy for each port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    proxies = [TlsProxy(port, context) for port in behind_ports]
    tasks = [asyncio.create_task(proxy.serve()) for proxy in proxies]
    await asyncio.sleep(0)  # Each listens as soon as it has begun.
    try:
        yield proxies
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
