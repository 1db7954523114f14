"""What is sent to a WebSocket's peer: frames, as fast as the peer reads, and at last the close frame."""

from __future__ import annotations

import asyncio

from voice_agent.websocket.frames import PING, PONG, close_frame, control_frame, text_frame

MAX_UNWRITTEN_BYTES = 64 * 1024
"""More than this waiting for the kernel is congestion: a second of audio, more or less."""


class FrameWriter:
    """The sending half of one connection."""

    __slots__ = ("_cut", "_transport", "_unanswered", "drained", "is_open")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_open = True
        """Until a close frame was sent or the connection was lost; nothing is sent afterwards."""
        self.drained: asyncio.Event | None = None
        """Exists while the peer does not read fast enough; set once it does, or once the connection is lost."""
        self._transport = transport
        self._unanswered: bytes | None = None
        """The newest ping that is not answered yet: one of many, or the peer does not read."""
        self._cut: asyncio.TimerHandle | None = None
        """Cuts the connection when the peer does not close it; exists after a close frame."""
        transport.set_write_buffer_limits(high=MAX_UNWRITTEN_BYTES)

    async def wait_writable(self) -> None:
        """Wait until the peer keeps up, or nothing is sent any more."""
        while self.drained is not None and self.is_open:
            await self.drained.wait()

    async def send(self, text: bytes) -> None:
        """One text message, as soon as the peer keeps up; nothing once the connection is not open."""
        await self.wait_writable()
        if self.is_open:
            self._transport.write(text_frame(text))

    def ping(self, content: bytes) -> None:
        """Ask for a pong with this content, of at most 125 bytes."""
        if self.is_open:
            self._transport.write(control_frame(PING, content))

    def pong(self, content: bytes, *, at_once: bool) -> None:
        """Answer a ping, now or by `answer_ping`: then one answer, to the newest (RFC 6455, section 5.5.3)."""
        self._unanswered = content
        if at_once:
            self.answer_ping()

    def answer_ping(self) -> None:
        """Answer the newest ping, if that is still to be done and the peer keeps up."""
        if self._unanswered is not None and self.drained is None and self.is_open:
            self._transport.write(control_frame(PONG, self._unanswered))
            self._unanswered = None

    def close(self, code: int, reason: str, patience_s: float) -> None:
        """Send the close frame, the last one, and cut the connection if it still stands after `patience_s`."""
        if self.is_open:
            self.is_open = False
            self._transport.write(close_frame(code, reason))
            self._cut = asyncio.get_running_loop().call_later(patience_s, self._transport.abort)

    def pause(self) -> None:
        """The peer does not keep up."""
        self.drained = asyncio.Event()

    def resume(self) -> None:
        """The peer has caught up."""
        self._release()
        self.answer_ping()

    def lost(self) -> None:
        """The connection is gone."""
        self.is_open = False
        if self._cut is not None:
            self._cut.cancel()
        self._release()

    def _release(self) -> None:
        if self.drained is not None:
            self.drained.set()
            self.drained = None
