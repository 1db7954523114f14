"""An accepted connection until it is a call's: only whole requests within their limits go any further.

::

    OPENING --no header of the PROXY protocol, or a whole one--> READING (over TLS, if that is spoken)
      |--over a limit, not trusted, plain where TLS is spoken--> LINGERING
    READING --whole request--> ANSWERING --answered, kept alive--> READING (idle until the next byte)
      |                          |--upgrade--> handed to `web.upgrade`
      |--over a limit------------|--cannot be parsed--> LINGERING --peer closed, or `LINGER_S`--> gone
      |--`REQUEST_S` over: 408 if anything came--^
      |--one too many wait, the oldest goes----------------------------------------------------> gone

uvicorn and the application see whole requests, one at a time. Each connection stands in one of four
queues (`web.handshakes`): no whole request yet, being answered, idle after an answer, lingering after a
refusal. A refusal lingers because the kernel would answer what still comes in with a reset, and the
peer lose the answer. A peer that does not read is cut: while bytes wait to be sent, closing never ends.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from voice_agent.errors import ConnectionRefused
from voice_agent.settings import is_loopback
from voice_agent.web.exchange import HttpExchange
from voice_agent.web.proxy_protocol import read_proxy_header
from voice_agent.web.refusals import message
from voice_agent.web.request_reader import RequestReader, RequestRefused, is_upgrade_request
from voice_agent.web.tls_transport import TlsTransport
from voice_agent.web.upgrade import Upgrade, UpgradeHead

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

    from voice_agent.web.addresses import Address
    from voice_agent.web.handshakes import Handshakes

LINGER_BYTES = 1024 * 1024
"""So much of what a refused peer still sends is read and dropped meanwhile; then it is no longer read."""
TLS_HANDSHAKE = 0x16
"""With which TLS begins (RFC 8446, section 5.1)."""
UNTRUSTED = "Only an address of VOICE_TRUSTED_PROXIES may begin with the PROXY protocol."


class HandshakeState(Enum):
    """See this module's drawing."""

    OPENING = auto()
    READING = auto()
    ANSWERING = auto()
    LINGERING = auto()


