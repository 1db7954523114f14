"""A call over the OpenAI Realtime protocol that survives its connection.

When the connection breaks, the client comes back with the call's id, its resume token
(as a header, so that it is in nobody's access log) and the last event it saw, and goes on
where it was: events that the server numbered meanwhile are replayed, audio that the
server does not have yet is sent again from that very byte on, and so are client events
after `last_client_event_id`, each at its place in the audio. Once a second the server is
told which events have come, so that it need not keep them.

::

    events() reads ──► broke with 1012, 1011, 1013, 1006, 1001 ──► try, pause, try … ──► greeting
                  ▲                                                                         │
                  └────────── reading goes on while what is missing is sent again ◄─────────┘

A server that does not say ``session.call`` in its greeting cannot be resumed; a lost
connection then ends the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
from websockets.exceptions import ConnectionClosed

from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.call.closing import MAY_RESUME, CloseCode
from voice_agent.client.addresses import address, unreachable, with_path_hint
from voice_agent.client.backoff import Backoff
from voice_agent.client.position import CallPosition
from voice_agent.client.refusals import CallFailed, CallRefused, Unreachable, closed
from voice_agent.client.sequence import Tally
from voice_agent.client.sockets import HANDSHAKE_S, OpenSocket, Socket, open_socket

LAST_TRY_S = 1.0
"""The try that begins at the deadline gets so long."""
COME_BACK_AFTER = MAY_RESUME | {CloseCode.NO_STATUS_RCVD}
"""Some proxies end connections without a code."""
ASKS = {"resumable": "1", "received": "1"}
"""Says that it comes back, else a drain could not hand the call off and would wait for its end; not ``now``, for
somebody listens and is spared a pause in the middle of a word. And asks what of the caller's own is durable."""
ACKNOWLEDGE_S = 1.0
"""So long at least between two messages that say which events have come."""


@dataclass(frozen=True, slots=True)
class ResumedConnection:
    """One resume: who serves now, and how long nobody did."""

    code: int
    """What the old connection ended with."""
    color: str
    pod: str
    break_s: float


