"""What a WebSocket's peer sends: read in shares of the event loop's turns, and given away or held.

::

    bytes --feed--> reader --`work`, in shares--> `take` --taken--> the next one
                                                    |
                                                    | not taken, or there is no `take`
                                                    v
                                                  held, and reading is paused until it is taken

While a message is held, what is behind it stays unread, and the kernel's window closes. Control frames are
answered where they stand between the messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from websockets.frames import CloseCode

from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frame_writer import FrameWriter
from voice_agent.websocket.frames import BINARY, PING, TEXT, Closing
from voice_agent.websocket.loop_scheduler import LoopScheduler
from voice_agent.websocket.message_progress import MessageProgress

PONGS = 16
"""So many pings of one share are answered one by one, and of more the newest (RFC 6455, section 5.5.3)."""
LARGE_READ_BYTES = 128 * 1024
"""After a read of so much the event loop may read again in the same turn, and again: it is stopped until the next."""

Take = Callable[[str | bytes], bool]
"""Takes a message; False if it cannot now. Text comes as str, or as its UTF-8 if it is large; binary as bytes."""


class ReceivingSocket(Protocol):
    """What a receiver asks of its connection."""

    def control_received(self, kind: int, content: bytes | Closing) -> None:
        """A pong or a close frame came."""

    def fail(self, code: int, reason: str) -> None:
        """The peer is at fault: close with this."""

    def reserve(self, size_bytes: int) -> str | None:
        """So many bytes wait here, incomplete or not taken. None, or the reason why that is too much."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short."""


