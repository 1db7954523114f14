"""Opens sessions of upstreams: the first of the list that answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from voice_agent.agents.relay.address import websocket_address
from voice_agent.agents.relay.relay_settings import OPENAI_LIMIT_S
from voice_agent.agents.relay.renewal import SessionTimes, session_times
from voice_agent.agents.relay.requests import UpstreamSettings
from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.upstream_events import InvalidMessage, SessionCreated, UpstreamError, read
from voice_agent.agents.relay.upstream_reply import UpstreamLost
from voice_agent.agents.relay.upstream_socket import CLOSE_S
from voice_agent.providers.answer_times import START_S
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.health import ProviderHealth

OPEN_S = 5.0
"""Until a session can be used: connection, TLS, handshake and its greeting."""
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of an upstream's: stops one whose events fill the memory. OpenAI's are a hundredth of it."""
QUEUED_MESSAGES = 4
"""So many are read ahead."""
MAX_GREETINGS = 8
"""Messages in front of the greeting."""

_FAILURES = (OSError, TimeoutError, InvalidHandshake, InvalidURI, InvalidMessage, ConnectionClosed, UpstreamLost)

log = structlog.get_logger(__name__)


class NoUpstream(Exception):
    """No upstream answers."""

    def __init__(self, why: Sequence[str]) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"No upstream answers: {'; '.join(self.why)}."


class _Handshake(connect):
    """Follows no redirect: the key is for the host that it was set for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class UpstreamDialer:
    """One pod's, for all calls of a relay."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        health: Callable[[Endpoint], ProviderHealth],
        *,
        limit_s: float | None = None,
        renew_before_s: float | None = None,
        wall_s: Callable[[], float] = time.time,  # noqa: TID251 tests bring their own
    ) -> None:
        self._endpoints = endpoints
        self._health = health
        self._limit_s = limit_s
        self._renew_before_s = renew_before_s
        self._wall_s = wall_s
        self._closing: set[asyncio.Task[None]] = set()

    def failed(self, lost: UpstreamLost) -> None:
        """An upstream was lost in the middle of something."""
        for endpoint in self._endpoints:
            if endpoint.name == lost.upstream:
                self._health(endpoint).failed(ProviderFailed(endpoint.name, FailureKind.CUT, lost.why))

    async def open(self, settings: UpstreamSettings, besides: str = "") -> tuple[UpstreamSession, SessionTimes]:
        """A new session with these settings, and its times. Raises `NoUpstream`.

        Of upstreams that do well the first in the list; `besides`, which was lost just now, is asked last.
        """
        left = sorted(self._endpoints, key=lambda one: (one.name == besides, not self._health(one).admits))
        why: list[str] = []
        trying: set[asyncio.Task[tuple[UpstreamSession, SessionTimes]]] = set()
        try:
            while left or trying:
                if left:
                    trying.add(asyncio.create_task(self._open(left.pop(0), settings)))
                done, trying = await asyncio.wait(
                    trying, timeout=START_S if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if (error := task.exception()) is None:
                        trying |= done - {task}
                        return task.result()
                    why.append(str(error))
        finally:
            await self._give_up(trying)
        raise NoUpstream(why)

    async def _open(self, endpoint: Endpoint, settings: UpstreamSettings) -> tuple[UpstreamSession, SessionTimes]:
        health = self._health(endpoint)
        health.begin()
        try:
            async with asyncio.timeout(OPEN_S):
                opened = await self._opened(endpoint, settings)
        except _FAILURES as error:
            why = endpoint.hidden(_said(error))
            health.failed(ProviderFailed(endpoint.name, _kind_of(error), f"cannot be used: {why}"))
            log.warning("an upstream cannot be used", upstream=endpoint.name, why=why)
            raise UpstreamLost(endpoint.name, why) from error
        except BaseException:
            health.abandoned()
            raise
        health.succeeded()
        return opened

    async def _opened(self, endpoint: Endpoint, settings: UpstreamSettings) -> tuple[UpstreamSession, SessionTimes]:
        socket, created = await self._greeted(endpoint)
        session = UpstreamSession(socket, endpoint, created)
        left_s = created.expires_at_s - self._wall_s() if created.expires_at_s is not None else None
        times = session_times(
            asyncio.get_running_loop().time(),
            left_s=left_s,
            limit_s=self._limit_s,
            usual_s=OPENAI_LIMIT_S,
            renew_before_s=self._renew_before_s,
        )
        try:
            await session.use(settings)
        except BaseException:
            self.close_later(session)
            raise
        return session, times

    async def _greeted(self, endpoint: Endpoint) -> tuple[ClientConnection, SessionCreated]:
        socket = await _Handshake(
            websocket_address(endpoint),
            additional_headers=endpoint.request_headers(),
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=QUEUED_MESSAGES,
            ping_interval=None,
            open_timeout=None,
            close_timeout=CLOSE_S,
            user_agent_header="voice-agent",
        )
        try:
            for _ in range(MAX_GREETINGS):
                match read(await socket.recv()):
                    case SessionCreated() as created:
                        return socket, created
                    case UpstreamError(code=code):
                        raise InvalidMessage(f"the error {code!r}")
                    case _:
                        pass
            raise InvalidMessage("no greeting")
        except BaseException:
            socket.transport.abort()
            raise

    def close_later(self, session: UpstreamSession) -> None:
        """Close a session, which takes `CLOSE_S` at most."""
        self.run(session.close())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside a call that may be over meanwhile."""
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Wait until all that are to be closed are."""
        if self._closing:
            await asyncio.wait(self._closing)

    async def _give_up(self, trying: set[asyncio.Task[tuple[UpstreamSession, SessionTimes]]]) -> None:
        """Those that are not needed any more."""
        for task in trying:
            task.cancel()
        if trying:
            await asyncio.wait(trying)
        for task in trying:
            if not task.cancelled() and task.exception() is None:
                self.close_later(task.result()[0])


def _kind_of(error: BaseException) -> FailureKind:
    match error:
        case TimeoutError():
            return FailureKind.TIMEOUT
        case InvalidStatus(response=response):
            status = response.status_code
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                return FailureKind.RATE_LIMITED
            return FailureKind.FAILING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else FailureKind.REFUSED
        case InvalidMessage() | InvalidHandshake() | InvalidURI():
            return FailureKind.INVALID
        case _:
            return FailureKind.UNREACHABLE


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, UpstreamLost):
        return error.why
    return f"{type(error).__name__}: {error}"[:200]
