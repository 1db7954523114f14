"""A request for a WebSocket, from its head to its answer: 101 and a `CallSocket`, or a refusal.

The request is whole and within the limits when it comes here (`web.handshake`), and its headers are
parsed. The `websockets` library judges the handshake; it parses nothing, so that its own limits
(8 KiB a line) are none. The application is asked as ASGI says, and takes the connection over by an
extension::

    ASKED --websocket.accept--> ACCEPTED --take over--> (CallSocket)
      |--refused, no answer, server leaves--> ANSWERED --> closed
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import httptools
import structlog
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from voice_agent.errors import ConnectionRefused
from voice_agent.web.realtime import ADDRESS, GONE, TAKE_OVER, TRUSTED
from voice_agent.web.refusals import message, response_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message
    from uvicorn.server import ServerState

    from voice_agent.web.ports import RefusalObserver
    from voice_agent.web.served_socket import MakeSocket, ServedSocket

MAX_EARLY_BYTES = 64 * 1024
"""Frames that come before the answer, which RFC 6455 forbids: no more is read until it is given."""
MAX_SUBPROTOCOLS = 32
"""Subprotocols that are looked at; callers offer two."""
JUDGED = frozenset({b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version"})
"""The headers that make a handshake. Others would cost the library time for nothing."""
SAID_BY_US = frozenset({"date", "connection", "content-length", "content-type"})

log = structlog.get_logger(__name__)


class UpgradeState(Enum):
    """See this module's drawing."""

    ASKED = auto()
    ACCEPTED = auto()
    ANSWERED = auto()


class UpgradeHead(NamedTuple):
    """A parsed request. Names of headers are in small letters."""

    method: str
    url: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    address: str
    """Where the caller connects from, as trusted proxies tell; "" is not known."""
    is_trusted: bool = False
    """Whether who asks is a trusted proxy, or on this machine."""


