"""A call over the OpenAI Realtime protocol that survives its connection.

When the connection breaks, the client comes back with the call's id, its resume token
(as a header, so that it is in nobody's access log) and the last event it saw, and goes on
where it was: events that the server numbered meanwhile are replayed, audio that the
server does not have yet is sent again from `input_audio_ms` on, and so are client events
after `last_client_event_id`. Every event id is checked to follow the one before it.

A server that does not say ``session.call`` in its greeting cannot be resumed; a lost
connection then ends the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
import pybase64
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from app.call.audio import PCM, AudioFormat
from app.call.closing import BROKEN, HANG_UP, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER
from app.client.refusals import CallFailed, Refused, closed

COME_BACK_AFTER = frozenset({SERVICE_RESTART, TRY_AGAIN_LATER, INTERNAL_ERROR, BROKEN, 1001})
KEPT_AUDIO_MS = 30_000
KEPT_EVENTS = 64
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
HANDSHAKE_S = 10.0
RESEND_MS = 100
MAX_MESSAGE_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class Tally:
    """What a call has been through, as its client saw it."""

    events: int = 0
    gaps: int = 0
    """Event ids that were skipped and not named in ``session.call.gap``."""
    repeats: int = 0
    """Events that came twice."""
    resumes: int = 0
    resent_ms: int = 0
    longest_break_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """One resume: who serves now, and how long nobody did."""

    code: int
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
        come_back_for_s: float = 60.0,
    ) -> None:
        self.call_id: str | None = None
        self.color = ""
        self.pod = ""
        self.session: dict[str, Any] = {}
        self.tally = Tally()
        self.resumed: deque[Resumed] = deque(maxlen=100)
        self._url = url
        self._query = {"model": model} if model else {}
        if going_away:
            self._query["going_away"] = "1"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._format = audio_format
        self._come_back_for_s = come_back_for_s
        self._socket: ClientConnection | None = None
        self._token: str | None = None
        self._last_n = 0
        self._audio = bytearray()
        self._appended_bytes = 0
        self._sent: deque[tuple[str, str]] = deque(maxlen=KEPT_EVENTS)
        self._named = 0
        self._hanging_up = False

    async def __aenter__(self) -> Self:
        """Connect and read the greeting. Raises `CallFailed`."""
        try:
            await self._connect({}, self._headers)
        except OSError as error:
            raise CallFailed(
                f"nobody answers at {self._url} ({_reason(error)}); start a server with: make run"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close with 1000, which ends the call."""
        self._hanging_up = True
        if self._socket is not None:
            await self._socket.close(HANG_UP)

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event. It takes effect once, even if the connection breaks meanwhile."""
        self._named += 1
        event_id = event.get("event_id") or f"client_{self._named}"
        text = orjson.dumps({**event, "event_id": event_id}).decode()
        self._sent.append((event_id, text))
        await self._try(text)

    async def append_audio(self, audio: bytes) -> None:
        """Send audio in the call's input format; kept for 30 s in case it has to be sent again."""
        self._audio += audio
        self._appended_bytes += len(audio)
        surplus = len(self._audio) - self._format.size(KEPT_AUDIO_MS)
        if surplus > 0:
            del self._audio[:surplus]
        await self._try(_append(audio))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Server events, resuming as often as needed. Ends after a hang-up; raises `CallFailed` if the call is lost."""
        while True:
            socket = self._socket
            assert socket is not None
            try:
                async for message in socket:
                    event = orjson.loads(message)
                    if self._is_new(event):
                        yield event
            except ConnectionClosed:
                pass
            lost_s = time.monotonic()
            code = socket.close_code or BROKEN
            if self._hanging_up or code == HANG_UP:
                return
            if code not in COME_BACK_AFTER:
                raise closed(code, socket.close_reason or "")
            await self._come_back(code, lost_s)

    def _is_new(self, event: dict[str, Any]) -> bool:
        event_id = str(event.get("event_id", ""))
        if self._token is None or not event_id.startswith("evt_"):
            return True
        n = int(event_id.removeprefix("evt_"))
        self.tally.events += 1
        if n <= self._last_n:
            self.tally.repeats += 1
            return False
        self.tally.gaps += n - self._last_n - 1
        self._last_n = n
        return True

    async def _try(self, text: str) -> None:
        """Send if there is a connection; what is not sent now is sent again after the resume."""
        if self._socket is not None:
            # `events` notices by itself that the connection is gone.
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(text)

    # --- connecting -------------------------------------------------------------

    async def _connect(self, query: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        try:
            socket = await connect(
                _with_query(self._url, {**self._query, **query}),
                additional_headers=headers,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                open_timeout=HANDSHAKE_S,
                ping_interval=20,
            )
        except InvalidStatus as refusal:
            wait = refusal.response.headers.get("Retry-After", "")
            status, body = refusal.response.status_code, bytes(refusal.response.body or b"")
            raise Refused(status, body, float(wait) if wait.isdigit() else None) from refusal
        except (InvalidURI, InvalidHandshake, ValueError) as error:
            raise CallFailed(f"{self._url} is not a WebSocket address that works: {error}") from error
        try:
            greeting: dict[str, Any] = orjson.loads(await asyncio.wait_for(socket.recv(), HANDSHAKE_S))
        except ConnectionClosed as error:
            raise OSError("closed before the greeting") from error
        if greeting.get("type") != "session.created":
            await socket.close()
            raise CallFailed(f"{self._url} greets with {greeting.get('type')!r} instead of 'session.created'")
        return self._greeted(socket, greeting)

    def _greeted(self, socket: ClientConnection, greeting: dict[str, Any]) -> dict[str, Any]:
        self.session = greeting["session"]
        info: dict[str, Any] = self.session.get("call") or {}
        self.call_id = info.get("id") or self.call_id
        self.color, self.pod = info.get("color", ""), info.get("pod", "")
        self._token = info.get("resume_token")
        if info.get("gap"):
            # The server says that nobody has these; they are not missing by its mistake.
            self._last_n = int(info["gap"]["to"].removeprefix("evt_"))
        self._socket = socket
        return info

    async def _come_back(self, code: int, lost_s: float) -> None:
        if self._token is None or self.call_id is None:
            raise CallFailed(f"the connection broke ({code}) and this server cannot resume calls")
        query = {"call_id": self.call_id, "last_event_id": f"evt_{self._last_n}"}
        headers = {"X-Resume-Token": self._token}
        self._socket = None
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, pause_s * 2)) * random.uniform(0.75, 1.25)  # noqa: S311  # jitter
            failure: Exception
            try:
                await self._send_again(await self._connect(query, headers))
            except (OSError, TimeoutError) as error:
                failure = error
            except Refused as refusal:
                if not refusal.may_pass:
                    raise
                failure = refusal
                pause_s = refusal.retry_after_s or pause_s
            else:
                break
            if time.monotonic() - lost_s > self._come_back_for_s:
                raise CallFailed(f"could not resume within {self._come_back_for_s:g} s: {_reason(failure)}")
        break_s = time.monotonic() - lost_s
        self.tally.resumes += 1
        self.tally.longest_break_s = max(self.tally.longest_break_s, break_s)
        self.resumed.append(Resumed(code, self.color, self.pod, break_s))

    async def _send_again(self, info: dict[str, Any]) -> None:
        ids = [event_id for event_id, _ in self._sent]
        last = info.get("last_client_event_id")
        unheard = list(self._sent)[ids.index(last) + 1 :] if last in ids else list(self._sent)
        for _, text in unheard:
            await self._try(text)
        missing = self._appended_bytes - self._format.size(int(info.get("input_audio_ms", 0)))
        if missing <= 0:
            return
        again = bytes(self._audio[-missing:])
        self.tally.resent_ms += self._format.ms(len(again))
        step = self._format.size(RESEND_MS)
        for at in range(0, len(again), step):
            await self._try(_append(again[at : at + step]))


def _append(audio: bytes) -> str:
    return '{"type":"input_audio_buffer.append","audio":"' + pybase64.b64encode_as_string(audio) + '"}'


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    merged = {**dict(parse_qsl(parts.query)), **query}
    return urlunsplit(parts._replace(query=urlencode(merged)))


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
