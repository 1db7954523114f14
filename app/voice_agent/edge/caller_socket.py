"""A caller's WebSocket: appended audio goes on in the frame in which it came, and it is known what the caller has."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from voice_agent.edge.appends import Append, leading_appends
from voice_agent.edge.raw_transport import RawTransport, unacknowledged_bytes
from voice_agent.runtime.budget import Holder
from voice_agent.web.served_socket import Connections, ServedSocket
from voice_agent.web.tls_transport import TlsTransport

MAX_UNREAD_BYTES = 1024 * 1024
"""So much may wait for a caller who does not read; then nothing more is read from the pod."""
MAX_UNACKNOWLEDGED_EVENTS = 4096
"""So many are told apart; of more, the oldest are known to have arrived with a newer one."""


class CallerListener(Protocol):
    """What is done with what a caller sends."""

    def take_audio(self, data: bytes, appends: Sequence[Append]) -> bool:
        """Appends without an id, and their frames as they came, one behind the other. False: not now."""

    def take(self, message: str | bytes) -> bool:
        """Any other message, as `MessageReceiver` gives it. False: not now."""

    async def ready(self) -> None:
        """Wait until `take` and `take_audio` may say yes."""

    def caller_is_slow(self, *, slow: bool) -> None:
        """The caller does not read what it is sent, or does again."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short."""


class CallerSocket(ServedSocket):
    """`deliver` serves it."""

    __slots__ = ("_listener", "_passed_bytes", "_raw", "_sent", "_unread")

    def __init__(self, transport: asyncio.Transport, connections: Connections, *, max_message_bytes: int) -> None:
        super().__init__(transport, connections, max_message_bytes=max_message_bytes)
        transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        below = transport.below if isinstance(transport, TlsTransport) else transport
        self._raw = below if isinstance(below, RawTransport) else None
        """Counts what was written; None where the connection could not be taken from the event loop's transport."""
        self._listener: CallerListener | None = None
        """Set while `deliver` runs."""
        self._unread: Holder | None = None
        self._passed_bytes = 0
        self._sent: deque[tuple[int, int]] = deque(maxlen=MAX_UNACKNOWLEDGED_EVENTS)
        """Numbers of events, and where each ends in all that was written."""

    async def deliver(self, listener: CallerListener) -> int:
        """Give the listener what the caller sends until the connection is over; returns the close code."""
        self._listener = listener
        receiver = self._receiver
        while True:
            if receiver.has_held:
                await listener.ready()
            if (code := await receiver.pass_messages(listener.take)) is not None:
                return code

    def pass_on(self, data: bytes, number: int, *, counts: bool) -> None:
        """See `CallerWriter`."""
        if self._writer.is_open:
            self._transport.write(data)
            if counts:
                self._passed_bytes += len(data)
                ends_at = self._passed_bytes if self._raw is None else self._raw.queued_bytes
                self._sent.append((number, ends_at))

    def newest_acknowledged(self) -> int:
        """Number of the newest event of which the caller's kernel has every byte; 0 if none is new since the last time.

        Over TLS an event's bytes are those of the records in which it is: they are written with it. Where bytes are not
        counted, it is all that was sent, or nothing.
        """
        newest, sent, transport = 0, self._sent, self._transport
        if not sent or transport.is_closing():
            return 0
        unacknowledged = transport.get_write_buffer_size() + unacknowledged_bytes(transport.get_extra_info("socket"))
        if self._raw is not None:
            acknowledged = self._raw.queued_bytes - unacknowledged
        elif unacknowledged:
            return 0
        else:
            acknowledged = self._passed_bytes
        while sent and sent[0][1] <= acknowledged:
            newest = sent.popleft()[0]
        return newest

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """As `WebSocket` does; appends without an id, which is nearly all, are not taken out of their frames."""
        if self._receiver.take is not None and self._listener is not None and self._reader.is_idle:
            appends, end = leading_appends(data)
            if end == len(data):
                if self._listener.take_audio(data, appends):
                    return
            elif end and self._listener.take_audio(data[:end], appends):
                data = data[end:]
        super().data_received(data)

    def pause_writing(self) -> None:
        """The caller does not read."""
        super().pause_writing()
        if self._listener is not None:
            self._listener.caller_is_slow(slow=True)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._listener is not None:
            self._listener.caller_is_slow(slow=False)

    def charge(self, unread: Holder) -> None:
        """Hold what waits here, incomplete or not taken, of the edge's budget."""
        self._unread = unread

    def reserve(self, size_bytes: int) -> str | None:
        """See `ReceivingSocket`."""
        if self._unread is None or self._unread.resize(size_bytes):
            return None
        self.limit_reached("edge_incomplete_messages")
        return f"incomplete_messages: no room, of {self._unread.budget.limit_bytes} bytes for all callers: try again"

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        super().connection_lost(error)
        if self._unread is not None:
            self._unread.release()

    def limit_reached(self, limit: str) -> None:
        """Tell the listener."""
        if self._listener is not None:
            self._listener.limit_reached(limit)
