"""Asking providers over HTTP: one pool of connections for a pod, and one kind of error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from voice_agent.invalid_settings import in_one_line
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.exchange import Broken, ExchangeFailed, ProviderExchange, TooSlow, Upload
from voice_agent.providers.health import ProviderHealth
from voice_agent.providers.retry_after import retry_after_s

if TYPE_CHECKING:
    import httpx

MAX_OPEN_REQUESTS = 2048
"""Of a pod to all providers: stops requests that are never answered from taking all descriptors."""
MAX_STREAM_BYTES = 64 << 20
"""Of an answer that is read piece by piece: stops one that never ends. Twenty minutes of speech."""
MAX_WHOLE_BYTES = 1 << 20
"""Of an answer that is read whole."""
MAX_ERROR_BYTES = 8 << 10
"""Of an answer with an error: more of it is not read."""
MAX_WHY_CHARS = 300
"""Of what a provider says of an error: it goes into one line of a log."""
ERROR_BODY_S = 1.0
"""So long the words of an error are waited for; its status is known."""
TOO_MANY_REQUESTS = 429
FAILING_FROM = 500


class ProviderResponse:
    """An answer with a status of 2xx, whose first byte has come. Read it once, with one of its methods."""

    def __init__(self, endpoint: Endpoint, exchange: ProviderExchange, response: httpx.Response) -> None:
        self.endpoint = endpoint
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        """Names in any case."""
        self._exchange = exchange

    async def pieces(self, max_bytes: int = MAX_STREAM_BYTES) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises `ProviderFailed`."""
        size = 0
        while (piece := await self._next()) is not None:
            size += len(piece)
            if size > max_bytes:
                raise self.failed(FailureKind.INVALID, f"gave more than {max_bytes} bytes")
            yield piece

    async def read(self, max_bytes: int = MAX_WHOLE_BYTES) -> bytes:
        """All of the body. Raises `ProviderFailed`."""
        found = bytearray()
        while (piece := await self._next()) is not None:
            found += piece
            if len(found) > max_bytes:
                raise self.failed(FailureKind.INVALID, f"gave more than {max_bytes} bytes")
        return bytes(found)

    def failed(self, kind: FailureKind, why: str) -> ProviderFailed:
        """An error of this provider, to be raised. `why` ends a sentence; no secret is shown of it."""
        return ProviderFailed(self.endpoint.name, kind, shown(self.endpoint, why))

    async def _next(self) -> bytes | None:
        try:
            return await self._exchange.next_piece(self.endpoint.stall_s)
        except ExchangeFailed as error:
            raise _failure(self.endpoint, error, begun=True) from None


