"""uvicorn's HTTP, one whole request at a time: its parser never sees half of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from voice_agent.errors import ConnectionRefused
from voice_agent.web.upgrade import UpgradeHead

if TYPE_CHECKING:
    import asyncio

    import uvicorn
    from uvicorn.server import ServerState


class ExchangeConnection(Protocol):
    """What an exchange asks of its connection."""

    def answered(self) -> None:
        """The answer is complete."""

    def refuse(self, refusal: ConnectionRefused) -> None:
        """Answer with a refusal, and close."""

    def upgrade(self, head: UpgradeHead) -> None:
        """A request for a WebSocket was parsed."""


class HttpExchange(HttpToolsProtocol):
    """Requests of one connection and their answers. The connection itself stays what it was."""

    def __init__(
        self,
        connection: ExchangeConnection,
        config: uvicorn.Config,
        server_state: ServerState,
        transport: asyncio.Transport,
        *,
        client: tuple[str, int] | None,
    ) -> None:
        """`client`: who connects, which need not be the transport's peer."""
        super().__init__(config, server_state, {})
        self.connection_made(transport)
        self.client = client
        self.connections.discard(self)
        self._connection = connection
        self._begun = self._ended = 0

    def parse(self, request: bytes) -> None:
        """Give a whole request to the application, or refuse it."""
        self._begun = self._ended = 0
        try:
            self.parser.feed_data(request)
        except httptools.HttpParserUpgrade:
            # Any other upgrade is not taken: the request is answered as it is (RFC 9110, section 7.8).
            if self._should_upgrade():
                self._connection.upgrade(self._head())
                return
        except httptools.HttpParserError:
            self._ended = 0
        if self._ended != 1:
            self._refuse()

    def on_message_begin(self) -> None:
        """Where the parser finds more in a request than we do, nothing of it is served."""
        self._begun += 1
        if self._begun > 1:
            raise httptools.HttpParserError
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The body is here already: the client need not be asked for it."""
        self.expect_100_continue = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request ended, too."""
        self._ended += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request may come."""
        self.server_state.total_requests += 1
        self._connection.answered()

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def _head(self) -> UpgradeHead:
        version = self.parser.get_http_version()
        return UpgradeHead(self.scope["method"], self.url, version, self.headers, self.client, self.server, "")

    def _refuse(self) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # The application may run already; its answer is not sent.
            self.cycle.message_event.set()
        self._connection.refuse(ConnectionRefused(400, "invalid_request", "This is not HTTP/1.1."))