class Handshake(asyncio.Protocol):
    """The protocol of an accepted connection; made as uvicorn makes its own."""

    def __init__(
        self,
        shared: Handshakes,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._shared = shared
        self._config = config
        self._server_state = server_state
        self._connections: set[Any] = server_state.connections
        self._reader = RequestReader()
        self._opening = bytearray()
        """The first bytes, while they may be a header of the PROXY protocol that is not whole."""
        self._state = HandshakeState.OPENING
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        """Who connects; through a balancer that tells it, not the balancer. None: not over TCP."""
        self._client: tuple[str, int] | None = None
        """The same for the application, which grants more to this machine."""
        self._exchange: HttpExchange | None = None
        """Made for the first request that is not refused at once."""
        self._address: Address | None = None
        """Where the caller of the last request for a WebSocket connects from."""
        self._dropped_bytes = 0
        self._is_last = False
        """Set once the peer said that it sends nothing more."""

    # --- asyncio.Protocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = self._client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple | list) else None
        self._connections.add(self)
        self._shared.waits(self)

    def data_received(self, data: bytes) -> None:
        """Collect, and go on once a request is whole."""
        if self._state is HandshakeState.LINGERING:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES:
                self._transport.pause_reading()
            return
        if self._state is HandshakeState.OPENING:
            self._open(data)
            return
        self._reader.feed(data)
        if self._state is HandshakeState.READING:
            self._read_on()
        elif self._reader.has_begun:
            # One request at a time; what came is less than the kernel gives at once.
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The peer does not read its answer."""
        if self._exchange is not None:
            self._exchange.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._exchange is not None:
            self._exchange.resume_writing()

    def eof_received(self) -> bool:
        """The peer sends nothing more; it still gets its answer."""
        self._is_last = True
        return self._state is HandshakeState.ANSWERING

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._connections.discard(self)
        self._shared.leaves(self)
        if self._exchange is not None:
            self._exchange.connection_lost(error)

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now, and waits for an answer under way."""
        if self._state is HandshakeState.ANSWERING and self._exchange is not None:
            self._exchange.shutdown()
        else:
            self._transport.close()

    # --- what the queues ask ----------------------------------------------------

    def time_out(self) -> None:
        """No whole request came in time."""
        if self._reader.has_begun or self._opening:
            late = f"No whole request came within {self._shared.limits.request_s:g} s."
            self.refuse(ConnectionRefused(408, "request_timeout", late))
        else:
            self._transport.close()

    def close(self) -> None:
        """Close; at once if the peer does not take what was sent, for that would never end."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # --- what the exchange asks -------------------------------------------------

    def answered(self) -> None:
        """The answer is complete: the next request may come, or has come already."""
        if self._transport.is_closing() or self._state is not HandshakeState.ANSWERING:
            return  # It still counts as being answered until the peer has taken all.
        self._state = HandshakeState.READING
        self._transport.resume_reading()
        self._shared.idles(self)
        if self._reader.has_begun:
            self._read_on()
        if self._is_last and self._state is HandshakeState.READING:
            self._transport.close()

    def refuse(self, refusal: ConnectionRefused) -> None:
        """Answer, and close once the peer has had the time to read it."""
        if self._transport.is_closing():
            return
        self._shared.observer.refused(refusal.status, refusal.code)
        if isinstance(refusal, RequestRefused) and refusal.limit is not None:
            self._shared.observer.limit_reached(refusal.limit)
        self._state = HandshakeState.LINGERING
        self._reader.take_rest()
        self._transport.write(message(refusal, self._named()))
        self._transport.write_eof()
        self._transport.resume_reading()
        self._shared.lingers(self)

    def upgrade(self, head: UpgradeHead) -> None:
        """A parsed request for a WebSocket: no longer this protocol's."""
        self._connections.discard(self)
        self._shared.leaves(self)
        upgrade = Upgrade(
            self._transport,
            self._server_state,
            self._config.loaded_app,
            self._shared.observer,
            make_socket=self._shared.make_socket,
        )
        addresses = self._shared.rules.addresses
        is_local = self._client is not None and is_loopback(self._client[0])
        head = head._replace(
            address=str(self._address or ""),
            headers=addresses.with_host_asked_for(self._peer, head.headers),
            is_trusted=is_local or addresses.trusts(self._peer),
        )
        upgrade.begin(head, self._reader.take_rest())

    # --- inside -----------------------------------------------------------------

    def _open(self, data: bytes) -> None:
        """Take a header of the PROXY protocol off the first bytes; what is behind it is a request, or TLS."""
        first = bytes(self._opening) + data
        try:
            header = read_proxy_header(first)
            if header is not None and header.size and not self._shared.rules.addresses.trusts(self._peer):
                raise RequestRefused(400, "untrusted_proxy", UNTRUSTED)
        except RequestRefused as refusal:
            self.refuse(refusal)
            return
        if header is None:
            self._opening += data
            return
        self._opening.clear()
        self._state = HandshakeState.READING
        if header.source is not None:
            self._peer = header.source
            # What a balancer passes on is nobody of this machine, whatever it says.
            self._client = None if is_loopback(header.source[0]) else header.source
        rest = first[header.size :]
        if self._shared.certificates is None:
            self.data_received(rest)
        elif rest and rest[0] != TLS_HANDSHAKE:
            self.refuse(ConnectionRefused(400, "tls_required", "This port speaks TLS: take https:// or wss://."))
        else:
            secured = TlsTransport(self._transport, self._shared.certificates.context, self)
            self._transport = secured
            secured.begin(rest)

    def _read_on(self) -> None:
        try:
            request = self._reader.next()
        except RequestRefused as over_limit:
            self.refuse(over_limit)
            return
        if request is None:
            if self._reader.has_begun:
                self._shared.idle.discard(self)
                self._shared.waits(self)
            if self._reader.take_expectation():
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._state = HandshakeState.ANSWERING
        self._shared.answers(self)
        if (refusal := self._refusal_at_once(request)) is not None:
            # Without lingering, for that is half of the cost; callers send nothing before they are answered.
            self._shared.observer.refused(refusal.status, refusal.code)
            self._transport.write(message(refusal, self._named()))
            self._transport.close()
            return
        if self._exchange is None:
            self._exchange = HttpExchange(self, self._config, self._server_state, self._transport, client=self._client)
        if self._reader.has_begun:
            self._transport.pause_reading()
        self._exchange.parse(request)

    def _named(self) -> list[tuple[bytes, bytes]]:
        return [*self._server_state.default_headers, *self._shared.names]

    def _refusal_at_once(self, request: bytes) -> ConnectionRefused | None:
        """The refusal of a request for a WebSocket that need not be parsed for it."""
        if not is_upgrade_request(request):
            return None
        rules = self._shared.rules
        self._address = rules.addresses.of(self._peer, request)
        refusal = rules.refusal(request, self._address)
        if isinstance(refusal, RequestRefused) and refusal.limit is not None:
            self._shared.reached(refusal.limit, rules.rate.per_minute, address=str(self._address))
        return refusal
