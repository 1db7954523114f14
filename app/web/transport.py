"""A caller's WebSocket as the runtime wants it, straight on ASGI's `receive` and `send`.

On the path of every frame: one dictionary looked into, nothing checked or copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Message, Receive, Send

from app.call.closing import BROKEN
from app.runtime.ports import Transport
from app.web.frames import fitting

CLOSE_S = 0.5
"""How long closing may take before the connection is cut."""
NO_STATUS = 1005
GONE = (OSError, RuntimeError)
"""How the server says that a message can no longer be sent."""


class SocketTransport(Transport):
    """`runtime.ports.Transport` over an accepted ASGI WebSocket.

    `abort` cuts the connection without waiting for anything.
    """

    __slots__ = ("_abort", "_closing", "_gone", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send, abort: Callable[[], None]) -> None:
        self._receive = receive
        self._send = send
        self._abort = abort
        self._gone: int | None = None
        self._closing = False

    async def receive(self) -> str | bytes | int:
        """The next message, or the close code; once gone, the code again and again."""
        if self._gone is not None:
            return self._gone
        message = await self._receive()
        if message["type"] == "websocket.receive":
            text: str | None = message.get("text")
            if text is not None:
                return text
            data: bytes = message["bytes"]
            return data
        self._gone = _code(message)
        return self._gone

    async def send(self, text: bytes) -> None:
        """Send; silently nothing once the peer is gone or the connection is closing."""
        if self._closing:
            return
        try:
            await self._send({"type": "websocket.send", "text": text.decode()})
        except GONE:
            self._closing = True

    async def close(self, code: int, reason: str) -> None:
        """Close; a peer that does not even take the close frame is cut off after `CLOSE_S`."""
        if self._closing or self._gone is not None:
            return
        self._closing = True
        frame = {"type": "websocket.close", "code": code, "reason": fitting(reason)}
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._send(frame)
        except TimeoutError:
            self._abort()
        except GONE:
            pass

    def leave(self) -> None:
        """Nobody serves the connection any more: the server closes it behind the app."""


def _code(message: Message) -> int:
    """uvicorn reports a connection that broke as 1005 without a reason; an empty close frame comes with one."""
    code: int = message.get("code", NO_STATUS)
    return BROKEN if code == NO_STATUS and "reason" not in message else code
