"""A connection between a simulated caller and a pod: in order, a moment each way, broken when the pod is gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from voice_agent.call.closing import CloseCode
from voice_agent.runtime.ports import Transport
from voice_agent.testing.virtual_loop import VirtualLoop

WIRE_S = 0.01
"""One way."""


class Lane:
    """One direction."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.is_closed = False
        """Nothing more is taken."""
        self._loop = loop
        self._arrived: deque[str | int | Callable[[], None]] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, message: str | int | Callable[[], None]) -> None:
        """Send; a number ends the lane."""
        if not self.is_closed:
            self.is_closed = isinstance(message, int)
            self._loop.at(WIRE_S, self._arrive, message)

    def _arrive(self, message: str | int | Callable[[], None]) -> None:
        self._arrived.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> str | int | Callable[[], None]:
        """The next message."""
        while not self._arrived:
            self._reader = self._loop.create_future()
            await self._reader
        return self._arrived.popleft()


class SimulatedLine(Transport):
    """A WebSocket; the pod's side is a `Transport`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._up, self._down = Lane(loop), Lane(loop)

    # --- the caller's side

    def tell(self, text: str) -> None:
        """The caller sends."""
        self._up.put(text)

    async def next(self) -> str | int:
        """The next text, or the close code once the connection is gone."""
        message = await self._down.get()
        assert not callable(message)
        return message

    def leave(self, code: int) -> None:
        """The caller closes."""
        self._up.put(code)

    def broke(self) -> None:
        """The pod is gone."""
        self._down.put(CloseCode.ABNORMAL_CLOSURE)

    # --- the pod's side

    async def receive(self) -> str | bytes | int:
        """See `Transport`."""
        while callable(message := await self._up.get()):
            message()
        return message

    def probe(self, answered: Callable[[], None]) -> None:
        """See `Transport`."""
        self._up.put(answered)

    def write(self, text: bytes) -> bool:
        """See `Transport`."""
        self._down.put(text.decode())
        return True

    async def send(self, text: bytes) -> None:
        """See `Transport`."""
        self.write(text)

    async def close(self, code: int, reason: str) -> None:
        """See `Transport`."""
        self._down.put(code)
        self._up.put(CloseCode.ABNORMAL_CLOSURE)
