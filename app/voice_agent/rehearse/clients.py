"""What callers hold who resume: the official SDK, and a browser's WebSocket.

Each gives the events of a call from one connection to the next and comes back by itself as
its kind does. What was sent into a connection that is lost is gone: the greeting says what
the server has, and `rehearsed_call` sends the rest again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import orjson
from openai import AsyncOpenAI, OpenAIError
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin

from voice_agent.call.audio import PCM
from voice_agent.call.closing import CloseCode
from voice_agent.client.connection import COME_BACK_AFTER
from voice_agent.client.position import CallPosition
from voice_agent.client.refusals import CallFailed, CallRefused, closed
from voice_agent.retry import retry
from voice_agent.runtime.ports import Clock

AGENT = "echo"
DELAYS_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Between a browser's tries to come back."""
CLOSING_S = 2.0
MAX_MESSAGE_BYTES = 32 * 1024 * 1024


class RehearsalClient(Protocol):
    """One call's connections."""

    position: CallPosition
    """What a resume names is in it; whoever iterates `events` keeps it up to date."""
    on_lost: Callable[[int], None]
    """Told the close code the moment a connection is found lost, before any try to come back."""

    async def open(self) -> None:
        """Connect for the first time. Raises `CallFailed`."""

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """All server events, the greeting of each connection included.

        Ends after a hang-up; raises `CallFailed` when it cannot come back.
        """

    async def send(self, text: str) -> None:
        """Send a client event; a connection that is lost swallows it."""

    async def hang_up(self) -> None:
        """End the call."""


def _is_retryable(error: Exception) -> bool:
    return error.retryable if isinstance(error, CallRefused) else isinstance(error, CallFailed)


class SdkClient:
    """The official `openai` SDK; its own hook `on_reconnecting` names where to go on."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self.position = CallPosition(PCM)
        self.on_lost: Callable[[int], None] = lambda code: None
        self._manager = client.realtime.connect(
            model=AGENT,
            extra_query={"resumable": "1"},
            on_reconnecting=self._reconnecting,
            websocket_connection_options={"proxy": None, "compression": None},  # type: ignore[typeddict-unknown-key]
        )
        self._connection: Any = None

    def _reconnecting(self, event: ReconnectingEvent) -> ReconnectingOverrides:
        self.on_lost(event.close_code)
        return {"extra_query": self.position.resume_query}

    async def open(self) -> None:
        """Connect."""
        try:
            self._connection = await self._manager.enter()
        except (OSError, InvalidHandshake, OpenAIError) as error:
            raise CallFailed(f"the SDK could not connect: {error}") from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The SDK's own loop over events."""
        try:
            async for parsed in self._connection:
                yield parsed.to_dict()
        except (ConnectionClosed, OpenAIError) as error:
            raise CallFailed(f"the SDK gave up: {error}") from error

    async def send(self, text: str) -> None:
        """As the SDK sends what it has made of an event."""
        try:
            await self._connection.send_raw(text)
        except ConnectionClosed:
            return

    async def hang_up(self) -> None:
        """The SDK's close."""
        if self._connection is not None:
            await self._connection.close(code=CloseCode.NORMAL_CLOSURE)


class BrowserClient:
    """A page: sends its origin, keeps cookies from one call to the next, and comes back after the last event it saw.

    With a `call_key` the URL is the same every time but for the last event; without, it resumes by id and token.
    """

    def __init__(self, url: str, clock: Clock, cookies: dict[str, str], call_key: str | None) -> None:
        """`cookies` is the browser's jar: shared by its calls, and changed."""
        self.position = CallPosition(PCM)
        self.on_lost: Callable[[int], None] = lambda code: None
        self._url = url
        self._clock = clock
        self._cookies = cookies
        self._call_key = call_key
        self._socket: ClientConnection | None = None
        self._is_over = False

    async def open(self) -> None:
        """Connect once, and say that it can resume, one way or the other."""
        await self._connect({"resumable": "1"} if self._call_key is None else {"call_key": self._call_key})

    def _resume_query(self) -> dict[str, str]:
        """By key, or by id and token."""
        if self._call_key is not None:
            return {"call_key": self._call_key, "last_event_id": self.position.last_event_id}
        return self.position.resume_query

    async def _connect(self, query: dict[str, str]) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            self._socket = await connect(
                f"{self._url}?{urlencode({'model': AGENT, **query})}",
                origin=Origin(f"http://{urlsplit(self._url).netloc}"),
                additional_headers={"Cookie": cookies} if cookies else None,
                proxy=None,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                close_timeout=CLOSING_S,
            )
        except InvalidStatus as refusal:
            raise CallRefused(refusal.response.status_code, bytes(refusal.response.body or b""), None) from refusal
        except (OSError, InvalidHandshake) as error:
            raise CallFailed(f"no connection: {error}") from error
        self._keep_cookies(self._socket)

    def _keep_cookies(self, socket: ClientConnection) -> None:
        answer = socket.response
        for cookie in answer.headers.get_all("Set-Cookie") if answer is not None else []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Messages of one connection after the other."""
        while self._socket is not None:
            socket = self._socket
            try:
                while True:
                    yield orjson.loads(await socket.recv())
            except ConnectionClosed:
                pass
            code = socket.close_code or CloseCode.ABNORMAL_CLOSURE
            if self._is_over:
                return
            if code not in COME_BACK_AFTER:
                raise closed(code, socket.close_reason or "")
            self.on_lost(code)
            await self._come_back(code)

    async def _come_back(self, code: int) -> None:
        query = self._resume_query()
        first_s, *more_s = DELAYS_S
        await self._clock.sleep(first_s)
        try:
            await retry(
                lambda: self._connect(query),
                more_s,
                for_s=lambda error: math.inf if _is_retryable(error) else 0,
                now_s=self._clock.monotonic_s,
                sleep=self._clock.sleep,
            )
        except CallFailed as failure:
            if not _is_retryable(failure):
                raise
            raise CallFailed(f"the connection was closed with {code} and no resume worked: {failure}") from failure

    async def send(self, text: str) -> None:
        """Into the connection that is there."""
        if self._socket is not None:
            try:
                await self._socket.send(text)
            except ConnectionClosed:
                return

    async def hang_up(self) -> None:
        """Close with 1000."""
        self._is_over = True
        if self._socket is not None:
            await self._socket.close(CloseCode.NORMAL_CLOSURE)
