"""A caller's WebSocket as a uvicorn server keeps it: one of the connections that are to be closed before it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voice_agent.call.closing import CloseCode
from voice_agent.websocket.keepalive import PING_S
from voice_agent.websocket.loop_scheduler import LoopScheduler
from voice_agent.websocket.message_progress import MESSAGE_S
from voice_agent.websocket.websocket import WebSocket

Connections = set[Any]


class ServedSocket(WebSocket):
    """uvicorn and ASGI do the handshake: routes, refusals, headers. Then this protocol takes the connection over."""

    __slots__ = ("_connections",)

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: Connections,
        *,
        max_message_bytes: int,
        ping_s: float = PING_S,
        message_s: float = MESSAGE_S,
        scheduler: LoopScheduler | None = None,
    ) -> None:
        """Takes `transport` over. `connections`: the server's set of what it must close before it leaves."""
        super().__init__(
            transport, max_message_bytes=max_message_bytes, ping_s=ping_s, message_s=message_s, scheduler=scheduler
        )
        self._connections = connections
        connections.add(self)

    def leave(self) -> None:
        """The call is served no more: the connection is closing already, or else it is closed without a close frame."""
        if self._writer.is_open:
            self._transport.close()

    @property
    def is_closing(self) -> bool:
        """Whether a close frame was sent and the connection still stands."""
        return not self._writer.is_open and self in self._connections

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now."""
        self.close_at_once(CloseCode.SERVICE_RESTART)

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._connections.discard(self)
        super().connection_lost(error)


MakeSocket = Callable[[asyncio.Transport, Connections], ServedSocket]
"""Makes what takes an accepted connection over."""
