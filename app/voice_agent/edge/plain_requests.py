"""Plain HTTP through the edge: what callers ask of pods beside their calls, such as a key for a browser or a page.

A request goes to one pod and its answer back, each whole and of bounded size. What pods say of themselves, and what
operators ask of them, is not for callers: `is_public`.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import structlog
from starlette.requests import Request

from voice_agent.edge.requests import CallerRequest
from voice_agent.errors import ConnectionRefused
from voice_agent.web.ports import RefusalObserver
from voice_agent.web.refusals import response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from voice_agent.edge.dialing import Dialer
    from voice_agent.web.addresses import CallerAddresses

AT_ONCE = 64
"""Requests on their way to pods, of all callers. Stops many that wait for pods which do not answer."""
AT_ONCE_OF_ADDRESS = 16
"""The same, of one address: one caller must not take all places."""
ANSWER_S = 10.0
"""From a request to the whole answer of a pod."""
CONNECT_S = 3.0
"""To a connection; then the next address has its turn."""
MAX_ANSWER_BYTES = 1024 * 1024
"""Of an answer's body; pods' own are of a few kilobytes."""
_PRIVATE = re.compile(r"/(admin|healthz|metrics)(?![a-z0-9_-])", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"//|[%\\]|/\.{1,2}(/|$)")
"""What something behind the edge might read as another path."""
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade content-length date server".split()
)
_NO_BODY = frozenset({204, 304})

log = structlog.get_logger(__name__)


def is_public(path: str) -> bool:
    """Whether a decoded path is one that callers may ask pods for."""
    return path.startswith("/") and not _PRIVATE.match(path) and not _AMBIGUOUS.search(path)


class PlainRequests:
    """The ASGI application for whatever is no WebSocket and none of the edge's own pages."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        dialer: Dialer,
        addresses: CallerAddresses,
        observer: RefusalObserver,
    ) -> None:
        """`transport` is what httpx sends requests with: it keeps no cookies, follows no redirects and logs nothing."""
        self._transport = transport
        self._dialer = dialer
        self._addresses = addresses
        self._observer = observer
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if not is_public(scope["path"]):
                raise ConnectionRefused(404, "not_found", "This is not open to callers.")
            request = self._request(scope)
            with self._place(request.address):
                status, headers, body = await self._ask(scope["method"], request, await Request(scope, receive).body())
        except ConnectionRefused as refusal:
            self._observer.refused(refusal.status, refusal.code)
            await response(refusal)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _request(self, scope: Scope) -> CallerRequest:
        headers = tuple(scope["headers"])
        told = b"".join(b"\n%b:%b" % pair for pair in headers if pair[0] == b"x-forwarded-for")
        return CallerRequest(
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=headers,
            subprotocols=(),
            address=str(self._addresses.of(scope["client"], told) or ""),
            is_secure=scope["scheme"] == "https",
        )

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        under_way = self._under_way
        if under_way[address] >= AT_ONCE_OF_ADDRESS:
            self._observer.limit_reached("edge_requests_of_address")
            said = f"Of one address {AT_ONCE_OF_ADDRESS} requests may wait for an answer."
            raise ConnectionRefused(429, "too_many_requests", said, retry_after_s=1)
        if under_way.total() >= AT_ONCE:
            self._observer.limit_reached("edge_requests")
            said = f"Of all callers {AT_ONCE} requests may wait for an answer."
            raise ConnectionRefused(503, "too_many_requests", said, retry_after_s=1)
        under_way[address] += 1
        try:
            yield
        finally:
            under_way[address] -= 1
            if not under_way[address]:
                del under_way[address]

    async def _ask(
        self, method: str, request: CallerRequest, body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """A pod's answer: status, headers, body. Raises `ConnectionRefused`."""
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._send(method, request, body)
                try:
                    content = await self._read(answer)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise ConnectionRefused(504, "pod_timeout", f"No pod answered within {ANSWER_S:g} s.") from None
        except httpx.HTTPError as error:
            log.warning("a pod broke off an answer", path=request.path.decode("latin-1"), error=type(error).__name__)
            raise ConnectionRefused(502, "bad_gateway", "The pod broke off.") from error
        return answer.status_code, _passed(answer, content, is_head=method == "HEAD"), content

    async def _send(self, method: str, request: CallerRequest, body: bytes) -> httpx.Response:
        """The head of an answer. An address to which there is no connection has got nothing: the next one is asked."""
        target, headers = request.plain()
        for _ in self._dialer.urls:
            asked = httpx.Request(
                method,
                self._dialer.next_url().replace("ws", "http", 1),
                headers=headers,
                content=body or None,
                extensions={"target": target, "timeout": httpx.Timeout(ANSWER_S, connect=CONNECT_S).as_dict()},
            )
            try:
                return await self._transport.handle_async_request(asked)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        raise ConnectionRefused(503, "no_pod", "No pod answers; try again.", retry_after_s=1)

    async def _read(self, answer: httpx.Response) -> bytes:
        content = bytearray()
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                self._observer.limit_reached("edge_answer_bytes")
                said = f"The pod's answer is longer than {MAX_ANSWER_BYTES} bytes."
                raise ConnectionRefused(502, "answer_too_large", said)
        return bytes(content)


def _passed(answer: httpx.Response, content: bytes, *, is_head: bool) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that are the caller's, names in small letters."""
    raw = [(name.lower(), value) for name, value in answer.headers.raw]
    named = {each.strip().lower() for name, value in raw if name == b"connection" for each in value.split(b",")}
    passed = [(name, value) for name, value in raw if name not in _HOP_BY_HOP | named]
    if answer.status_code == httpx.codes.UPGRADE_REQUIRED:
        passed += [(name, value) for name, value in raw if name in {b"upgrade", b"connection"}]
    if is_head:
        passed += [(name, value) for name, value in raw if name == b"content-length"]
    elif answer.status_code not in _NO_BODY:
        passed.append((b"content-length", b"%d" % len(content)))
    return passed
