"""Understanding what the client's user says while it is said, by an ear that takes frames.

What is said stands in the call's input audio buffer from its beginning on, until the turn is over. So nothing is kept
for the ear a second time, and an ear that falls behind finds the rest there. ::

    buffer.start                                 buffer.position
    |  piece  |  piece  |  piece  |  pie          <- appended frame by frame
              taken     due       |
                                  wakes the ear

The ear gets pieces of the same length, counted from the beginning of the utterance, however the audio came: so on a pod
that has taken the call over, from what was saved and what the client sends, it gets the very same pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.call.audio import AudioFormat
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import spoken_language
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.usage import Meter
from voice_agent.runtime.calls.transcriber import Transcriber
from voice_agent.runtime.ports import Clock, Observer

PIECE_MS = 100
"""Of an ear's frames: longer ones would be heard later, shorter ones cost more task switches."""


class UtteranceFrames:
    """What an ear gets of one utterance: clips of `PIECE_MS`, the last of which may be shorter."""

    def __init__(self, buffer: InputAudioBuffer, audio_format: AudioFormat, language: str = "") -> None:
        """`buffer`: it begins with the utterance."""
        self.buffer = buffer
        self.start = buffer.start
        self.due = audio_format.size(PIECE_MS)
        """Bytes of the utterance up to which the next piece goes."""
        self._format = audio_format
        self._language = language
        self._taken = 0
        self._whole: bytes | None = None
        self._came = asyncio.Event()

    def wake(self) -> None:
        """The next piece is complete."""
        self._came.set()

    def end(self, whole: bytes = b"") -> None:
        """The utterance is over, and this is all of it; nothing more comes if it is not wanted any more."""
        self._whole = whole
        self._came.set()

    def __aiter__(self) -> UtteranceFrames:
        return self

    async def __anext__(self) -> Clip:
        # An ear that never waits leaves the others their turn, also where much has been said already.
        await asyncio.sleep(0)
        while not self._is_due():
            self._came.clear()
            await self._came.wait()
        piece = bytes(self._held()[self._taken : self.due])
        if not piece:
            raise StopAsyncIteration
        self._taken = self.due
        self.due += self._format.size(PIECE_MS)
        return Clip(piece, self._format, self._language)

    def _is_due(self) -> bool:
        return self._whole is not None or len(self._held()) >= self.due

    def _held(self) -> bytes | bytearray:
        if self._whole is not None:
            return self._whole
        return self.buffer.audio if self.buffer.start == self.start else b""


class StreamedTurn:
    """What an ear makes of one utterance."""

    def __init__(
        self,
        transcriber: Transcriber,
        frames: UtteranceFrames,
        item_id: str | None,
        tell: Callable[[StreamedTurn], None],
        *,
        name: str,
    ) -> None:
        """`tell`: called with this whenever more was understood."""
        self.frames = frames
        self.item_id = item_id
        """Of the turn that it will be; None where that is not known before it is over."""
        self.partial = ""
        """What has been understood so far."""
        self._tell = tell
        self._task = asyncio.create_task(transcriber.of_frames(frames, self._heed), name=f"{name} ear")

    async def transcript(self) -> Transcript:
        """What was said, once its frames have ended. Cancelled, the ear is closed."""
        return await self._task

    def cancel(self) -> None:
        """It is not wanted any more: the ear is closed, and gets no more frames."""
        self._task.cancel()
        self.frames.end()

    def _heed(self, transcript: Transcript) -> None:
        self.partial = transcript.text or ""
        self._tell(self)


class StreamedTranscription:
    """One call's."""

    def __init__(
        self,
        call: CallRecord,
        agent: Agent,
        clock: Clock,
        observer: Observer,
        tell: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        """`tell` is told what has been understood so far of the utterance under way, whenever that is more."""
        self._language = agent.language
        self._call = call
        self._tell = tell
        self._clock = clock
        self._observer = observer
        self._transcriber = Transcriber(agent.ear or Ear(), call.call_id, clock, observer, meter)
        self._under_way: StreamedTurn | None = None

    @property
    def partial(self) -> str:
        """What has been understood so far of the utterance under way; "" if there is none."""
        return self._under_way.partial if self._under_way is not None else ""

    def advance(self) -> None:
        """More may have been said, or what was said has been dropped. On the path of every frame."""
        call = self._call
        buffer = call.input_audio
        if self._under_way is not None:
            frames = self._under_way.frames
            if frames.buffer is buffer and frames.start == buffer.start:
                if len(buffer.audio) >= frames.due:
                    frames.wake()
                return
            self.cancel()
        if buffer.speaking or (buffer.audio and call.session.turn_detection is None):
            self._under_way = self._begun(buffer, call.session.input_format, buffer.item_id)

    def cancel(self) -> None:
        """The utterance under way is not wanted any more, or the call is over."""
        if self._under_way is not None:
            self._under_way.cancel()
            self._under_way = None

    def turn_over(self, item_id: str, clip: Clip) -> StreamedTurn:
        """A turn is complete, and this is all of it: what the ear has not had of it comes now.

        To be called in the step that ends the turn: the buffer does not hold it any more.
        """
        turn = self._under_way
        if turn is not None and self._is(turn, item_id, clip):
            self._under_way = None
        else:  # A turn whose owner was another pod, one that came in one piece, or audio in an item of the client's.
            turn = self._begun(InputAudioBuffer(), clip.format, item_id)
        turn.frames.end(clip.audio)
        return turn

    def _is(self, turn: StreamedTurn, item_id: str, clip: Clip) -> bool:
        """Whether the utterance under way is the turn that is over."""
        if turn.item_id is not None:
            return turn.item_id == item_id
        # Committed by the client: nothing else happened in this step, so the buffer begins where it ends.
        return turn.frames.start + len(clip.audio) == self._call.input_audio.start

    async def transcript_of(self, turn: StreamedTurn) -> Transcript:
        """What was said in a turn that is over; its text is None if that is not known."""
        started_s = self._clock.monotonic_s()
        found = await turn.transcript()
        self._observer.turn_stage("stt", self._clock.monotonic_s() - started_s)
        return found

    def _begun(self, buffer: InputAudioBuffer, audio_format: AudioFormat, item_id: str | None) -> StreamedTurn:
        language = spoken_language(self._call.session.fields) or self._language
        frames = UtteranceFrames(buffer, audio_format, language)
        return StreamedTurn(self._transcriber, frames, item_id, self._understood, name=self._call.call_id)

    def _understood(self, turn: StreamedTurn) -> None:
        if turn is self._under_way:
            self._tell(turn.partial)
