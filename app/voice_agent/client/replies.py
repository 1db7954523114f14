"""What the server says in a conversation: what it heard of each turn, what it answers, and how soon."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from secrets import token_hex
from typing import Any

import pybase64

from voice_agent.client.connection import RealtimeCall
from voice_agent.client.exchanges import CallListener, Exchange, Report
from voice_agent.client.playback import AudioPlayback
from voice_agent.client.refusals import CallFailed

TRANSCRIPTS = 16
"""So many turns may still wait for what was heard in them."""


class ReplyTracker:
    """Puts what comes to the exchange that it belongs to. One is under way at a time: `begin` the next."""

    def __init__(self, call: RealtimeCall, listener: CallListener, report: Report, playback: AudioPlayback) -> None:
        self.by_ear = False
        """Turns begin and end where the server hears that they do; else `begin` and `asked` say so."""
        self.configure_id = f"configure_{token_hex(4)}"
        """The id of the ``session.update`` that must not fail."""
        self.configured = asyncio.Event()
        self.replied = asyncio.Event()
        """The exchange under way has its whole reply."""
        self._call = call
        self._listener = listener
        self._report = report
        self._playback = playback
        self._now = Exchange()
        self._turn_of: dict[str, Exchange] = {}
        self._asked_at_s: float | None = None
        self._early_response: str | None = None
        self._last_sign_s = 0.0

    def begin(self) -> None:
        """The next exchange begins."""
        self._now = Exchange()
        self._report.exchanges.append(self._now)
        self.replied.clear()
        self._asked_at_s = None

    def typed(self, text: str) -> None:
        """The turn is this text, and is over."""
        self._now.heard = text
        self._listener.heard(self._now)
        self.asked()

    def asked(self, ago_s: float = 0.0) -> None:
        """The turn is over; its reply is timed from here."""
        self._asked_at_s = time.monotonic() - ago_s

    async def until_replied(self, within_s: float) -> None:
        """Wait for the reply's end. Raises `CallFailed` once the server says nothing at all for so long."""
        self._last_sign_s = time.monotonic()
        while not self.replied.is_set():
            left_s = self._last_sign_s + within_s - time.monotonic()
            if left_s <= 0:
                raise CallFailed(f"no reply within {within_s:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self.replied.wait()

    def take(self, event: dict[str, Any]) -> None:
        """A server event. Raises `CallFailed` for one that lacks what it should hold."""
        self._last_sign_s = time.monotonic()
        try:
            self._take(event)
        except (KeyError, TypeError, ValueError) as error:
            raise CallFailed(f"the server sent a {event['type']} event that is not complete: {error!r}") from error

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ("response.output_audio.delta", "response.output_text.delta"):
            self._first_of_reply(event.get("response_id", ""))
            if kind == "response.output_audio.delta":
                self._playback.play(pybase64.b64decode(event["delta"]))
        elif kind == "session.updated":
            self.configured.set()
        elif kind.startswith("input_audio_buffer."):
            self._spoke(kind.removeprefix("input_audio_buffer."), event)
        elif kind == "conversation.item.input_audio_transcription.completed":
            self._understood(event["item_id"], event["transcript"])
        elif kind == "conversation.item.input_audio_transcription.failed":
            self._understood(event["item_id"], "")
        elif kind in ("response.output_audio_transcript.done", "response.output_text.done"):
            self._now.answered = event.get("transcript") or event.get("text") or ""
            self._now.color = self._call.color
            self._listener.answered(self._now)
        elif kind == "response.done":
            self._response_done(event["response"])
        elif kind == "call.going_away":
            self._listener.going_away(int(event["time_left_ms"]))
        elif kind == "error":
            self._failed(event["error"])

    def _spoke(self, what: str, event: dict[str, Any]) -> None:
        """The server heard the caller begin, stop, or complete a turn."""
        if what == "speech_started":
            self._playback.interrupt()
        elif what == "speech_stopped" and self.by_ear:
            self.begin()
            # The stop is known only after some silence; the speech ended when its last sample was sent.
            self.asked(max(0, self._call.appended_ms - int(event["audio_end_ms"])) / 1000)
        elif what == "committed":
            self._turn_of[event["item_id"]] = self._now
            while len(self._turn_of) > TRANSCRIPTS:
                del self._turn_of[next(iter(self._turn_of))]

    def _understood(self, item_id: str, transcript: str) -> None:
        exchange = self._turn_of.get(item_id, self._now)
        exchange.heard = f"{exchange.heard} {transcript}".strip()
        self._listener.heard(exchange)

    def _first_of_reply(self, response_id: str) -> None:
        """Time the reply, unless it began before the turn was over: then it answers a part of it."""
        if self._asked_at_s is None:
            self._early_response = response_id
        elif self._now.latency_s is None and response_id != self._early_response:
            self._now.latency_s = time.monotonic() - self._asked_at_s

    def _response_done(self, response: dict[str, Any]) -> None:
        if response["status"] == "failed":
            details = response.get("status_details") or {}
            self._now.failed = str((details.get("error") or {}).get("message", "the reply failed"))
            self._report.failures.append(self._now.failed)
            self._listener.failed(self._now.failed)
        if response["status"] != "cancelled" and self._asked_at_s is not None:
            self.replied.set()

    def _failed(self, error: dict[str, Any]) -> None:
        message = str(error["message"])
        if error.get("event_id") == self.configure_id:
            raise CallFailed(f"the server refused the session's settings: {message}")
        self._listener.failed(message)
