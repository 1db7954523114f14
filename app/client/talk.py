"""A whole conversation: recordings, typed turns or a microphone in, a report out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pybase64

from app.call.audio import PCM, AudioFormat, Converter
from app.client.connection import RealtimeCall
from app.client.pacing import FRAME_MS, Metronome
from app.client.refusals import CallFailed
from app.client.wav import end_of_speech_ms

SILENCE = bytes(PCM.size(FRAME_MS))


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn from a recording: PCM16 24 000 Hz."""

    name: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Typed:
    """A turn as text."""

    text: str


@dataclass(slots=True)
class Exchange:
    """One turn and its reply."""

    heard: str = ""
    answered: str = ""
    latency_s: float | None = None
    """End of speech (or the typed turn) to the first audio (or text) of the reply."""
    color: str = ""


@dataclass(slots=True)
class Report:
    """What became of a call."""

    call_id: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    reply_pcm: bytearray = field(default_factory=bytearray)
    resumes: int = 0
    events: int = 0
    gaps: int = 0
    repeats: int = 0
    resent_ms: int = 0
    worst_lag_ms: float = 0.0


class _Playing:
    """How far a recording has been spoken."""

    def __init__(self, turn: Spoken) -> None:
        self.turn = turn
        self.total_ms = PCM.ms(len(turn.pcm))
        self.voiced_ms = end_of_speech_ms(turn.pcm)
        self.done_ms = 0
        self.over = asyncio.Event()

    def next_frame(self) -> bytes:
        """The next 20 ms, filled up with silence at the end."""
        at = PCM.size(self.done_ms)
        self.done_ms += FRAME_MS
        return self.turn.pcm[at : at + len(SILENCE)].ljust(len(SILENCE), b"\0")


class Listener(Protocol):
    """Told what happens while it happens."""

    def connected(self, call: RealtimeCall) -> None: ...
    def speaking(self, name: str, done_ms: int, total_ms: int) -> None: ...
    def heard(self, exchange: Exchange) -> None: ...
    def answered(self, exchange: Exchange) -> None: ...
    def resumed(self, call: RealtimeCall) -> None: ...
    def mistake(self, message: str) -> None: ...
    def audio(self, pcm: bytes) -> None: ...


