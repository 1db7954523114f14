"""A caller's WebSocket after its upgrade, as the runtime uses it."""

from __future__ import annotations

import asyncio

from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.ports import Listener, Transport
from voice_agent.web.served_socket import Connections, ServedSocket
from voice_agent.websocket.keepalive import PING_S
from voice_agent.websocket.loop_scheduler import LoopScheduler
from voice_agent.websocket.message_progress import MESSAGE_S


class CallSocket(ServedSocket, Transport):
    """`runtime.ports.Transport` over a WebSocket."""

    __slots__ = ("_listener", "_reserved_bytes")

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
            transport,
            connections,
            max_message_bytes=max_message_bytes,
            ping_s=ping_s,
            message_s=message_s,
            scheduler=scheduler,
        )
        self._listener: Listener | None = None
        """Set while `deliver` runs."""
        self._reserved_bytes = 0
        """What the listener was told is held."""

    async def deliver(self, listener: Listener) -> int:
        """Give every message to the listener, without a task switch while it takes them at once.

        What it did not take is offered again in a share of its own turn, for it may have worked on it.
        """
        self._listener = listener
        receiver = self._receiver
        try:
            while True:
                if receiver.has_held:
                    await listener.ready()
                if (code := await receiver.pass_messages(listener.take)) is not None:
                    return code
        finally:
            self._listener = None

    def reserve(self, size_bytes: int) -> str | None:
        """Ask the listener, if there is one, while much is held, and once more when it is little again."""
        if self._listener is None or (size_bytes <= FLOOR_BYTES and not self._reserved_bytes):
            return None
        self._reserved_bytes = size_bytes
        return self._listener.reserve(size_bytes)

    def limit_reached(self, limit: str) -> None:
        """Tell the listener, if there is one."""
        if self._listener is not None:
            self._listener.limit_reached(limit)