class Upgrade(asyncio.Protocol):
    """The protocol of a connection while the application decides."""

    def __init__(
        self,
        transport: asyncio.Transport,
        server_state: ServerState,
        app: ASGIApp,
        observer: RefusalObserver,
        *,
        make_socket: MakeSocket,
    ) -> None:
        self._transport = transport
        self._server_state = server_state
        self._connections: set[Any] = server_state.connections
        self._app = app
        self._observer = observer
        self._make_socket = make_socket
        self._state = UpgradeState.ASKED
        self._early = bytearray()
        self._accept_key = b""
        self._refusal: Message | None = None
        """The start of a refusal whose body has not come yet."""

    def begin(self, head: UpgradeHead, early: bytes) -> None:
        """Ask the application, or refuse what is no handshake. `early`: what came behind the request."""
        self._connections.add(self)
        self._transport.set_protocol(self)
        self.data_received(early)
        judge = ServerProtocol()
        try:
            scope = _scope(head, "wss" if self._transport.get_extra_info("sslcontext") else "ws")
            named = Headers((name.decode(), value.decode("latin-1")) for name, value in head.headers if name in JUDGED)
            judged = judge.accept(Request(head.url.decode(), named, head.method, f"HTTP/{head.http_version}"))
        except (UnicodeDecodeError, httptools.HttpParserError):
            self._refuse(ConnectionRefused(400, "invalid_request", "The URL cannot be read."))
            return
        if judged.status_code != 101:
            kept = [(k.encode(), v.encode()) for k, v in judged.headers.raw_items() if k.lower() not in SAID_BY_US]
            refusal = ConnectionRefused(judged.status_code, "invalid_upgrade", f"{judge.handshake_exc}.")
            self._refuse(refusal, kept)
            return
        self._accept_key = judged.headers["Sec-WebSocket-Accept"].encode()
        scope["extensions"] = {
            "websocket.http.response": {},
            GONE: self._transport.is_closing,
            TAKE_OVER: self._take_over,
            ADDRESS: head.address,
            TRUSTED: head.is_trusted,
        }
        task = asyncio.get_running_loop().create_task(self._ask(scope))
        task.add_done_callback(self._server_state.tasks.discard)
        self._server_state.tasks.add(task)

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Too early; kept for the `CallSocket`, for some clients do not wait."""
        self._early += data
        if len(self._early) > MAX_EARLY_BYTES:
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The caller left; the application learns of it by `GONE`."""
        self._connections.discard(self)

    def shutdown(self) -> None:
        """uvicorn's: the server leaves now."""
        if self._state is UpgradeState.ASKED:
            self._refuse(ConnectionRefused(503, "draining", "This pod leaves; connect again.", retry_after_s=1))

    # --- ASGI -------------------------------------------------------------------

    async def _ask(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            if not (isinstance(error, OSError) and self._transport.is_closing()):  # `_send` says that the caller left.
                log.exception("the application failed")
        finally:
            if self._state is UpgradeState.ASKED:
                self._refuse(ConnectionRefused(500, "internal_error", "The call could not be taken."))
            elif self._state is UpgradeState.ACCEPTED and self in self._connections:
                self._transport.close()

    async def _receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def _send(self, event: Message) -> None:
        """Raises `OSError` if the caller has left."""
        if self._transport.is_closing():
            raise ConnectionResetError
        match event["type"]:
            case "websocket.accept":
                self._accept(event)
            case "websocket.http.response.start":
                self._refusal = event
            case "websocket.http.response.body" if self._refusal is not None:
                named = [*self._server_state.default_headers, *self._refusal["headers"]]
                self._answer(response_bytes(self._refusal["status"], named, event["body"]))
            case _:
                self._refuse(ConnectionRefused(403, "forbidden", "This is not open to callers."))

    def _accept(self, event: Message) -> None:
        self._state = UpgradeState.ACCEPTED
        lines = [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"]
        named = [*self._server_state.default_headers, (b"sec-websocket-accept", self._accept_key)]
        named += event.get("headers", ())
        if event.get("subprotocol"):
            named.append((b"sec-websocket-protocol", event["subprotocol"].encode()))
        for name, value in named:
            lines += (name, b": ", value, b"\r\n")
        self._transport.write(b"".join((*lines, b"\r\n")))

    def _take_over(self) -> ServedSocket:
        """The accepted connection; to be called before the event loop turns, so that no frame is read in between."""
        self._connections.discard(self)
        socket = self._make_socket(self._transport, self._connections)
        if self._early:
            socket.data_received(bytes(self._early))
        return socket

    def _refuse(self, refusal: ConnectionRefused, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
        if self._transport.is_closing():
            self._state = UpgradeState.ANSWERED  # The caller has left; uvloop raises at a write.
            return
        self._observer.refused(refusal.status, refusal.code)
        self._answer(message(refusal, [*self._server_state.default_headers, *more]))

    def _answer(self, response: bytes) -> None:
        """The last thing that is sent here."""
        self._state = UpgradeState.ANSWERED
        if self._transport.get_write_buffer_size():
            # The peer has not read what it asked for before; while bytes wait to be sent, closing never ends.
            self._transport.abort()
            return
        self._transport.write(response)
        self._transport.close()


def _scope(head: UpgradeHead, scheme: str) -> dict[str, Any]:
    """As ASGI wants it. Raises `HttpParserError` or `UnicodeDecodeError` for a URL that is none."""
    url = httptools.parse_url(head.url)
    raw_path = url.path or b"/"
    offered = ",".join(value.decode("latin-1") for name, value in head.headers if name == b"sec-websocket-protocol")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": head.http_version,
        "scheme": scheme,
        "server": head.server,
        "client": head.client,
        "root_path": "",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": url.query or b"",
        "headers": head.headers,
        "subprotocols": [token.strip() for token in offered.split(",", MAX_SUBPROTOCOLS)[:MAX_SUBPROTOCOLS] if token],
        "state": {},
    }
