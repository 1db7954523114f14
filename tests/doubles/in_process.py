"""A provider without sockets: what httpx sends goes to an ASGI application on the same event loop.

httpx's own `ASGITransport` gives an answer when it is whole; here it comes piece by piece, ends in the middle, and the
application learns that its client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import Context
from typing import Any

import httpx

from tests.doubles.provider import Provider


class InProcess(httpx.AsyncBaseTransport):
    """Requests go to the provider that is named by the host of their URL."""

    def __init__(self, providers: Mapping[str, Provider], context: Context | None = None) -> None:
        """`context`: in which providers run; theirs is the one of a request, unless it is given."""
        self._providers = providers
        self._context = context
        self._open: set[_Exchange] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        provider = self._providers.get(request.url.host)
        if provider is None:
            raise httpx.ConnectError(f"nobody listens at {request.url.host}", request=request)
        body = [piece async for piece in request.stream] if isinstance(request.stream, httpx.AsyncByteStream) else []
        exchange = _Exchange(b"".join(body))
        self._open.add(exchange)
        exchange.start(provider, request, self._context, lambda: self._open.discard(exchange))
        try:
            status, headers = await exchange.begun
        except BaseException:
            exchange.leave()
            raise
        return httpx.Response(status, headers=headers, stream=_Body(exchange), request=request)

    def client_died(self) -> None:
        """The process of the client is gone: providers find its connections closed."""
        for exchange in list(self._open):
            exchange.leave()


class _Exchange:
    """One request and its answer, between two tasks."""

    def __init__(self, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = loop.create_future()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        """None: the answer is whole, or broken off."""
        self.is_whole = False
        self._body: bytes | None = body
        self._left = asyncio.Event()

    def start(
        self, provider: Provider, request: httpx.Request, context: Context | None, done: Callable[[], None]
    ) -> None:
        """Have it answered."""
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": None,
        }
        work = self._answered(provider(scope, self._receive, self._send))
        task = asyncio.get_running_loop().create_task(work, context=context)
        task.add_done_callback(lambda _: done())

    async def _answered(self, answering: Awaitable[None]) -> None:
        try:
            await answering
        finally:
            self.pieces.put_nowait(None)
            if not self.begun.done() and not self._left.is_set():
                self.begun.set_exception(httpx.RemoteProtocolError("Server disconnected without sending a response."))

    def leave(self) -> None:
        """The client has gone."""
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._left.is_set():
            return
        if message["type"] == "http.response.start":
            if not self.begun.done():
                self.begun.set_result((message["status"], list(message["headers"])))
            return
        if message["body"]:
            self.pieces.put_nowait(message["body"])
        self.is_whole = not message["more_body"]


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._exchange.pieces.get()) is not None:
            yield piece
        if not self._exchange.is_whole:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    async def aclose(self) -> None:
        self._exchange.leave()
