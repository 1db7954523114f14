"""A whole conversation: recordings, typed turns or a microphone in, a report out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any

import pybase64

from voice_agent.call.audio import PCM, AudioFormat, Converter
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.exchanges import (
    AudioSink,
    CallListener,
    Exchange,
    Playing,
    Report,
    SpokenTurn,
    Typed,
    silent_frame,
)
from voice_agent.client.pacing import Metronome
from voice_agent.client.refusals import CallFailed

TRANSCRIPTS = 16
"""So many turns may still wait for what was heard in them."""


class ScriptedConversation:
    """Plays turns into a call one after the other: the next begins when the reply to the last was heard."""

    def __init__(
        self,
        call: RealtimeCall,
        listener: CallListener,
        report: Report,
        *,
        audio_format: AudioFormat = PCM,
        reply_within_s: float = 30.0,
        sinks: Sequence[AudioSink] = (),
    ) -> None:
        self._call = call
        self._listener = listener
        self._report = report
        self._format = audio_format
        self._from_wire = Converter(audio_format, PCM)
        self._reply_within_s = reply_within_s
        self._sinks = sinks
        self._configure_id = f"configure_{token_hex(4)}"
        self._by_microphone = False
        self._playing: Playing | None = None
        self._metronome = Metronome()
        self._now = Exchange()
        self._turn_of: dict[str, Exchange] = {}
        self._asked_at_s: float | None = None
        self._early_response: str | None = None
        self._last_sign_s = 0.0
        self._replied = asyncio.Event()
        self._configured = asyncio.Event()
        self._heard_until_s = 0.0
        self._turns_left = 0

    async def run(self, turns: Sequence[SpokenTurn | Typed], microphone: AsyncIterator[bytes] | None = None) -> None:
        """Have the conversation; what was said until then is in the report even when it fails half way.

        Raises `CallFailed`. With a microphone it ends when the agent hangs up, or by cancellation.
        """
        self._by_microphone = microphone is not None
        self._turns_left = len(turns)
        self._call.on_resumed = self._listener.resumed
        self._call.on_waiting = self._listener.waiting
        self._listener.connected(self._call)
        listening = asyncio.create_task(self._listen())
        acting = asyncio.create_task(self._use(microphone) if microphone is not None else self._take_turns(turns))
        try:
            await asyncio.wait((listening, acting), return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
                return
            listening.result()
            await self._hung_up_on(acting)
        finally:
            for task in (listening, acting):
                task.cancel()
            await asyncio.gather(listening, acting, return_exceptions=True)
            self._report.worst_lag_ms = self._metronome.worst_lag_s * 1000

    async def _hung_up_on(self, acting: asyncio.Task[None]) -> None:
        """The agent ended the call, which is fine once all was said; what it said last is still heard."""
        if self._by_microphone:
            await self._hear_out()
        elif self._replied.is_set() and not self._turns_left:
            await acting
        else:
            raise CallFailed("the server hung up before the conversation was over")

    # --- the caller's side --------------------------------------------------------

    async def _configure(self) -> None:
        audio = {"format": self._format.as_json()}
        sides = {"input": {**audio, "transcription": {"model": "whisper-1"}}, "output": audio}
        session = {"type": "realtime", "audio": sides}
        await self._call.send({"type": "session.update", "event_id": self._configure_id, "session": session})
        with suppress(TimeoutError):
            await asyncio.wait_for(self._configured.wait(), self._reply_within_s)
        if not self._configured.is_set():
            raise CallFailed(f"the server did not take the session's settings within {self._reply_within_s:g} s")

    async def _use(self, microphone: AsyncIterator[bytes]) -> None:
        await self._configure()
        async for frame in microphone:
            await self._call.append_audio(frame)

    async def _take_turns(self, turns: Sequence[SpokenTurn | Typed]) -> None:
        await self._configure()
        line = asyncio.create_task(self._hold_line())
        try:
            for turn in turns:
                taking = asyncio.create_task(self._take_turn(turn))
                try:
                    await asyncio.wait((line, taking), return_when=asyncio.FIRST_COMPLETED)
                    if line.done():
                        line.result()
                    await taking
                finally:
                    taking.cancel()
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)

    async def _take_turn(self, turn: SpokenTurn | Typed) -> None:
        self._begin_exchange()
        if isinstance(turn, Typed):
            await self._type(turn.text)
        else:
            self._playing = Playing(turn, self._format)
            await self._playing.over.wait()
        self._turns_left -= 1
        await self._until_replied()
        await self._hear_out()

    def _begin_exchange(self) -> None:
        self._now = Exchange()
        self._report.exchanges.append(self._now)
        self._replied.clear()
        self._asked_at_s = None

    async def _type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self._now.heard = text
        self._listener.heard(self._now)
        self._asked_at_s = time.monotonic()
        await self._call.send({"type": "conversation.item.create", "item": item})
        await self._call.send({"type": "response.create"})

    async def _hold_line(self) -> None:
        """Like a microphone: a frame every 20 ms, of the recording that is being spoken or of silence."""
        silence = silent_frame(self._format)
        while True:
            await self._metronome.tick()
            playing = self._playing
            if playing is None:
                await self._call.append_audio(silence)
                continue
            self._listener.speaking(playing.name, playing.done_ms, playing.total_ms)
            await self._call.append_audio(playing.next_frame())
            if playing.done_ms == playing.voiced_ms:
                self._asked_at_s = time.monotonic()
            if playing.done_ms >= playing.total_ms:
                self._listener.speaking(playing.name, playing.total_ms, playing.total_ms)
                self._playing = None
                playing.over.set()

    async def _until_replied(self) -> None:
        """Wait for the reply's end; a server that says nothing at all for too long has failed."""
        self._last_sign_s = time.monotonic()
        while not self._replied.is_set():
            left_s = self._last_sign_s + self._reply_within_s - time.monotonic()
            if left_s <= 0:
                raise CallFailed(f"no reply within {self._reply_within_s:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._replied.wait(), left_s)

    async def _hear_out(self) -> None:
        await asyncio.sleep(max(0.0, self._heard_until_s - time.monotonic()))

    # --- the agent's side -------------------------------------------------------------

    async def _listen(self) -> None:
        async for event in self._call.events():
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
                self._play(pybase64.b64decode(event["delta"]))
        elif kind == "session.updated":
            self._configured.set()
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
            self._interrupt()
        elif what == "speech_stopped" and self._by_microphone:
            self._begin_exchange()
            # The stop is known only after some silence; the speech ended when its last sample was sent.
            since_ms = max(0, self._call.appended_ms - int(event["audio_end_ms"]))
            self._asked_at_s = time.monotonic() - since_ms / 1000
        elif what == "committed":
            self._turn_of[event["item_id"]] = self._now
            while len(self._turn_of) > TRANSCRIPTS:
                del self._turn_of[next(iter(self._turn_of))]

    def _interrupt(self) -> None:
        self._heard_until_s = 0.0
        for sink in self._sinks:
            sink.interrupt()

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

    def _play(self, audio: bytes) -> None:
        pcm = self._from_wire.convert(audio)
        duration_ms = PCM.ms(len(pcm))
        self._report.reply_ms += duration_ms
        self._heard_until_s = max(self._heard_until_s, time.monotonic()) + duration_ms / 1000
        for sink in self._sinks:
            sink.write(pcm)

    def _response_done(self, response: dict[str, Any]) -> None:
        if response["status"] == "failed":
            details = response.get("status_details") or {}
            self._now.failed = str((details.get("error") or {}).get("message", "the reply failed"))
            self._report.failures.append(self._now.failed)
            self._listener.failed(self._now.failed)
        if response["status"] != "cancelled" and self._asked_at_s is not None:
            self._replied.set()

    def _failed(self, error: dict[str, Any]) -> None:
        message = str(error["message"])
        if error.get("event_id") == self._configure_id:
            raise CallFailed(f"the server refused the session's settings: {message}")
        self._listener.failed(message)
