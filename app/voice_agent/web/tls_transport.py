"""TLS over an accepted connection, so that no byte of it is out of sight.

An event loop's own TLS tells of a connection only once its handshake is over: one that never ends would stand in no
queue and meet no limit, and nothing could stand before it, as a header of the PROXY protocol does. Here the protocol
has the connection from the start, and waits for its peer as it does without TLS. What is written is encrypted and
given to the transport below at once: what that one has sent is what was sent, and it may be changed for another.

::

    HANDSHAKE --peer's Finished--> ESTABLISHED --close, write_eof: close_notify--> bytes are dropped --> gone
        |--broken: an alert----------------------------------------------------------------------------> gone

Handshakes and records are worked on in shares of the loop's turns (`loop_scheduler`), as frames are: a thousand callers
who connect at once, or one who sends records of one byte, make nobody wait.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from voice_agent.web.tls_session import TlsSession
from voice_agent.websocket.loop_scheduler import LoopScheduler

MAX_IDLE_RECORDS = 32
"""So many records in a row may hold nothing for the protocol. Stops a peer that does nothing but change keys."""
MAX_OWN_BYTES = 64 * 1024
"""What TLS itself has to say may be so much while something waits to be sent. Stops a peer that asks for an answer with
each record, and reads none: they are in nobody's budget."""


class TlsTransport(asyncio.Transport):
    """The server's side. What is written before the handshake is over, or after it was closed, is dropped."""

    def __init__(self, below: asyncio.Transport, context: ssl.SSLContext, protocol: asyncio.Protocol) -> None:
        """Of a connection that has begun, and whose `protocol` goes on over this transport; `begin` comes next."""
        super().__init__()
        self.below = below
        """What carries the encrypted bytes."""
        self._context = context
        self._session = TlsSession(context)
        self._receiver = TlsReceiver(self, self._session, protocol)
        self.is_closed = False
        """Whether it was closed on this side."""
        below.set_protocol(self._receiver)

    def begin(self, data: bytes) -> None:
        """Go on with what came already."""
        self._receiver.data_received(data)

    def move_to(self, below: asyncio.Transport) -> None:
        """Go on over another transport of the same connection, which is not read yet."""
        self._receiver.is_reading = False
        self.below = below
        below.set_protocol(self._receiver)

    # --- asyncio.BaseTransport --------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whom bytes are given to."""
        self._receiver.protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The one that was set last."""
        return self._receiver.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``sslcontext`` and ``ssl_object``, and what the transport below knows."""
        own = {"sslcontext": self._context, "ssl_object": self._session.ssl_object}
        return own.get(name) or self.below.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether it was closed, or the connection was lost."""
        return self.is_closed or self.below.is_closing()

    def close(self) -> None:
        """Say so to the peer, and close once all is sent."""
        if not self.is_closing():
            self._receiver.end_writing()
            self.below.close()
        self.is_closed = True

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        self.is_closed = True
        self.below.abort()

    # --- asyncio.ReadTransport --------------------------------------------------

    def is_reading(self) -> bool:
        """Whether what comes is given to the protocol."""
        return self._receiver.is_reading

    def pause_reading(self) -> None:
        """Leave what comes to the kernel."""
        self._receiver.is_reading = False
        self._receiver.read_below(reads=False)

    def resume_reading(self) -> None:
        """Give what comes to the protocol."""
        self._receiver.is_reading = True
        self._receiver.go_on()

    # --- asyncio.WriteTransport -------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt, and send."""
        if not data or not self._session.is_established or self._receiver.is_write_ended or self.is_closing():
            return
        try:
            self.below.write(self._session.encrypt(data))
        except ssl.SSLError:
            self.abort()  # The peer broke the protocol before.

    def write_eof(self) -> None:
        """Send nothing more. What still comes is given to the protocol as it is, encrypted: only its size counts."""
        self._receiver.end_writing()
        self.below.write_eof()

    def can_write_eof(self) -> bool:
        """As the transport below."""
        return self.below.can_write_eof()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause and to resume writing, in encrypted bytes."""
        self.below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the kernel has not taken."""
        return self.below.get_write_buffer_size()


