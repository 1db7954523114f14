"""A caller's WebSocket after its upgrade, straight on the event loop's transport.

uvicorn and ASGI do the handshake: routes, refusals, headers. Then this protocol takes
the connection over, and a message costs neither a queue nor a task switch: what the
event loop reads is parsed and given to the listener in the same callback, and what the
call has to say is written in the callback that learnt that it is durable. ::

    OPEN --close()--> CLOSING --peer's close frame, or CLOSING_S--> GONE
      |--peer's close frame (answered)----------------------------> GONE
      |--protocol broken, no pong: close frame, CLOSE_S-----------> GONE
      |--connection lost------------------------------------------> GONE (1006)

Back-pressure, both ways: a message that the listener cannot take is held and reading
pauses, so the kernel's window closes; while the peer does not read, `write` says no and
`send` waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from app.call.closing import BROKEN
from app.runtime.ports import Listener, Transport
from app.web.frames import (
    BINARY,
    CLOSE,
    LONG_BYTES,
    PING,
    PONG,
    SHORT_BYTES,
    TEXT,
    Closing,
    FrameReader,
    close_frame,
    control_frame,
    only_text,
    text_frame,
)

CLOSE_S = 0.5
"""How long closing may wait for a peer that does not read before the connection is cut."""
CLOSING_S = 10.0
"""How long the peer has to answer a close frame."""
PING_S = 20.0
"""Pings keep load balancers from taking a silent call for dead (an ALB's idle timeout is 60 s by default); a peer
that has not answered one by the time of the next is dead."""
KEEPALIVE_LOST = 1011
GOING_DOWN = 1012
AT_ONCE = 16
"""So many messages of one caller are taken in one turn of the event loop: a burst must not make all others wait."""
MAX_UNWRITTEN_BYTES = 64 * 1024
"""More than this waiting for the kernel is congestion: a second of audio, more or less."""

Connections = set[Any]


class CallSocket(asyncio.Protocol, Transport):
    """`runtime.ports.Transport` and the protocol of the connection in one. Made on the event loop that serves it."""

    __slots__ = (
        "_change",
        "_connections",
        "_fault",
        "_gone",
        "_held",
        "_is_open",
        "_listener",
        "_loop",
        "_ping_s",
        "_pinged",
        "_reader",
        "_timer",
        "_transport",
        "_unanswered",
        "_writable",
    )

    def __init__(
        self, transport: asyncio.Transport, connections: Connections, *, max_message_bytes: int, ping_s: float = PING_S
    ) -> None:
        """Takes `transport` over. `connections`: the server's set of what it must close before it leaves."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._connections = connections
        self._reader = FrameReader(max_message_bytes)
        self._listener: Listener | None = None
        """Gets messages at once; None while some are held, nobody listens, or the connection is gone."""
        self._held: deque[str | bytes] = deque()
        self._gone: int | None = None
        """The close code, once there is one; from then on nothing more is received."""
        self._is_open = True
        """Until a close frame was sent or the connection was lost."""
        self._writable: asyncio.Event | None = None
        """Exists while the peer does not read fast enough."""
        self._unanswered: bytes | None = None
        """The newest ping that could not be answered, because the peer does not read."""
        self._fault: Exception | None = None
        self._change: asyncio.Future[None] | None = None
        self._ping_s = ping_s
        self._pinged = False
        self._timer = self._loop.call_later(ping_s, self._keep_alive)
        transport.set_write_buffer_limits(high=MAX_UNWRITTEN_BYTES)
        transport.set_protocol(self)
        connections.add(self)

    # --- runtime.ports.Transport ------------------------------------------------

    def write(self, text: bytes) -> bool:
        """One message, if the peer keeps up; see `Transport`."""
        if self._is_open:
            if self._writable is not None:
                return False
            size = len(text)
            if SHORT_BYTES <= size < LONG_BYTES:  # `text_frame`, for audio
                self._transport.write(b"\x81\x7e" + size.to_bytes(2, "big") + text)
            else:
                self._transport.write(text_frame(text))
        return True

    async def send(self, text: bytes) -> None:
        """One message, as soon as there is room for it."""
        while self._writable is not None and self._is_open:
            await self._writable.wait()
        self.write(text)

    async def receive(self) -> str | bytes | int:
        """The next message, or the close code; once gone, the code again and again."""
        while not self._held:
            if self._gone is not None:
                return self._gone
            await self._changed()
        message = self._held.popleft()
        self._resume_reading()
        return message

    async def deliver(self, listener: Listener) -> int:
        """Give every message to the listener, without a task switch while it takes them at once."""
        while True:
            taken = 0
            while self._held:
                if not listener.take(self._held[0]):
                    await listener.ready()
                    continue
                self._held.popleft()
                taken += 1
                if taken % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if self._fault is not None:
                raise self._fault
            if self._gone is not None:
                return self._gone
            self._listener = listener
            self._resume_reading()
            try:
                await self._changed()
            finally:
                self._listener = None

    async def close(self, code: int, reason: str) -> None:
        """Close; a peer that does not even take the close frame is cut off after `CLOSE_S`."""
        if not self._is_open or self._gone is not None:
            return
        self._gone = code
        self._held.clear()
        self._tell()
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._writable is not None and self._is_open:
                    await self._writable.wait()
        except TimeoutError:
            self._transport.abort()
        self._say_goodbye(code, reason, CLOSING_S)

    def leave(self) -> None:
        """Nobody serves the connection any more; closed already, or else cut."""
        if self._is_open:
            self._transport.close()

    @property
    def is_closing(self) -> bool:
        """Whether a close frame was sent and the connection still stands."""
        return not self._is_open and self in self._connections

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Whatever the kernel had; most often one frame of audio, which takes the shortcut."""
        listener = self._listener
        if listener is not None and self._reader.is_idle and (text := only_text(data)) is not None:
            self._offer(text)
            return
        for number, (kind, content) in enumerate(self._reader.feed(data)):
            if number == AT_ONCE:
                self._listener = None  # `deliver` goes on with the rest, and lets others have their turn.
            if kind == TEXT or kind == BINARY:  # noqa: PLR1714, SIM109 - for every frame, and quicker than `in`
                self._offer(cast("str | bytes", content))
            else:
                self._control(kind, content)
        if self._reader.mistake is not None and self._is_open:
            self._fail(*self._reader.mistake)

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._unanswered is not None and self._is_open:
            self._transport.write(control_frame(PONG, self._unanswered))
            self._unanswered = None

    def eof_received(self) -> None:
        """The peer's direction is closed without a close frame: let go of the other one, too."""

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._connections.discard(self)
        self._timer.cancel()
        self._is_open = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._gone is None:
            self._gone = BROKEN
        self._tell()

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now."""
        if self._is_open:
            self._gone = GOING_DOWN if self._gone is None else self._gone
            self._say_goodbye(GOING_DOWN, "", CLOSE_S)
            self._tell()
        self._transport.close()

    # --- inside -----------------------------------------------------------------

    def _offer(self, message: str | bytes) -> None:
        """Give a message to the listener, or hold it back."""
        if self._listener is not None:
            try:
                if self._listener.take(message):
                    return
            except Exception as fault:  # noqa: BLE001 - raised in `deliver`, whose caller knows what to do
                self._fault = fault
                self._gone = BROKEN
                self._tell()
                return
        elif self._gone is not None:
            return
        self._held.append(message)
        if len(self._held) == 1 and not self._transport.is_closing():
            self._transport.pause_reading()
        self._tell()

    def _resume_reading(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._transport.resume_reading()

    async def _changed(self) -> None:
        """Wait until something is held, or the connection is gone."""
        self._change = self._loop.create_future()
        try:
            await self._change
        finally:
            self._change = None

    def _tell(self) -> None:
        """Something is held, or the connection is gone: have `deliver` look."""
        self._listener = None
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _control(self, kind: int, content: object) -> None:
        if kind == PING:
            assert isinstance(content, bytes)
            if self._writable is not None:
                self._unanswered = content  # One answer to the newest is enough (RFC 6455, section 5.5.3).
            elif self._is_open:
                self._transport.write(control_frame(PONG, content))
        elif kind == PONG:
            # Any answer is a sign of life, whichever ping it belongs to.
            self._pinged = False
        elif kind == CLOSE:
            assert isinstance(content, Closing)
            if self._gone is None:
                self._gone = content.code
            if self._is_open:
                self._is_open = False
                self._transport.write(close_frame(content.code, content.reason))
            self._transport.close()
            self._tell()

    def _fail(self, code: int, reason: str) -> None:
        """The peer is at fault: say so and listen no more."""
        if self._gone is None:
            self._gone = code
        self._say_goodbye(code, reason, CLOSE_S)
        self._tell()

    def _say_goodbye(self, code: int, reason: str, patience_s: float) -> None:
        """Send a close frame, and cut the connection if the peer has not closed it in time.

        It is not closed at once: the kernel would answer what still comes in with a reset, and the peer lose the code.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._transport.write(close_frame(code, reason))
        self._timer.cancel()
        self._timer = self._loop.call_later(patience_s, self._transport.abort)
        # The peer's close frame may stand behind audio that nobody wants any more.
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _keep_alive(self) -> None:
        if self._pinged:
            self._fail(KEEPALIVE_LOST, "keepalive ping timeout")
            return
        self._pinged = True
        self._transport.write(control_frame(PING, b""))
        self._timer = self._loop.call_later(self._ping_s, self._keep_alive)