class Talk:
    """Plays turns into a call one after the other: the next begins when the reply to the last was heard."""

    def __init__(
        self, call: RealtimeCall, listener: Listener, *, audio_format: AudioFormat = PCM, reply_within_s: float = 30.0
    ) -> None:
        self.report = Report()
        self._call = call
        self._listener = listener
        self._format = audio_format
        self._to_wire = Converter(PCM, audio_format)
        self._from_wire = Converter(audio_format, PCM)
        self._reply_within_s = reply_within_s
        self._playing: _Playing | None = None
        self._metronome = Metronome()
        self._now = Exchange()
        self._asked_at_s: float | None = None
        self._replied = asyncio.Event()
        self._configured = asyncio.Event()
        self._heard_until_s = 0.0

    async def run(self, turns: Sequence[Spoken | Typed], microphone: AsyncIterator[bytes] | None = None) -> Report:
        """Have the conversation; the report is also there when it fails half way."""
        self._listener.connected(self._call)
        self.report.call_id = self._call.call_id or ""
        work = [asyncio.create_task(self._listen()), asyncio.create_task(self._act(turns, microphone))]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if work[0] in done and not work[1].done():
                raise CallFailed("the server ended the call")
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._close_report()
        return self.report

    def _close_report(self) -> None:
        tally = self._call.tally
        report = self.report
        report.resumes, report.events, report.gaps = tally.resumes, tally.events, tally.gaps
        report.repeats, report.resent_ms = tally.repeats, tally.resent_ms
        report.worst_lag_ms = self._metronome.worst_lag_s * 1000

    # --- the caller's side --------------------------------------------------------

    async def _act(self, turns: Iterable[Spoken | Typed], microphone: AsyncIterator[bytes] | None) -> None:
        audio = {"format": self._format.as_json()}
        await self._call.send(
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "audio": {"input": {**audio, "transcription": {"model": "whisper-1"}}, "output": audio},
                },
            }
        )
        await self._configured.wait()
        if microphone is not None:
            async for frame in microphone:
                await self._call.append_audio(self._to_wire.convert(frame))
            return
        line = asyncio.create_task(self._hold_line())
        try:
            for turn in turns:
                await self._take_turn(turn)
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)

    async def _take_turn(self, turn: Spoken | Typed) -> None:
        self._now = Exchange()
        self.report.exchanges.append(self._now)
        self._replied.clear()
        self._asked_at_s = None
        if isinstance(turn, Typed):
            await self._type(turn.text)
        else:
            await self._speak(turn)
        try:
            await asyncio.wait_for(self._replied.wait(), self._reply_within_s)
        except TimeoutError:
            raise CallFailed(f"no reply within {self._reply_within_s:g} s") from None
        await asyncio.sleep(max(0.0, self._heard_until_s - time.monotonic()))

    async def _type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self._now.heard = text
        self._listener.heard(self._now)
        self._asked_at_s = time.monotonic()
        await self._call.send({"type": "conversation.item.create", "item": item})
        await self._call.send({"type": "response.create"})

    async def _speak(self, turn: Spoken) -> None:
        self._playing = _Playing(turn)
        await self._playing.over.wait()

    async def _hold_line(self) -> None:
        """Like a microphone: a frame every 20 ms, of the recording that is being spoken or of silence."""
        while True:
            await self._metronome.tick()
            playing = self._playing
            if playing is None:
                await self._call.append_audio(self._to_wire.convert(SILENCE))
                continue
            self._listener.speaking(playing.turn.name, playing.done_ms, playing.total_ms)
            await self._call.append_audio(self._to_wire.convert(playing.next_frame()))
            if playing.done_ms == playing.voiced_ms:
                self._asked_at_s = time.monotonic()
            if playing.done_ms >= playing.total_ms:
                self._listener.speaking(playing.turn.name, playing.total_ms, playing.total_ms)
                self._playing = None
                playing.over.set()

    # --- the agent's side -------------------------------------------------------------

    async def _listen(self) -> None:
        async for event in self._call.events():
            while self._call.resumed:
                self._listener.resumed(self._call)
                self._call.resumed.popleft()
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ("response.output_audio.delta", "response.output_text.delta"):
            self._first_of_reply()
            if kind == "response.output_audio.delta":
                self._play(pybase64.b64decode(event["delta"]))
        elif kind == "session.updated":
            self._configured.set()
        elif kind == "conversation.item.input_audio_transcription.completed":
            self._now.heard = f"{self._now.heard} {event['transcript']}".strip()
            self._listener.heard(self._now)
        elif kind == "conversation.item.input_audio_transcription.failed":
            self._listener.heard(self._now)
        elif kind in ("response.output_audio_transcript.done", "response.output_text.done"):
            self._now.answered = event.get("transcript") or event.get("text") or ""
            self._now.color = self._call.color
            self._listener.answered(self._now)
        elif kind == "response.done":
            self._reply_done(event["response"])
        elif kind == "error":
            self._listener.mistake(event["error"]["message"])

    def _first_of_reply(self) -> None:
        if self._now.latency_s is None and self._asked_at_s is not None:
            self._now.latency_s = time.monotonic() - self._asked_at_s

    def _play(self, audio: bytes) -> None:
        pcm = self._from_wire.convert(audio)
        self.report.reply_pcm += pcm
        self._heard_until_s = max(self._heard_until_s, time.monotonic()) + PCM.ms(len(pcm)) / 1000
        self._listener.audio(pcm)

    def _reply_done(self, response: dict[str, Any]) -> None:
        if response["status"] == "failed":
            details = response.get("status_details") or {}
            self._listener.mistake(str((details.get("error") or {}).get("message", "the reply failed")))
        if response["status"] != "cancelled" and self._asked_at_s is not None:
            self._replied.set()
