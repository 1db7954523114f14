"""An accepted connection until it is a call's: only whole requests within their limits go any further.

::

    READING --whole request--> ANSWERING --answered, kept alive--> READING (idle until the next byte)
      |                          |--upgrade--> handed to `web.upgrade`
      |--over a limit------------|--cannot be parsed--> LINGERING --peer closed, or `LINGER_S`--> gone
      |--`REQUEST_S` over: 408 if anything came--^
      |--one too many wait, the oldest goes----------------------------------------------------> gone

uvicorn and the application see whole requests, one at a time. Each connection stands in one of four
queues (`web.waiting`): no whole request yet, being answered, idle after an answer, lingering after a
refusal. A refusal lingers because the kernel would answer what still comes in with a reset, and the
peer lose the answer. A peer that does not read is cut: while bytes wait to be sent, closing never ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

import structlog

from app.errors import ConnectionRefused
from app.web.addresses import CallerAddresses, ConnectRate
from app.web.exchange import Exchange
from app.web.parameters import is_resume
from app.web.refusals import message, names_of
from app.web.request_reader import RequestReader, RequestRefused, is_upgrade_request
from app.web.upgrade import Upgrade, UpgradeHead
from app.web.waiting import Waiting

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

    from app.web.ports import LeavingPod

REQUEST_S = 10
"""From connecting, or the first byte of a later request, to a whole request. Stops sockets that say nothing."""
ANSWER_S = 60
"""From a whole request to an answer that the peer has taken. Stops peers that ask and do not read."""
ANSWERING = 256
"""Answers under way at once, upgrades not counted."""
LINGER_S = 5
"""How long a refused peer has to read why."""
LINGER_BYTES = 1024 * 1024
"""So much of what a refused peer still sends is read and dropped meanwhile; then it is no longer read."""
LINGERING = 64
"""Refused connections that linger at once."""
IDLE_S = 200
"""How long a connection may be idle between two requests: longer than balancers keep theirs (an ALB 60 s, our
Terraform 180 s), or they would send a request into a connection that is being closed."""
IDLE = 256
"""Idle connections. Stops peers that ask one thing each and then keep the socket; balancers need a few dozen."""
WAITING_BESIDE_CALLS = 64
QUIET_S = 60
"""Connections that went for others are logged once in so many seconds."""

NEW_CALL = re.compile(rb"GET (?:/v1)?/realtime(?:\?([^ ]*))? HTTP/1\.1\r?\n")
NAMES_CALL = re.compile(rb"(?:^|&)call_(?:id|key)=")

log = structlog.get_logger(__name__)


def waiting_limit(capacity: int) -> int:
    """How many connections may wait without ever having sent a whole request."""
    return 2 * capacity + WAITING_BESIDE_CALLS


@dataclass(frozen=True, slots=True)
class HandshakeLimits:
    """See docs/limits.md."""

    waiting: int
    request_s: float = REQUEST_S
    answering: int = ANSWERING
    answer_s: float = ANSWER_S
    idle: int = IDLE
    idle_s: float = IDLE_S
    lingering: int = LINGERING
    linger_s: float = LINGER_S

    @property
    def connections(self) -> int:
        """How many connections there may be that are no calls."""
        return self.waiting + self.answering + self.idle + self.lingering


class Handshakes:
    """What all connections of a server share before they are calls. `expire` is to be called ten times a second."""

    def __init__(
        self,
        pod: LeavingPod,
        addresses: CallerAddresses,
        limits: HandshakeLimits,
        rate: ConnectRate,
        now_s: Callable[[], float],
    ) -> None:
        self.pod = pod
        self.names = names_of(pod.name, pod.color)
        self.observer = pod.observer
        self.addresses = addresses
        self.rate = rate
        self.limits = limits
        self.waiting = Waiting[Handshake](limits.waiting, limits.request_s, now_s)
        self.answering = Waiting[Handshake](limits.answering, limits.answer_s, now_s)
        self.idle = Waiting[Handshake](limits.idle, limits.idle_s, now_s)
        self.lingering = Waiting[Handshake](limits.lingering, limits.linger_s, now_s)
        self._now_s = now_s
        self._log_again_at: dict[str, float] = {}

    def expire(self) -> None:
        """Let go of connections that have waited too long."""
        while (late := self.waiting.pop_overdue()) is not None:
            self.observer.limit_reached("request_seconds")
            late.time_out()
        while (unread := self.answering.pop_overdue()) is not None:
            self.observer.limit_reached("answer_seconds")
            unread.abort()
        while (idle := self.idle.pop_overdue()) is not None:
            idle.close()
        while (lingering := self.lingering.pop_overdue()) is not None:
            lingering.abort()

    def waits(self, connection: Handshake) -> None:
        """A connection waits for its peer to send a whole request."""
        if (oldest := self.waiting.add(connection)) is not None:
            self.reached("waiting_sockets", self.limits.waiting)
            oldest.abort()

    def answers(self, connection: Handshake) -> None:
        """A whole request came."""
        self.leaves(connection)
        if (oldest := self.answering.add(connection)) is not None:
            self.reached("answering_sockets", self.limits.answering)
            oldest.abort()

    def idles(self, connection: Handshake) -> None:
        """A connection has had its answer."""
        self.leaves(connection)
        if (oldest := self.idle.add(connection)) is not None:
            self.reached("idle_sockets", self.limits.idle)
            oldest.close()

    def lingers(self, connection: Handshake) -> None:
        """A connection was refused."""
        self.leaves(connection)
        if (oldest := self.lingering.add(connection)) is not None:
            oldest.abort()

    def leaves(self, connection: Handshake) -> None:
        """A connection waits for nothing."""
        self.waiting.discard(connection)
        self.answering.discard(connection)
        self.idle.discard(connection)
        self.lingering.discard(connection)

    def reached(self, limit: str, size: int, **more: object) -> None:
        """Count what a limit cut short, and log it unless that was done just now: an attacker sets the pace."""
        self.observer.limit_reached(limit)
        if self._now_s() >= self._log_again_at.get(limit, 0.0):
            self._log_again_at[limit] = self._now_s() + QUIET_S
            log.warning("limit reached", limit=limit, size=size, **more)


class State(Enum):
    """See this module's drawing."""

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
        self._state = State.READING
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        """Made for the first request that is not refused at once."""
        self._dropped_bytes = 0
        self._is_last = False
        """Set once the peer said that it sends nothing more."""

    # --- asyncio.Protocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._shared.waits(self)

    def data_received(self, data: bytes) -> None:
        """Collect, and go on once a request is whole."""
        if self._state is State.LINGERING:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES:
                self._transport.pause_reading()
            return
        self._reader.feed(data)
        if self._state is State.READING:
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
        return self._state is State.ANSWERING

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        self._connections.discard(self)
        self._shared.leaves(self)
        if self._exchange is not None:
            self._exchange.connection_lost(error)

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now, and waits for an answer under way."""
        if self._state is State.ANSWERING and self._exchange is not None:
            self._exchange.shutdown()
        else:
            self._transport.close()

    # --- what the queues ask ----------------------------------------------------

    def time_out(self) -> None:
        """No whole request came in time."""
        if self._reader.has_begun:
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
        if self._transport.is_closing() or self._state is not State.ANSWERING:
            return  # It still counts as being answered until the peer has taken all.
        self._state = State.READING
        self._transport.resume_reading()
        self._shared.idles(self)
        if self._reader.has_begun:
            self._read_on()
        if self._is_last and self._state is State.READING:
            self.close()

    def refuse(self, refusal: ConnectionRefused) -> None:
        """Answer, and close once the peer has had the time to read it."""
        if self._transport.is_closing():
            return
        self._shared.observer.refused(refusal.status, refusal.code)
        if isinstance(refusal, RequestRefused) and refusal.limit is not None:
            self._shared.observer.limit_reached(refusal.limit)
        self._state = State.LINGERING
        self._reader.take_rest()
        self._transport.write(message(refusal, self._named()))
        self._transport.write_eof()
        self._transport.resume_reading()
        self._shared.lingers(self)

    def upgrade(self, head: UpgradeHead) -> None:
        """A parsed request for a WebSocket: no longer this protocol's, unless the caller connects too often."""
        address = self._shared.addresses.of(head.client[0] if head.client else None, head.headers)
        rate = self._shared.rate
        path, _, query = head.url.partition(b"?")
        if not is_resume(path, query) and (retry_after_s := rate.take(address)) is not None:
            self._shared.reached("connects_per_minute", rate.per_minute, address=str(address))
            said = f"This address may connect {rate.per_minute} times a minute."
            self.refuse(ConnectionRefused(429, "too_many_connects", said, retry_after_s=retry_after_s))
            return
        self._connections.discard(self)
        self._shared.leaves(self)
        upgrade = Upgrade(
            self._transport,
            self._server_state,
            self._config.loaded_app,
            self._shared.observer,
            max_message_bytes=self._config.ws_max_size,
        )
        upgrade.begin(head._replace(address=str(address or "")), self._reader.take_rest())

    # --- inside -----------------------------------------------------------------

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
        self._state = State.ANSWERING
        self._shared.answers(self)
        if (refusal := self._refusal_at_once(request)) is not None:
            # Without lingering, for that is half of the cost; callers send nothing before they are answered.
            self._shared.observer.refused(refusal.status, refusal.code)
            self._transport.write(message(refusal, self._named()))
            self._transport.close()
            return
        if self._exchange is None:
            self._exchange = Exchange(self, self._config, self._server_state, self._transport)
        if self._reader.has_begun:
            self._transport.pause_reading()
        self._exchange.parse(request)

    def _named(self) -> list[tuple[bytes, bytes]]:
        return [*self._server_state.default_headers, *self._shared.names]

    def _refusal_at_once(self, request: bytes) -> ConnectionRefused | None:
        """The refusal of a new call while the pod takes none, before anything is parsed: overload must cost little."""
        refusal = self._shared.pod.refusal_of_new_calls()
        if refusal is None or (asked := NEW_CALL.match(request)) is None or not is_upgrade_request(request):
            return None
        return None if NAMES_CALL.search(unquote_to_bytes(asked[1] or b"")) else refusal
