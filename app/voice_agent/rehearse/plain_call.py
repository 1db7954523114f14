"""The call of a client that was made for no server in particular: one connection, no resume, ids of its own or none.

Nothing here helps a server: what it did not take is not sent again, and a close is the end of the call. So a `Caller`
over it finds whatever such a client would notice, and events that come twice or not at all besides.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

import orjson
import pybase64
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from voice_agent.call.closing import CloseCode
from voice_agent.client.refusals import CallFailed, CallRefused, closed
from voice_agent.client.sequence import SequenceChecker, Tally
from voice_agent.rehearse.reply_playback import ReplyPlayback
from voice_agent.rehearse.timeline import CallLine

CLOSING_S = 2.0
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Of a server's event."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a client writes what it sends."""

    piece_bytes: int = 960
    """Of PCM16 in each append: even."""
    event_id: str | None = None
    """One id for all that is no audio, as a careless client has; None: no ids."""
    is_spaced: bool = False
    """JSON with spaces, as Python writes it, instead of compact, as JavaScript does."""

    def write(self, event: dict[str, Any]) -> str:
        """An event as it is sent."""
        return json.dumps(event) if self.is_spaced else orjson.dumps(event).decode()


HABITS = (
    Habits(),
    Habits(1442, "mine"),
    Habits(2048, is_spaced=True),
    Habits(482, "1", is_spaced=True),
    Habits(9602, "event"),
)
"""Pieces of 20 ms, powers of two, and those that are no whole number of milliseconds; one id for all, and none."""


class PlainCall:
    """A call over one connection; entered once, by which it connects. `caller.ClientCall`."""

    def __init__(self, url: str, line: CallLine, now_s: Callable[[], float], habits: Habits = HABITS[0]) -> None:
        """`url`: with the agent in it. `line` is filled; `now_s`: the time for it."""
        self.line = line
        self.call_id: str | None = None
        self.tally = Tally()
        self.playback = ReplyPlayback()
        self._url = url
        self._now_s = now_s
        self._habits = habits
        self._numbering = SequenceChecker(self.tally)
        self._unsent = bytearray()
        self._socket: ClientConnection | None = None
        self._has_hung_up = False

    async def __aenter__(self) -> Self:
        """Connect. Raises `CallFailed`."""
        try:
            self._socket = await connect(
                self._url, proxy=None, compression=None, max_size=MAX_MESSAGE_BYTES, close_timeout=CLOSING_S
            )
        except InvalidStatus as refusal:
            raise CallRefused(refusal.response.status_code, bytes(refusal.response.body or b""), None) from refusal
        except (OSError, InvalidHandshake) as error:
            raise CallFailed(f"no connection: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._has_hung_up = True
        self.line.end_leg(self._now_s())
        if self._socket is not None:
            await self._socket.close(CloseCode.NORMAL_CLOSURE)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Server events, each once. Ends after a hang-up; raises `CallFailed` when the server closes, with any code."""
        socket = self._socket
        assert socket is not None
        try:
            while True:
                event = orjson.loads(await socket.recv())
                if event["type"] == "session.created" and self.call_id is None:
                    self._greeted(event)
                elif self._numbering.is_new(event):
                    if event["type"] == "response.output_audio.delta":
                        self.playback.hear(event["response_id"], len(event["delta"]) * 3 // 4, self._now_s())
                    yield event
        except ConnectionClosed:
            if self._has_hung_up:
                return
        code = socket.close_code or CloseCode.ABNORMAL_CLOSURE
        self.line.end_leg(self._now_s(), code)
        raise closed(code, socket.close_reason or "")

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event, behind all audio."""
        if self._unsent:
            await self._append(bytes(self._unsent))
            self._unsent.clear()
        named = {} if self._habits.event_id is None else {"event_id": self._habits.event_id}
        await self._send({**event, **named})

    async def append_audio(self, audio: bytes) -> None:
        """Send audio, PCM16 24 000 Hz, in pieces of its own; what is left over goes with the next."""
        self._unsent += audio
        size = self._habits.piece_bytes
        while len(self._unsent) >= size:
            piece = bytes(self._unsent[:size])
            del self._unsent[:size]
            await self._append(piece)

    async def _append(self, audio: bytes) -> None:
        await self._send({"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(audio)})

    async def _send(self, event: dict[str, Any]) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(self._habits.write(event))
        except ConnectionClosed:
            return  # Whoever reads finds it.

    def _greeted(self, greeting: dict[str, Any]) -> None:
        told: dict[str, Any] = greeting["session"].get("call") or {}
        self.call_id = self.line.call_id = told.get("id", "")
        self._numbering.begin(greeting, None, first=True)
        self.line.begin_leg(told.get("color", ""), told.get("pod", ""), self._now_s())
