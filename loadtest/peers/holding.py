"""Calls that connect and stay silent, to see what one costs in memory: that of any server, so they know no protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from voice_agent.call.closing import CloseCode
from voice_agent.websocket.frames import close_frame, masked

HANDSHAKE_S = 20.0
CLOSE = masked(close_frame(CloseCode.NORMAL_CLOSURE, ""), bytes(4))
"""A close frame with 1000: the call is over, the server keeps nothing for it to come back to."""
AT_ONCE = 20
"""So many handshakes are under way at a time."""


class Refused(Exception):
    """A server did not take a call; holds its status line."""


class SilentCaller(asyncio.Protocol):
    """Shakes hands, then reads and forgets."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not registered as such
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look at the answer to the upgrade, and at nothing after it."""
        if self.upgraded.done():
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        status = self._head.partition(b"\r\n")[0].decode(errors="replace")
        if " 101 " in f"{status} ":
            self.upgraded.set_result(None)
        else:
            self.upgraded.set_exception(Refused(f"a call was refused: {status}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Before the upgrade it is a refusal."""
        if not self.upgraded.done():
            self.upgraded.set_exception(Refused("the server closed the connection during the handshake"))

    def hang_up(self) -> None:
        """Close as a caller does who is done."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(CLOSE)
            self._transport.close()


@contextlib.asynccontextmanager
async def silent_calls(url: str, headers: Mapping[str, str], calls: int) -> AsyncIterator[None]:
    """So many calls, connected for the length of a block. Raises `Refused`."""
    target = urlsplit(url)
    request = upgrade_request(url, headers)
    host, port = target.hostname or "127.0.0.1", target.port or 80
    loop = asyncio.get_running_loop()
    callers: list[SilentCaller] = []
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            while len(callers) < calls:
                more = min(AT_ONCE, calls - len(callers))
                made = [loop.create_connection(partial(SilentCaller, request), host, port) for _ in range(more)]
                callers += [caller for _, caller in await asyncio.gather(*made)]
                await asyncio.gather(*(caller.upgraded for caller in callers[-more:]))
        yield
    finally:
        for caller in callers:
            caller.hang_up()


def upgrade_request(url: str, headers: Mapping[str, str]) -> bytes:
    """A WebSocket handshake (RFC 6455, section 4.1) without extensions."""
    target = urlsplit(url)
    lines = [
        f"GET {target.path or '/'}{'?' + target.query if target.query else ''} HTTP/1.1",
        f"Host: {target.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