class MessageReceiver:
    """The receiving half of one connection. `loop_scheduler.Scheduled` for its work."""

    __slots__ = (
        "_change",
        "_discards",
        "_fault",
        "_held",
        "_progress",
        "_socket",
        "_transport",
        "_writer",
        "close_code",
        "is_paused",
        "is_waiting",
        "reader",
        "scheduler",
        "take",
    )

    def __init__(
        self,
        socket: ReceivingSocket,
        transport: asyncio.Transport,
        writer: FrameWriter,
        reader: FrameReader,
        scheduler: LoopScheduler,
        message_s: float,
    ) -> None:
        self.reader = reader
        self.scheduler = scheduler
        self.take: Take | None = None
        """Gets messages at once; None while one is held, nothing takes them, or the connection is gone."""
        self.close_code: int | None = None
        """Set once this side or the peer closed, or the connection was lost."""
        self.is_waiting = False
        self.is_paused = not transport.is_reading()
        """Whether reading from the transport is paused."""
        self._socket = socket
        self._transport = transport
        self._writer = writer
        self._held: str | bytes | None = None
        """A message that was not taken."""
        self._discards = False
        """Once this side closed: nothing that comes matters but the peer's close frame."""
        self._fault: Exception | None = None
        """What `take` raised."""
        self._change: asyncio.Future[None] | None = None
        """Exists while `pass_messages` or `receive` waits."""
        self._progress = MessageProgress(reader, message_s, lambda: not self.is_paused, self._message_is_slow)

    # --- for the task that wants messages --------------------------------------------

    @property
    def has_held(self) -> bool:
        """Whether a message was not taken, and is given again by the next `pass_messages` or `receive`."""
        return self._held is not None

    async def receive(self) -> str | bytes | int:
        """The next message, or the close code; once gone, the code again and again."""
        while self._held is None:
            if (code := await self.pass_messages(None)) is not None:
                return code
        message, self._held = self._held, None
        self.go_on()
        return message

    async def pass_messages(self, take: Take | None) -> int | None:
        """Give messages to `take` where they are read, until one is not taken (None) or none is left (the close code).

        Raises what `take` raised. To be called again after None; what was not taken is given again first, in a share
        of its own, for taking may mean work.
        """
        if self._fault is not None:
            raise self._fault
        if self.close_code is not None and not self._has_left:
            return self.close_code
        self._change = asyncio.get_running_loop().create_future()
        self.take = take
        try:
            self.go_on()
            await self._change
        finally:
            self._change = self.take = None
        return None

    # --- for the connection ------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Work on what came, as far as there is time in this turn of the loop."""
        self.reader.feed(data)
        if len(data) < LARGE_READ_BYTES:
            self.scheduler.begin(self)
        else:
            self.scheduler.put_off(self)
        if self.is_waiting:
            self._pause()

    def hold(self, message: str | bytes) -> None:
        """A message was not taken."""
        self._held = message
        self._pause()
        self.wake()

    def fault_found(self, fault: Exception) -> None:
        """What takes messages raised: `pass_messages` raises it, and its caller knows what to do."""
        self._fault = fault
        self.discard()
        self.wake()

    def end(self, code: int) -> None:
        """The connection is closed with `code`, unless it was closed before."""
        if self.close_code is None:
            self.close_code = code
            self._progress.stop()

    def discard(self) -> None:
        """Only the peer's close frame is still of interest."""
        self._discards = True
        self._held = None
        self.reader.skip_messages()

    def wake(self) -> None:
        """A message is held, or the connection is gone: have the waiting task look."""
        self.take = None
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def go_on(self) -> None:
        """Work on with what is left, or read more."""
        if self._held is not None:
            self.scheduler.put_off(self)
        elif self.reader.has_more:
            self.scheduler.begin(self)
        else:
            self._resume()

    def lost(self) -> None:
        """The connection is gone; what came before is still given."""
        self.end(CloseCode.ABNORMAL_CLOSURE)
        self.wake()

    def work(self, until_s: float) -> bool:
        """See `Scheduled`: give messages away, answer control frames."""
        reader, clock = self.reader, self.scheduler.clock
        pings = 0
        if self._held is not None:
            if self.take is not None:
                message, self._held = self._held, None
                self._offer(message)
            if clock() >= until_s:
                self._after_work()
                return self._held is None and reader.has_more
        while self._held is None:
            frame = reader.read()
            if frame is None:
                if not reader.has_more:
                    break
            elif (kind := frame[0]) == TEXT or kind == BINARY:
                self._offer(cast("str | bytes", frame[1]))
            elif kind == PING:
                pings += 1
                self._writer.pong(cast("bytes", frame[1]), at_once=pings <= PONGS)
            else:
                self._socket.control_received(kind, cast("bytes | Closing", frame[1]))
            if clock() >= until_s:
                break
        self._writer.answer_ping()
        self._after_work()
        return self._held is None and reader.has_more

    # --- inside --------------------------------------------------------------------------

    @property
    def _has_left(self) -> bool:
        """Whether messages came that were given to nothing yet."""
        return not self._discards and (self._held is not None or self.reader.has_more)

    def _offer(self, message: str | bytes) -> None:
        """Give a message away, or hold it back."""
        if self.take is not None:
            try:
                if self.take(message):
                    return
            except Exception as fault:  # noqa: BLE001 - raised in `pass_messages`
                self.fault_found(fault)
                return
        if not self._discards:
            self.hold(message)

    def _after_work(self) -> None:
        """Nothing is left, or some of it; all that follows from it."""
        reader = self.reader
        if reader.is_stopped:
            if reader.peer_error is not None:
                self._socket.fail(*reader.peer_error)
            return
        unread_bytes = reader.held_bytes + (0 if self._held is None else len(self._held))
        if (refusal := self._socket.reserve(unread_bytes)) is not None:
            reader.stop()
            self._socket.fail(CloseCode.TRY_AGAIN_LATER, refusal)
            self._socket.reserve(0)
        if reader.has_more or self._held is not None:
            return
        if self.close_code is not None:
            self.wake()
        elif not reader.is_idle:
            self._progress.watch()
        self._resume()

    def _message_is_slow(self, reason: str) -> None:
        self._socket.limit_reached("message_progress")
        self.reader.stop()
        self._socket.fail(CloseCode.POLICY_VIOLATION, reason)

    def _pause(self) -> None:
        if not self.is_paused and not self._transport.is_closing():
            self.is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self.is_paused and not self._transport.is_closing():
            self.is_paused = False
            self._transport.resume_reading()