class TlsReceiver(asyncio.Protocol):
    """What comes over the transport below. `loop_scheduler.Scheduled`."""

    def __init__(self, transport: TlsTransport, session: TlsSession, protocol: asyncio.Protocol) -> None:
        self.is_waiting = False
        self.protocol = protocol
        """Whom decrypted bytes are given to."""
        self.is_reading = True
        """Whether it wants them."""
        self.is_write_ended = False
        self._transport = transport
        self._session = session
        self._scheduler = LoopScheduler.of(asyncio.get_running_loop())
        self._is_peer_done = False
        """Whether the peer said that it sends nothing more."""
        self._is_working = False
        self._own_bytes = 0
        """What TLS said by itself since nothing waited to be sent."""
        self._lost: tuple[Exception | None] | None = None
        """How the connection was lost, until the protocol is told: what came before comes first."""

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Whatever the kernel had; most often one record."""
        if self.is_write_ended:
            self.protocol.data_received(data)
            return
        if self._is_peer_done:
            return  # To be ignored: RFC 8446, section 6.1.
        self._session.feed(data)
        self._scheduler.begin(self)
        if self.is_waiting:
            self.read_below(reads=False)

    def eof_received(self) -> bool:
        """The peer's direction is closed, though it may not have said so in TLS."""
        if self._session.is_established and not self._is_peer_done:
            self._peer_is_done()
        return self._session.is_established and not self._transport.is_closing()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self.protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came. Records that wait for their share are given to the protocol before it is told."""
        self._lost = (error,)
        if not (self.is_waiting and self._wants_more()):
            self._tell_loss()

    # --- for the transport ------------------------------------------------------

    def go_on(self) -> None:
        """The protocol wants bytes: those that wait here come first."""
        if self._is_working:
            return  # `work` goes on with it.
        if self._session.has_more:
            self._scheduler.put_off(self)
        elif not self.is_waiting:
            self.read_below(reads=True)

    def read_below(self, *, reads: bool) -> None:
        """Read from the transport below, or leave what comes to the kernel."""
        below = self._transport.below
        if below.is_closing() or below.is_reading() is reads:
            return
        if reads:
            below.resume_reading()
        else:
            below.pause_reading()

    def end_writing(self) -> None:
        """Tell the peer that nothing more comes."""
        if self._session.is_established and not self.is_write_ended:
            self.is_write_ended = True
            self._session.end()
            self._flush()

    # --- `Scheduled` ------------------------------------------------------------

    def work(self, until_s: float) -> bool:
        """Go on with the handshake, or give the protocol what has come."""
        self._is_working = True
        try:
            has_left = self._give(until_s)
        except ssl.SSLError:
            self._refuse()
            has_left = False
        except Exception as fault:  # noqa: BLE001 - told to the loop, as its own transports do
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a protocol over TLS failed", "exception": fault, "transport": self._transport}
            )
            self._transport.abort()
            has_left = False
        finally:
            self._is_working = False
        if not has_left:
            self._tell_loss()
            if self.is_reading:
                self.read_below(reads=True)
        return has_left

    def _give(self, until_s: float) -> bool:
        """Give records to the protocol; whether some are left that it wants."""
        session, clock = self._session, self._scheduler.clock
        while self._wants_more():
            data = session.read()
            if data:
                self.protocol.data_received(data)
            elif data is None:
                self._flush()
                if session.idle_records > MAX_IDLE_RECORDS:
                    self._transport.abort()
            else:
                self._peer_is_done()
            if not session.has_more:
                return False
            if clock() >= until_s:
                return self._wants_more()
        return False

    # --- inside -----------------------------------------------------------------

    def _wants_more(self) -> bool:
        is_over = self._is_peer_done or self.is_write_ended or self._transport.is_closed
        return self.is_reading and not is_over

    def _flush(self) -> None:
        """Send what TLS has to say by itself."""
        unsent, below = self._session.take_unsent(), self._transport.below
        if not unsent or below.is_closing():
            return
        self._own_bytes = len(unsent) + (self._own_bytes if below.get_write_buffer_size() else 0)
        below.write(unsent)
        if self._own_bytes > MAX_OWN_BYTES:
            self._transport.abort()

    def _peer_is_done(self) -> None:
        self._is_peer_done = True
        self._session.forget()
        if not self.protocol.eof_received():
            self._transport.close()

    def _tell_loss(self) -> None:
        if self._lost is not None:
            (error,), self._lost = self._lost, None
            self._is_peer_done = True
            self.protocol.connection_lost(error)

    def _refuse(self) -> None:
        """The peer speaks none of our TLS: an alert says why, as far as the library has one."""
        self._flush()
        self.is_write_ended = True
        self._transport.close()