class RealtimeCall:
    """An open call. Use as `async with RealtimeCall(url) as call`, and iterate `call.events()` all the while."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        audio_format: AudioFormat = PCM,
        going_away: bool = False,
        headers: Mapping[str, str] | None = None,
        open_socket: OpenSocket = open_socket,
        backoff: Backoff | None = None,
    ) -> None:
        """`headers` go with every connection of the call, such as one that a router reads.

        `backoff` says how long it tries to come back.
        """
        self.on_resumed: Callable[[ResumedConnection], None] = lambda resumed: None
        self.on_waiting: Callable[[int, str], None] = lambda code, reason: None
        """Told after each try to resume that failed: what the old connection ended with, and why the try failed."""
        self._url = url
        self._query = {"model": model} if model else {}
        if going_away:
            self._query["going_away"] = "1"
        self._headers = {**(headers or {}), **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self._open_socket = open_socket
        self._backoff = backoff or Backoff()
        self._socket: Socket | None = None
        self._position = CallPosition(audio_format)
        self._sending = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None
        self._acknowledged_s = time.monotonic()
        self._hanging_up = asyncio.Event()

    @property
    def call_id(self) -> str | None:
        """None until it is connected, and of a server that does not tell."""
        return self._position.call_id

    @property
    def color(self) -> str:
        """Of the pod that serves it, or did last; "" if unknown."""
        return str(self._position.info.get("color", ""))

    @property
    def pod(self) -> str:
        """Its name; "" if unknown."""
        return str(self._position.info.get("pod", ""))

    @property
    def tally(self) -> Tally:
        """What it has been through so far."""
        return self._position.tally

    @property
    def appended_ms(self) -> int:
        """How much audio was appended in the whole call: the server's `audio_start_ms` and such count the same."""
        return self._position.appended_ms

    async def __aenter__(self) -> Self:
        """Connect and read the greeting. Raises `CallFailed`, after one try."""
        try:
            await self._connect({}, self._headers, HANDSHAKE_S)
        except (OSError, Unreachable) as error:
            raise unreachable(self._url, error, _reason(error)) from error
        except CallRefused as refusal:
            raise with_path_hint(refusal, self._url) from refusal.__cause__
        self._position.go_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close with 1000, which ends the call.

        While the connection is broken there is nobody to tell: a resume that is just connecting
        hangs up then, and else the server gives the call up after its resume window.
        """
        self._hanging_up.set()
        if self._catching_up is not None:
            self._catching_up.cancel()
        if self._socket is not None:
            await self._socket.close(CloseCode.NORMAL_CLOSURE)

    def lose_connection(self) -> None:
        """Drop the connection as a network might, to see the call resumed; `events` notices by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event. It takes effect once, even if the connection breaks meanwhile.

        Audio goes through `append_audio`; as an event it could not be sent again from where the server lost it.
        """
        self._position.add(event)
        await self._send_pending()

    async def append_audio(self, audio: bytes) -> None:
        """Send audio in the call's input format; kept until a crash of the server cannot take it away."""
        self._position.append_audio(audio)
        await self._send_pending()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Server events, resuming as often as needed. Ends after a hang-up; raises `CallFailed` if the call is lost.

        A call that was transferred while the connection was broken ends with its ``call.transfer`` all the same.

        Whoever asks for the next event is done with the one before: the server is told so.
        """
        while True:
            socket = self._socket
            if socket is None:
                raise CallFailed("the call is not connected")
            try:
                while True:
                    event = _parsed(await socket.recv())
                    is_new = self._position.is_new(event)
                    self._send_beside()
                    if is_new:
                        yield event
                        self._acknowledge()
            except ConnectionClosed:
                pass
            lost_s = time.monotonic()
            code = socket.close_code or CloseCode.ABNORMAL_CLOSURE
            if self._hanging_up.is_set() or code == CloseCode.NORMAL_CLOSURE:
                return
            if code not in COME_BACK_AFTER:
                raise closed(code, socket.close_reason or "")
            try:
                await self._come_back(code, lost_s)
            except CallRefused as refusal:
                if refusal.last_event is None:
                    raise
                if self._position.is_new(refusal.last_event):
                    yield refusal.last_event
                return
            if self._hanging_up.is_set():
                return

    async def _send_pending(self) -> None:
        """Send what is not sent, in order; without a connection it waits for the resume."""
        async with self._sending:
            while (socket := self._socket) is not None and (text := self._position.next_message()) is not None:
                try:
                    await socket.send(text)
                except ConnectionClosed:
                    if socket is self._socket:
                        # `events` notices by itself; the resume rewinds to what the server has.
                        return

    def _send_beside(self) -> None:
        """Send what there is beside reading, or both ends could wait for each other with full buffers."""
        if self._position.has_unsent and (self._catching_up is None or self._catching_up.done()):
            self._catching_up = asyncio.create_task(self._send_pending())

    def _acknowledge(self) -> None:
        now_s = time.monotonic()
        if now_s - self._acknowledged_s >= ACKNOWLEDGE_S:
            self._acknowledged_s = now_s
            self._position.acknowledge()
            self._send_beside()

    # --- connecting -------------------------------------------------------------

    async def _connect(self, query: dict[str, str], headers: dict[str, str], within_s: float) -> None:
        """A greeted connection as `self._socket`. Raises as `OpenSocket` does."""
        async with asyncio.timeout(within_s):
            socket = await self._open_socket(_with_query(self._url, {**self._query, **query}), headers)
            try:
                greeting = _parsed(await socket.recv())
                if greeting["type"] != "session.created" or not isinstance(greeting.get("session"), dict):
                    kind = greeting["type"]
                    raise CallFailed(f"{address(self._url)} greets with {kind!r} instead of 'session.created'")
                self._position.greeted(greeting)
            except ConnectionClosed as error:
                code = socket.close_code or CloseCode.ABNORMAL_CLOSURE
                if code in COME_BACK_AFTER:
                    raise Unreachable(f"closed with {code} before the greeting") from error
                raise closed(code, socket.close_reason or "") from error
            except BaseException:
                # Not a close: its 1000 would hang up.
                socket.transport.abort()
                raise
        self._socket = socket

    async def _come_back(self, code: int, lost_s: float) -> None:
        if not self._position.can_resume:
            raise CallFailed(f"the connection broke ({code}) and this server cannot resume calls; start a new call")
        self._socket = None
        query = self._position.resume_query
        headers = {**self._headers, "X-Resume-Token": query.pop("resume_token")}
        self._backoff.broke()
        pause_s = self._backoff.pause_s()
        failure: Exception | None = None
        while pause_s is not None:
            if await self._hung_up_within(pause_s):
                return
            try:
                within_s = max(LAST_TRY_S, min(HANDSHAKE_S, self._backoff.left_s))
                await self._connect(query, headers, within_s)
            except (OSError, Unreachable) as error:
                failure, asked_s = error, None
            except CallRefused as refusal:
                if not refusal.retryable:
                    raise
                failure, asked_s = refusal, refusal.retry_after_s
            else:
                if self._hanging_up.is_set():
                    await self.hang_up()
                else:
                    self._came_back(ResumedConnection(code, self.color, self.pod, time.monotonic() - lost_s))
                return
            self.on_waiting(code, _reason(failure))
            pause_s = self._backoff.pause_s(asked_s)
        because = "the connection keeps breaking" if failure is None else _reason(failure)
        raise CallFailed(f"the connection broke ({code}) and no resume within {self._backoff.for_s:g} s: {because}")

    async def _hung_up_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hanging_up.wait()
        return self._hanging_up.is_set()

    def _came_back(self, resumed: ResumedConnection) -> None:
        self._backoff.mended()
        self._position.go_on()
        self.tally.longest_break_s = max(self.tally.longest_break_s, resumed.break_s)
        self._send_beside()
        self.on_resumed(resumed)


def _parsed(message: str | bytes) -> dict[str, Any]:
    with contextlib.suppress(orjson.JSONDecodeError):
        event: Any = orjson.loads(message)
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            return event
    raise CallFailed(f"the server sent what is no event: {message[:80]!r}")


def _with_query(url: str, query: dict[str, str]) -> str:
    """The call's parameters win over the URL's own, and those over the default."""
    parts = urlsplit(url)
    merged = {**ASKS, **dict(parse_qsl(parts.query, keep_blank_values=True)), **query}
    return urlunsplit(parts._replace(query=urlencode(merged)))


def _reason(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
