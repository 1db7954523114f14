"""What the pod's HTTP client sends requests with: each can be given up at any time, and leaves no connection behind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextvars import Context, copy_context
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from voice_agent.giving_up import REQUEST, GivingUp

T = TypeVar("T")


class GivingUpTransport(httpx.AsyncBaseTransport):
    """To all hosts, and through the proxies that the environment names."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._direct = _transport(limits, None)
        self._proxies = {name: url for name, url in getproxies().items() if name in ("http", "https", "all")}
        self._proxied = {url: _transport(limits, url) for url in self._proxies.values()}
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        transport = self._transport_for(request.url)
        current = REQUEST.get()
        if current is not None:
            return await _handled(transport, request, current)
        current = GivingUp()
        context = copy_context()
        context.run(REQUEST.set, current)
        task = asyncio.get_running_loop().create_task(_handled(transport, request, current), context=context)
        try:
            response = await asyncio.shield(task)
        except asyncio.CancelledError:
            current.give_up()
            closing = asyncio.create_task(_discard(task))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(response.stream, current, context)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()

    def _transport_for(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy is None or proxy_bypass(url.host):
            return self._direct
        return self._proxied[proxy]


def _transport(limits: httpx.Limits, proxy: str | None) -> httpx.AsyncBaseTransport:
    if proxy is not None and "://" not in proxy:
        proxy = f"http://{proxy}"
    made = httpx.AsyncHTTPTransport(limits=limits, proxy=proxy)
    # httpx has no parameter for it; a test of giving up would notice were it not heeded.
    made._pool._network_backend = _Backend(httpcore.AnyIOBackend())  # noqa: SLF001
    return made


async def _handled(transport: httpx.AsyncBaseTransport, request: httpx.Request, current: GivingUp) -> httpx.Response:
    current.is_heeded = True
    assert isinstance(request.stream, httpx.AsyncByteStream)
    request.stream = _Content(request.stream, current)
    return await transport.handle_async_request(request)


async def _discard(task: asyncio.Task[httpx.Response]) -> None:
    await asyncio.wait((task,))
    if not task.cancelled() and task.exception() is None:
        await task.result().aclose()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


class _Content(httpx.AsyncByteStream):
    """What is sent, while it is made perhaps."""

    def __init__(self, stream: httpx.AsyncByteStream, current: GivingUp) -> None:
        self._stream = stream
        self._current = current

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while (piece := await self._current.run(_next(pieces), httpcore.WriteError)) is not None:
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Body(httpx.AsyncByteStream):
    """What is answered, for a reader who may be cancelled at any time."""

    def __init__(self, stream: httpx.AsyncByteStream, current: GivingUp, context: Context) -> None:
        self._stream = stream
        self._current = current
        self._context = context
        self._task: asyncio.Task[Any] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while (piece := await self._guarded(_next(pieces))) is not None:
            yield piece

    async def aclose(self) -> None:
        """Cancelled, it is done all the same."""
        await self._guarded(self._close(self._task))

    async def _close(self, reading: asyncio.Task[Any] | None) -> None:
        if reading is not None:
            await asyncio.wait((reading,))
        await self._stream.aclose()

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        self._task = task = asyncio.get_running_loop().create_task(work, context=self._context)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._current.give_up()
            raise


class _Backend(httpcore.AsyncNetworkBackend):
    """Makes connections whose operations can be given up."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        work = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(await _run(work, httpcore.ConnectError))

    async def sleep(self, seconds: float) -> None:
        await _run(self._backend.sleep(seconds), httpcore.ConnectError)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection, of one request after another."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await _run(self._stream.read(max_bytes, timeout), httpcore.ReadError)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await _run(self._stream.write(buffer, timeout), httpcore.WriteError)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        work = self._stream.start_tls(ssl_context, server_hostname, timeout)
        try:
            return _Stream(await _run(work, httpcore.ConnectError))
        except BaseException:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


async def _run(work: Coroutine[Any, Any, T], error: type[Exception]) -> T:
    current = REQUEST.get()
    return await (work if current is None else current.run(work, error))