class ProviderClient:
    """Of one `httpx.AsyncClient`, which its owner closes. Knows of each endpoint how it does.

    All of a pod are to share one: an agent has it from its kit, as ``kit.shared(ProviderClient)``.
    """

    def __init__(self, http: httpx.AsyncClient, *, now_s: Callable[[], float] | None = None) -> None:
        """`now_s`: seconds that never go back; the event loop's unless given."""
        self._http = http
        self._now_s = now_s or _loop_s
        self._healths: dict[tuple[str, str, str], ProviderHealth] = {}
        self._exchanges: set[ProviderExchange] = set()

    @property
    def open_requests(self) -> int:
        """Requests under way, those included that are being given up."""
        return len(self._exchanges)

    def health(self, endpoint: Endpoint) -> ProviderHealth:
        """How it does."""
        found = self._healths.get(endpoint.identity)
        if found is None:
            found = ProviderHealth(endpoint.name, endpoint.model, self._now_s)
            self._healths[endpoint.identity] = found
        return found

    def healths(self) -> Iterable[ProviderHealth]:
        """Of every endpoint that was asked about."""
        return self._healths.values()

    @asynccontextmanager
    async def stream(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> AsyncIterator[ProviderResponse]:
        """Ask for `path` below the endpoint's base; entered when the first byte of its answer has come.

        `body`: one of `json`, `content` (bytes, or an asynchronous iterator that is sent as it gives), or `files` with
        `data`, as httpx takes them. Raises `ProviderFailed` for everything but a status of 2xx, and so does reading.
        A `ProviderFailed` that is raised inside counts against the provider. Left early, the connection is cut.
        """
        health = self.health(endpoint)
        exchange = self._begin(endpoint, method, path, headers or {}, body)
        health.begin()
        begun = False
        try:
            response = await self._answered(endpoint, exchange)
            begun = True
            yield ProviderResponse(endpoint, exchange, response)
            with suppress(ExchangeFailed):  # All that was wanted had been read.
                await exchange.drain()
        except ProviderFailed as error:
            health.failed(error)
            raise
        except BaseException:
            if begun:
                health.succeeded()
            else:
                health.abandoned()
            raise
        else:
            health.succeeded()
        finally:
            await exchange.close()

    def _begin(
        self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> ProviderExchange:
        import httpx

        if len(self._exchanges) >= MAX_OPEN_REQUESTS:
            why = f"was not asked, for {MAX_OPEN_REQUESTS} requests are open"
            raise ProviderFailed(endpoint.name, FailureKind.UNREACHABLE, why)
        upload = None
        if hasattr(body.get("content"), "__aiter__"):
            body["content"] = upload = Upload(body["content"])
        try:
            request = self._http.build_request(
                method,
                endpoint.address(path),
                headers={"Accept-Encoding": "identity", **endpoint.request_headers(), **headers},
                timeout=httpx.Timeout(None, connect=endpoint.connect_s, write=endpoint.stall_s),
                **body,
            )
        except (TypeError, ValueError) as error:  # Text that is no Unicode, say.
            raise _failure(endpoint, Broken(error), begun=False) from None
        exchange = ProviderExchange(self._http, request, total_s=endpoint.total_s, upload=upload)
        self._exchanges.add(exchange)
        exchange.task.add_done_callback(lambda _: self._exchanges.discard(exchange))
        return exchange

    async def _answered(self, endpoint: Endpoint, exchange: ProviderExchange) -> httpx.Response:
        try:
            response = await exchange.begin(endpoint.first_s)
        except ExchangeFailed as error:
            raise _failure(endpoint, error, begun=False) from None
        if not response.is_success:
            raise await self._refusal(endpoint, exchange, response)
        if (encoding := response.headers.get("content-encoding", "identity").lower()) not in ("identity", ""):
            why = f"answered in the encoding {encoding!r}, which was not asked for"
            raise ProviderFailed(endpoint.name, FailureKind.INVALID, shown(endpoint, why))
        return response

    async def _refusal(
        self, endpoint: Endpoint, exchange: ProviderExchange, response: httpx.Response
    ) -> ProviderFailed:
        status = response.status_code
        body = bytearray()
        with suppress(ExchangeFailed):  # The status is what counts.
            while len(body) < MAX_ERROR_BYTES and (piece := await exchange.next_piece(ERROR_BODY_S)) is not None:
                body += piece
        if status == TOO_MANY_REQUESTS:
            kind = FailureKind.RATE_LIMITED
        elif status >= FAILING_FROM:
            kind = FailureKind.FAILING
        else:
            kind = FailureKind.REFUSED
        said = _said(bytes(body[:MAX_ERROR_BYTES]))
        why = f"answered {status}" + (f": {said}" if said else "")
        after_s = retry_after_s(response.headers)
        return ProviderFailed(endpoint.name, kind, shown(endpoint, why), after_s, status=status)


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def shown(endpoint: Endpoint, text: str) -> str:
    """In one line, not too long, and without the endpoint's secrets."""
    line = "".join(letter if letter.isprintable() else " " for letter in in_one_line(endpoint.hidden(text)))
    return line if len(line) <= MAX_WHY_CHARS else line[: MAX_WHY_CHARS - 1] + "…"


def _failure(endpoint: Endpoint, failed: ExchangeFailed, *, begun: bool) -> ProviderFailed:
    import httpx

    match failed.error if isinstance(failed, Broken) else failed:
        case TooSlow(seconds=seconds):
            kind, why = FailureKind.TIMEOUT, f"gave nothing in {seconds:g} s"
        case httpx.ConnectTimeout():
            kind, why = FailureKind.UNREACHABLE, f"took no connection in {endpoint.connect_s:g} s"
        case httpx.TimeoutException():
            kind, why = FailureKind.TIMEOUT, f"did not take the request in {endpoint.stall_s:g} s"
        case httpx.ProtocolError() as error if not begun:
            kind, why = FailureKind.UNREACHABLE, f"gave no whole answer: {error}"
        case httpx.HTTPError() | OSError() as error:
            kind = FailureKind.CUT if begun else FailureKind.UNREACHABLE
            why = f"{'cut its answer' if begun else 'cannot be reached'}: {str(error) or type(error).__name__}"
        case error:
            kind, why = FailureKind.INVALID, f"cannot be asked: {type(error).__name__}"
    return ProviderFailed(endpoint.name, kind, shown(endpoint, why))


def _said(body: bytes) -> str:
    """What an answer says of an error, as OpenAI writes it: ``{"error": {"message": …}}``; else its text."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict):
        inner = found.get("error", found)
        found = inner.get("message", "") if isinstance(inner, dict) else inner
    return found if isinstance(found, str) else ""
