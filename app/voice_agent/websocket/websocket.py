"""A WebSocket after its upgrade, the server's side, straight on the event loop's transport.

A message costs neither a queue nor a task switch: what the event loop reads is parsed and given away in the same
callback, and what is sent is written where it is made. ::

    OPEN --close()--> CLOSING --peer's close frame, or CLOSING_S--> GONE
      |--peer's close frame (answered)----------------------------> GONE
      |--protocol broken, no pong: close frame, CLOSE_S-----------> GONE
      |--connection lost------------------------------------------> GONE (1006)

What comes is worked on in shares of the loop's turns (`loop_scheduler`), so that no peer makes the others wait.
Back-pressure, both ways: see `message_receiver` and `frame_writer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.frames import CloseCode

from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frame_writer import FrameWriter
from voice_agent.websocket.frames import LONG_BYTES, PONG, SHORT_BYTES, Closing, only_text, text_frame
from voice_agent.websocket.keepalive import PING_S, Keepalive
from voice_agent.websocket.loop_scheduler import LoopScheduler
from voice_agent.websocket.message_progress import MESSAGE_S
from voice_agent.websocket.message_receiver import MessageReceiver

CLOSE_S = 0.5
"""How long closing may wait for a peer that does not read before the connection is cut."""
CLOSING_S = 10.0
"""How long the connection may stand after a close frame: the peer has to answer it, or to read what came before it."""


class WebSocket(asyncio.Protocol):
    """The protocol of a connection's transport. Made on the event loop that serves it.

    A subclass may say what may wait unread (`reserve`), and is told of bounds (`limit_reached`).
    """

    __slots__ = ("_keepalive", "_reader", "_receiver", "_scheduler", "_transport", "_writer")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        max_message_bytes: int,
        ping_s: float = PING_S,
        message_s: float = MESSAGE_S,
        scheduler: LoopScheduler | None = None,
    ) -> None:
        """Takes `transport` over."""
        self._transport = transport
        self._writer = FrameWriter(transport)
        self._reader = FrameReader(max_message_bytes)
        self._scheduler = scheduler or LoopScheduler.of(asyncio.get_running_loop())
        self._receiver = MessageReceiver(
            self, transport, self._writer, self._reader, self._scheduler, message_s=message_s
        )
        self._keepalive = Keepalive(self._writer, ping_s, lambda: not self._receiver.is_paused, self._peer_is_dead)
        transport.set_protocol(self)

    # --- sending and receiving --------------------------------------------------

    def write(self, text: bytes) -> bool:
        """Send one text message (UTF-8) if the peer keeps up; else False: `send` it. True, too, once it is gone."""
        writer = self._writer
        if writer.is_open:
            if writer.drained is not None:
                return False
            size = len(text)
            if SHORT_BYTES <= size < LONG_BYTES:  # `text_frame`, for audio
                self._transport.write(b"\x81\x7e" + size.to_bytes(2, "big") + text)
            else:
                self._transport.write(text_frame(text))
        return True

    async def send(self, text: bytes) -> None:
        """Send one text message as soon as the peer keeps up."""
        await self._writer.send(text)

    def probe(self, answered: Callable[[], None]) -> None:
        """See `Keepalive.probe`."""
        self._keepalive.probe(answered)

    async def receive(self) -> str | bytes | int:
        """See `MessageReceiver.receive`."""
        return await self._receiver.receive()

    # --- closing ----------------------------------------------------------------

    async def close(self, code: int, reason: str) -> None:
        """Close; a peer that does not even take the close frame is cut off after `CLOSE_S`."""
        if not self._writer.is_open or self._receiver.close_code is not None:
            return
        self._stop_receiving(code)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_writable()
        except TimeoutError:
            self._transport.abort()
        self._send_close(code, reason, CLOSING_S)

    def close_at_once(self, code: int) -> None:
        """Send a close frame and close the connection, without waiting for the peer's."""
        if self._writer.is_open:
            self._stop_receiving(code)
            self._send_close(code, "", CLOSE_S)
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Whatever the kernel had; most often one frame of audio, which takes the shortcut."""
        receiver, scheduler = self._receiver, self._scheduler
        take = receiver.take
        if (
            take is not None
            and self._reader.is_idle
            and (text := only_text(data)) is not None
            and (scheduler.clock() < scheduler.ends_s or scheduler.has_time())
        ):
            try:
                if take(text):
                    return
            except Exception as fault:  # noqa: BLE001 - raised in `pass_messages`
                receiver.fault_found(fault)
                return
            receiver.hold(text)
            return
        receiver.feed(data)

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writer.resume()

    def eof_received(self) -> None:
        """The peer's direction is closed without a close frame: the transport closes the other one, too."""

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._keepalive.stop()
        self._writer.lost()
        self._receiver.lost()

    # --- for the receiver -------------------------------------------------------

    def control_received(self, kind: int, content: bytes | Closing) -> None:
        """See `ReceivingSocket`."""
        if isinstance(content, Closing):
            self._writer.answer_ping()
            self._keepalive.stop()
            self._receiver.end(content.code)
            # While bytes wait for a peer that does not read, closing the transport never ends.
            self._writer.close(content.code, content.reason, CLOSING_S)
            self._reader.stop()
            self._transport.close()
            self._receiver.wake()
        elif kind == PONG:
            try:
                self._keepalive.pong_received(content)
            except Exception as fault:  # noqa: BLE001 - raised in `pass_messages`
                self._receiver.fault_found(fault)

    def fail(self, code: int, reason: str) -> None:
        """Tell the peer what it did wrong, and read no more."""
        self._stop_receiving(code)
        self._send_close(code, reason, CLOSE_S)

    def reserve(self, size_bytes: int) -> str | None:
        """See `ReceivingSocket`. Here anything may wait that one message and one read may hold."""
        return None

    def limit_reached(self, limit: str) -> None:
        """See `ReceivingSocket`."""

    # --- inside -----------------------------------------------------------------

    def _stop_receiving(self, code: int) -> None:
        self._receiver.end(code)
        self._receiver.discard()
        self._receiver.wake()

    def _send_close(self, code: int, reason: str, patience_s: float) -> None:
        """Send a close frame, and cut the connection if the peer has not closed it in time.

        It is not closed at once: the kernel would answer what still comes in with a reset, and the peer lose the code.
        """
        if not self._writer.is_open:
            return
        self._keepalive.stop()
        self._writer.close(code, reason, patience_s)
        # The peer's close frame may stand behind audio that is of no use any more.
        self._receiver.go_on()

    def _peer_is_dead(self) -> None:
        self.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
