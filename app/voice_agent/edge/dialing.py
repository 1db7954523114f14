"""Connecting to a pod through the load balancer: the upgrade, and what becomes of one that is refused.

The `websockets` library asks for the upgrade and judges the answer; frames are read by `pod_socket`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from voice_agent.edge.pod_socket import PodSocket

DIAL_S = 5.0
"""To a whole answer; one that comes later is of a pod that nobody should wait for."""
FIRST_DIAL_S = 2.0
"""To the answer to the upgrade, where there is another try: a load balancer may have a pod in its list that has fallen
silent. One that has answered has made the call: asking another would make a second."""
MAX_ANSWER_BYTES = 128 * 1024
"""Of a refusal, head and body."""
_END = b"\r\n\r\n"


class PodUnreachable(Exception):
    """No answer came, or none that is HTTP."""


class PodRefused(Exception):
    """The answer to the upgrade was no."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """What a pod is asked for."""

    target: str
    """Path and query, as they go on the wire."""
    headers: Sequence[tuple[str, str]]
    """Beside those of the handshake."""
    subprotocols: Sequence[str]
    is_greeted: bool = True
    """Whether the server speaks first, as for a call of the Realtime protocol."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A pod took the connection, and has greeted, if it is one that greets."""

    socket: PodSocket
    response: Response
    subprotocol: str | None


class Dialer:
    """Knows where pods are: one address of a load balancer, or several, which take turns."""

    def __init__(self, urls: Sequence[str], *, tls: ssl.SSLContext | None = None, direct: bool = True) -> None:
        """`urls`: ``ws://`` or ``wss://``, host and port. `direct`: pods may be asked past the load balancer."""
        self.urls = tuple(urls)
        self.tls = tls or ssl.create_default_context()
        """Whose certificates are believed behind ``wss://``: the system's, or those of ``SSL_CERT_FILE``."""
        self.direct = direct
        self._turns = count()

    def next_url(self) -> str:
        """The address whose turn it is."""
        return self.urls[next(self._turns) % len(self.urls)]

    async def dial_any(self, request: UpgradeRequest) -> Answered:
        """As `dial`; what does not answer is passed over for the next address, or for what a load balancer has next."""
        # All of them from one on: others take turns meanwhile, and might leave this one the same address twice.
        first = self.urls.index(self.next_url())
        urls = (*self.urls[first:], *self.urls[:first])
        for url in urls[:-1] or urls:
            with suppress(PodUnreachable):
                return await self._dial(url, request, FIRST_DIAL_S)
        return await self._dial(urls[-1], request, DIAL_S)

    async def dial(self, request: UpgradeRequest, *, at: str = "", within_s: float = DIAL_S) -> Answered:
        """A connection on which a pod has greeted. Raises `PodRefused` and `PodUnreachable`.

        `at`: the address of one pod, past the load balancer. `within_s`: to the answer; `DIAL_S` to the greeting.
        """
        if at and not self.direct:
            raise PodUnreachable(f"{at}: pods are asked through the load balancer alone")
        return await self._dial(at or self.next_url(), request, within_s)

    async def _dial(self, address: str, request: UpgradeRequest, within_s: float) -> Answered:
        url = urlsplit(address)
        is_safe = url.scheme == "wss"
        host, port = url.hostname or "", url.port or (443 if is_safe else 80)
        loop = asyncio.get_running_loop()
        try:
            until_s = loop.time() + DIAL_S
            async with asyncio.timeout(within_s) as limit:
                transport, upgrade = await loop.create_connection(
                    lambda: _Upgrade(url.geturl(), request), host, port, ssl=self.tls if is_safe else None
                )
                try:
                    answered = await upgrade.answer
                    if request.is_greeted:
                        limit.reschedule(until_s)
                        await answered.socket.greeting
                    return answered
                except BaseException:
                    transport.abort()
                    raise
        except TimeoutError as error:
            raise PodUnreachable(f"{host}:{port} did not answer within {within_s:g} s") from error
        except (OSError, EOFError) as error:
            raise PodUnreachable(f"{host}:{port}: {error}") from error


class _Upgrade(asyncio.Protocol):
    """A connection until its upgrade is answered."""

    def __init__(self, url: str, request: UpgradeRequest) -> None:
        self.answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        subprotocols = [Subprotocol(name) for name in request.subprotocols]
        self._judge = ClientProtocol(parse_uri(url), subprotocols=subprotocols or None, max_size=None)
        self._request = request
        self._head = bytearray()
        self._is_answered = False
        """Whether the head of the answer has ended."""
        self._size = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        asked = self._judge.connect()
        asked.path = self._request.target
        for name, value in self._request.headers:
            asked.headers[name] = value
        self._judge.send_request(asked)
        self._transport.write(b"".join(self._judge.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """The answer, cut anywhere; the library is given its head as a whole, for frames may stand behind it."""
        self._size += len(data)
        if self._is_answered:
            self._judge.receive_data(data)
            self._look()
        else:
            self._head += data
            head, end, rest = bytes(self._head).partition(_END)
            if end:
                self._is_answered = True
                self._head.clear()
                self._judge.receive_data(head + end)
                self._look(rest)
        if self._size > MAX_ANSWER_BYTES:
            self._fail(EOFError(f"an answer of more than {MAX_ANSWER_BYTES} bytes"))

    def eof_received(self) -> None:
        """The answer may end with the connection."""
        self._judge.receive_eof()
        self._look()

    def connection_lost(self, error: Exception | None) -> None:
        """It does at the latest."""
        self._fail(error or EOFError("hung up instead of an answer"))

    def _look(self, rest: bytes = b"") -> None:
        if self.answer.done():
            return
        events: Iterable[object] = self._judge.events_received()
        response = next((each for each in events if isinstance(each, Response)), None)
        refusal = self._judge.handshake_exc
        if response is not None and refusal is None:
            socket = PodSocket(self._transport, rest)
            self.answer.set_result(Answered(socket, response, self._judge.subprotocol))
        elif isinstance(refusal, InvalidStatus):
            self._fail(PodRefused(refusal.response))
        elif isinstance(refusal, InvalidHandshake | EOFError):
            self._fail(EOFError(str(refusal)))
        elif rest:
            self._judge.receive_data(rest)
            self._look()

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # It may be that nobody waits for it any more.
            self._transport.abort()
