"""A whole conversation: recordings, typed turns or a microphone in, a report out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.exchanges import AudioSink, CallListener, Playing, Report, SpokenTurn, Typed, silent_frame
from voice_agent.client.pacing import Metronome
from voice_agent.client.playback import AudioPlayback
from voice_agent.client.refusals import CallFailed
from voice_agent.client.replies import ReplyTracker


class ScriptedConversation:
    """Plays turns into a call one after the other: the next begins when the reply to the last was heard.

    `run` it once.
    """

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
        self._reply_within_s = reply_within_s
        self._playback = AudioPlayback(audio_format, sinks)
        self._replies = ReplyTracker(call, listener, report, self._playback)
        self._playing: Playing | None = None
        self._metronome = Metronome()
        self._turns_left = 0

    async def run(self, turns: Sequence[SpokenTurn | Typed], microphone: AsyncIterator[bytes] | None = None) -> None:
        """Have the conversation; what was said until then is in the report even when it fails half way.

        Raises `CallFailed`. With a microphone it ends when the agent hangs up, or by cancellation.
        """
        self._replies.by_ear = microphone is not None
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
            self._report.reply_ms = self._playback.total_ms

    async def _hung_up_on(self, acting: asyncio.Task[None]) -> None:
        """The agent ended the call, which is fine once all was said; what it said last is still heard."""
        if self._replies.by_ear:
            await self._playback.hear_out()
        elif self._replies.replied.is_set() and not self._turns_left:
            await acting
        else:
            raise CallFailed("the server hung up before the conversation was over")

    async def _configure(self) -> None:
        audio = {"format": self._format.as_json()}
        sides = {"input": {**audio, "transcription": {"model": "whisper-1"}}, "output": audio}
        session = {"type": "realtime", "audio": sides}
        await self._call.send({"type": "session.update", "event_id": self._replies.configure_id, "session": session})
        with suppress(TimeoutError):
            async with asyncio.timeout(self._reply_within_s):
                await self._replies.configured.wait()
        if not self._replies.configured.is_set():
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
        self._replies.begin()
        if isinstance(turn, Typed):
            await self._type(turn.text)
        else:
            self._playing = Playing(turn, self._format)
            await self._playing.over.wait()
        self._turns_left -= 1
        await self._replies.until_replied(self._reply_within_s)
        await self._playback.hear_out()

    async def _type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self._replies.typed(text)
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
                self._replies.asked()
            if playing.done_ms >= playing.total_ms:
                self._listener.speaking(playing.name, playing.total_ms, playing.total_ms)
                self._playing = None
                playing.over.set()

    async def _listen(self) -> None:
        async for event in self._call.events():
            self._replies.take(event)
