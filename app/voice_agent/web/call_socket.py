"""A caller's WebSocket after its upgrade, straight on the event loop's transport.

uvicorn and ASGI do the handshake: routes, refusals, headers. Then this protocol takes
the connection over, and a message costs neither a queue nor a task switch: what the
event loop reads is parsed and given to the listener in the same callback, and what the
call has to say is written in the callback that learnt that it is durable. ::

    OPEN --close()--> CLOSING --peer's close frame, or CLOSING_S--> GONE
      |--peer's close frame (answered)----------------------------> GONE
      |--protocol broken, no pong: close frame, CLOSE_S-----------> GONE
      |--connection lost------------------------------------------> GONE (1006)

What comes is worked through in shares of the loop's turns (`web.turns`), so that no peer
makes the others wait. Back-pressure, both ways: a message that the listener cannot take is
held, what is behind it stays unread, and reading pauses, so the kernel's window closes;
while the peer does not read, `write` says no and `send` waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from voice_agent.call.closing import CloseCode
from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.ports import Listener, Transport
from voice_agent.web.frame_reader import FrameReader
from voice_agent.web.frames import (
    BINARY,
    CLOSE,
    LONG_BYTES,
    PING,
    PONG,
    SHORT_BYTES,
    TEXT,
    Closing,
    close_frame,
    control_frame,
    only_text,
    text_frame,
)
from voice_agent.web.turns import Turns

CLOSE_S = 0.5
"""How long closing may wait for a peer that does not read before the connection is cut."""
CLOSING_S = 10.0
"""How long the peer has to answer a close frame."""
PING_S = 20.0
"""Pings keep load balancers from taking a silent call for dead (an ALB's idle timeout is 60 s by default); a peer
that has not answered one by the time of the next is dead."""
PROBE = b"?"
"""Content of the ping that asks whether a silent peer is there; the keepalive's have none."""
MESSAGE_S = 30.0
MESSAGE_PROGRESS_BYTES = 32 * 1024
"""An incomplete message grows by so much every `MESSAGE_S`, or the peer is closed: nobody holds halves of messages for
ever, a byte at a time."""
PONGS = 16
"""So many pings of one share are answered one by one, and of more the newest (RFC 6455, section 5.5.3)."""
LARGE_READ_BYTES = 128 * 1024
"""After a read of so much the event loop may read again in the same turn, and again: it is stopped until the next."""
MAX_UNWRITTEN_BYTES = 64 * 1024
"""More than this waiting for the kernel is congestion: a second of audio, more or less."""

_TOO_SLOW = "message_progress: an incomplete message must grow by %d bytes in %g s"

Connections = set[Any]


class CallSocket(asyncio.Protocol, Transport):
    """`runtime.ports.Transport` and the protocol of the connection in one. Made on the event loop that serves it."""

    __slots__ = (
        "_change",
        "_charged_bytes",
        "_connections",
        "_discards",
        "_fault",
        "_gone",
        "_held",
        "_is_open",
        "_listener",
        "_loop",
        "_message_s",
        "_ping_s",
        "_pinged",
        "_probe",
        "_progress",
        "_reader",
        "_reading_paused",
        "_served",
        "_timer",
        "_transport",
        "_turns",
        "_unanswered",
        "_watch",
        "_writable",
        "is_waiting",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: Connections,
        *,
        max_message_bytes: int,
        ping_s: float = PING_S,
        message_s: float = MESSAGE_S,
        turns: Turns | None = None,
    ) -> None:
        """Takes `transport` over. `connections`: the server's set of what it must close before it leaves."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._connections = connections
        self._reader = FrameReader(max_message_bytes)
        self._turns = Turns.of(self._loop) if turns is None else turns
        self.is_waiting = False
        self._reading_paused = not transport.is_reading()
        self._served: Listener | None = None
        """Set while `deliver` runs."""
        self._listener: Listener | None = None
        """Gets messages at once; None while one is held, nobody listens, or the connection is gone."""
        self._held: str | bytes | None = None
        """A message that the listener did not take."""
        self._gone: int | None = None
        """The close code, once there is one."""
        self._charged_bytes = 0
        """What the listener was told is held."""
        self._discards = False
        """Once this side closed: nothing that comes matters but the peer's close frame."""
        self._is_open = True
        """Until a close frame was sent or the connection was lost."""
        self._writable: asyncio.Event | None = None
        """Exists while the peer does not read fast enough."""
        self._unanswered: bytes | None = None
        """The newest ping that is not answered yet: one of many, or the peer does not read."""
        self._fault: Exception | None = None
        self._change: asyncio.Future[None] | None = None
        self._ping_s = ping_s
        self._pinged = False
        self._probe: Callable[[], None] | None = None
        """Called once a ping is answered that was sent to see whether the peer is there."""
        self._timer = self._loop.call_later(ping_s, self._keep_alive)
        self._message_s = message_s
        self._watch: asyncio.TimerHandle | None = None
        """Looks whether the incomplete message grows; exists while there was one not long ago."""
        self._progress = (0, 0)
        """Of the incomplete message when it was looked at last: which it was (`FrameReader.begun`), and its bytes."""
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

    def probe(self, answered: Callable[[], None]) -> None:
        """A ping that can be told from those of the keepalive."""
        if self._is_open and self._probe is None:
            self._probe = answered
            self._transport.write(control_frame(PING, PROBE))

    async def receive(self) -> str | bytes | int:
        """The next message, or the close code; once gone, the code again and again."""
        while self._held is None:
            if self._gone is not None and not self._has_left:
                return self._gone
            await self._changed()
        message, self._held = self._held, None
        self._go_on()
        return message

    async def deliver(self, listener: Listener) -> int:
        """Give every message to the listener, without a task switch while it takes them at once.

        What it did not take is offered again in a share of its turn, for it may have worked on it.
        """
        self._served = listener
        try:
            while True:
                if self._held is not None:
                    await listener.ready()
                if self._fault is not None:
                    raise self._fault
                if self._gone is not None and not self._has_left:
                    return self._gone
                await self._changed(listener)
        finally:
            self._served = None

    async def close(self, code: int, reason: str) -> None:
        """Close; a peer that does not even take the close frame is cut off after `CLOSE_S`."""
        if not self._is_open or self._gone is not None:
            return
        self._gone = code
        self._discard()
        self._tell()
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._writable is not None and self._is_open:
                    await self._writable.wait()
        except TimeoutError:
            self._transport.abort()
        self._send_close(code, reason, CLOSING_S)

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
        turns = self._turns
        listener = self._listener
        if (
            listener is not None
            and self._reader.is_idle
            and (text := only_text(data)) is not None
            and (turns.clock() < turns.ends_s or turns.has_time())
        ):
            try:
                if listener.take(text):
                    return
            except Exception as fault:  # noqa: BLE001 - raised in `deliver`, whose caller knows what to do
                self._break(fault)
                return
            self._hold(text)
            return
        self._reader.feed(data)
        if len(data) < LARGE_READ_BYTES:
            turns.begin(self)
        else:
            turns.put_off(self)
        if self.is_waiting:
            self._pause_reading()

    def work(self, until_s: float) -> bool:
        """See `turns.Worker`: give messages to the listener, answer control frames."""
        reader, clock = self._reader, self._turns.clock
        pings = 0
        if self._held is not None:
            self._offer_again(self._held)
            if clock() >= until_s:
                self._after_work()
                return self._held is None and reader.has_more
        while self._held is None:
            message = reader.read()
            if message is None:
                if not reader.has_more:
                    break
            elif (kind := message[0]) == TEXT or kind == BINARY:
                self._offer(cast("str | bytes", message[1]))
            elif kind == PING:
                pings += 1
                self._ping(cast("bytes", message[1]), at_once=pings <= PONGS)
            else:
                self._control(kind, message[1])
            if clock() >= until_s:
                break
        self._answer_ping()
        self._after_work()
        return self._held is None and reader.has_more

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        self._answer_ping()

    def eof_received(self) -> None:
        """The peer's direction is closed without a close frame: let go of the other one, too."""

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._connections.discard(self)
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        self._is_open = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._gone is None:
            self._gone = CloseCode.ABNORMAL_CLOSURE
        self._tell()

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now."""
        if self._is_open:
            self._gone = CloseCode.SERVICE_RESTART if self._gone is None else self._gone
            self._discard()
            self._send_close(CloseCode.SERVICE_RESTART, "", CLOSE_S)
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
                self._break(fault)
                return
        if not self._discards:
            self._hold(message)

    def _offer_again(self, message: str | bytes) -> None:
        """Give what is held to the listener, if it listens."""
        if self._listener is not None:
            self._held = None
            self._offer(message)

    def _hold(self, message: str | bytes) -> None:
        self._held = message
        self._pause_reading()
        self._tell()

    def _break(self, fault: Exception) -> None:
        """The listener is at fault."""
        self._fault = fault
        self._gone = CloseCode.ABNORMAL_CLOSURE
        self._discard()
        self._tell()

    def _discard(self) -> None:
        """Only the peer's close frame is still of interest."""
        self._discards = True
        self._held = None
        self._reader.skip_messages()

    @property
    def _has_left(self) -> bool:
        """Whether messages came that nobody has got yet."""
        return not self._discards and (self._held is not None or self._reader.has_more)

    def _after_work(self) -> None:
        """Nothing is left, or some of it; all that follows from it."""
        reader = self._reader
        if reader.is_stopped:
            if reader.peer_error is not None and self._is_open:
                self._fail(*reader.peer_error)
            elif self._gone is not None:
                self._tell()
            return
        unread_bytes = reader.held_bytes + (0 if self._held is None else len(self._held))
        if unread_bytes > FLOOR_BYTES or self._charged_bytes:
            self._charge(unread_bytes)
        if reader.has_more or self._held is not None:
            return
        if self._gone is not None:
            self._tell()
        elif self._watch is None and not reader.is_idle:
            self._progress = (reader.begun, reader.held_bytes)
            self._watch = self._loop.call_later(self._message_s, self._look_at_progress)
        self._resume_reading()

    def _charge(self, unread_bytes: int) -> None:
        """Have what is held counted; if that is too much, let go of it and of the peer."""
        if self._served is None:
            return
        self._charged_bytes = unread_bytes
        if (refusal := self._served.reserve(unread_bytes)) is not None:
            self._reader.stop()
            self._fail(CloseCode.TRY_AGAIN_LATER, refusal)
            self._charged_bytes = 0
            self._served.reserve(0)

    def _look_at_progress(self) -> None:
        reader = self._reader
        self._watch = None
        if reader.is_idle or self._gone is not None:
            return
        begun, held_bytes = self._progress
        is_slow = reader.begun == begun and reader.held_bytes < held_bytes + MESSAGE_PROGRESS_BYTES
        if is_slow and not self._reading_paused:
            if self._served is not None:
                self._served.limit_reached("message_progress")
            reader.stop()
            self._fail(CloseCode.POLICY_VIOLATION, _TOO_SLOW % (MESSAGE_PROGRESS_BYTES, self._message_s))
            return
        self._progress = (reader.begun, reader.held_bytes)
        self._watch = self._loop.call_later(self._message_s, self._look_at_progress)

    def _go_on(self) -> None:
        """Work on with what is left, or read more."""
        if self._held is not None:
            self._turns.put_off(self)
        elif self._reader.has_more:
            self._turns.begin(self)
        else:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    async def _changed(self, listener: Listener | None = None) -> None:
        """Go on, giving messages to the listener, until one is held or the connection is gone."""
        self._change = self._loop.create_future()
        self._listener = listener
        try:
            self._go_on()
            await self._change
        finally:
            self._change = self._listener = None

    def _tell(self) -> None:
        """Something is held, or the connection is gone: have `deliver` look."""
        self._listener = None
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _ping(self, content: bytes, *, at_once: bool) -> None:
        """Answer a ping now, or with those after it: one answer, to the newest."""
        self._unanswered = content
        if at_once:
            self._answer_ping()

    def _answer_ping(self) -> None:
        if self._unanswered is not None and self._writable is None and self._is_open:
            self._transport.write(control_frame(PONG, self._unanswered))
            self._unanswered = None

    def _tell_prober(self) -> None:
        answered, self._probe = self._probe, None
        if answered is not None:
            try:
                answered()
            except Exception as fault:  # noqa: BLE001 - as in `_offer`
                self._break(fault)

    def _control(self, kind: int, content: object) -> None:
        if kind == PONG:
            # Any answer is a sign of life, whichever ping it belongs to.
            self._pinged = False
            if content == PROBE:
                self._tell_prober()
        elif kind == CLOSE:
            assert isinstance(content, Closing)
            self._answer_ping()
            if self._gone is None:
                self._gone = content.code
            if self._is_open:
                self._is_open = False
                self._transport.write(close_frame(content.code, content.reason))
            self._reader.stop()
            self._transport.close()
            self._tell()

    def _fail(self, code: int, reason: str) -> None:
        """The peer is at fault: say so and listen no more."""
        if self._gone is None:
            self._gone = code
        self._discard()
        self._send_close(code, reason, CLOSE_S)
        self._tell()

    def _send_close(self, code: int, reason: str, patience_s: float) -> None:
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
        self._go_on()

    def _keep_alive(self) -> None:
        if self._pinged and not self._reading_paused:
            self._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            return
        self._pinged = True
        self._transport.write(control_frame(PING, b""))
        self._timer = self._loop.call_later(self._ping_s, self._keep_alive)
