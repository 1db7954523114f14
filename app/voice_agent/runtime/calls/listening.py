"""Listening to a client's audio: where its turns end, and what was said in them.

An ear that takes utterances whole is asked in a pause that may end one (`early_transcription`); one that streams gets
them while they are said (`streamed_transcription`).

The call's loop feeds `endpointer` with each frame and reports boundaries to the rules; the rules answer with effects
(`Transcribe`, `StopTranscribing`, `ResetEndpointing`) that come back here. One task for each transcription.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import structlog

from voice_agent.call.input_audio import bytes_to_checkpoint
from voice_agent.call.inputs import AppendAudio, Input, Transcribed
from voice_agent.call.record import CallRecord
from voice_agent.kit.agent import Agent
from voice_agent.kit.ear import AgentEar, Ear, Transcript
from voice_agent.kit.usage import Meter
from voice_agent.runtime.calls.caller_clip import caller_clip
from voice_agent.runtime.calls.early_transcription import EarlyTranscription
from voice_agent.runtime.calls.streamed_transcription import StreamedTranscription
from voice_agent.runtime.calls.transcriber import NOT_KNOWN
from voice_agent.runtime.calls.turn_ending import TurnEnding
from voice_agent.runtime.engine.frames import FrameQueue
from voice_agent.runtime.engine.hearing import HearingNotices
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.semantic_endpointing import SemanticEndpointer

HELD_MS = 300
"""So much of what a silent caller sends comes to the rules at a time: one step in fifteen, and the padding of the next
utterance, which is all that they keep of it, is no worse known. Nothing of it is stored before somebody speaks."""
HELD_SPEECH_MS = 100
"""The same of who speaks, between two pauses, up to where it is to be saved. So a crash loses no more than without."""
MAX_EARLY_BYTES = 1024 * 1024
"""Of an utterance that is recognised before it is surely over, 21 s of PCM: a longer one, recognised from its start in
each of its pauses, would be worked on as often as it has pauses."""
SETTLE_MS = 3000
"""How much of an utterance endpointing hears before it knows the noise around it."""
TRANSCRIPTION_LIMIT_S = 30.0
"""After so long a turn counts as not understood, and its response begins without a transcript."""

log = structlog.get_logger(__name__)


class HeldAudio:
    """What the caller sent and the rules have not had yet: endpointing has, and heard no boundary in it.

    They have it before anything else comes to them.
    """

    def __init__(self, call: CallRecord, feed: Callable[[Input], None]) -> None:
        self.audio = bytearray()
        self.most_silence_bytes = 0
        self.most_speech_bytes = 0
        """As soon as there is so much, the rules get it. 0: nothing is held."""
        self._call = call
        self._feed = feed

    def most_bytes(self, pause_ms: int) -> int:
        """How much may be held now, `pause_ms` into a pause of who speaks: nothing of one, for it may end a turn."""
        if not self._call.input_audio.speaking:
            return self.most_silence_bytes
        if pause_ms or not self.most_speech_bytes:
            return 0
        return min(self.most_speech_bytes, bytes_to_checkpoint(self._call))

    def take(self) -> bytes:
        """All of it, for who gives it to the rules; nothing is held any more."""
        audio = bytes(self.audio)
        self.audio.clear()
        return audio

    def give(self) -> None:
        """Let the rules have it."""
        if self.audio:
            self._feed(AppendAudio(self.take()))


class Listening:
    """One call's. It changes nothing of the call but by `feed`."""

    def __init__(
        self,
        call: CallRecord,
        agent: Agent,
        feed: Callable[[Input], None],
        clock: Clock,
        observer: Observer,
        meter: Meter | None = None,
    ) -> None:
        ear = agent.ear or Ear()
        self.endpointer: Endpointer | None = None
        """None where turns are not detected or audio is mirrored."""
        self.held = HeldAudio(call, feed)
        self.taps: list[FrameQueue] = []
        """Who else is given the client's frames."""
        self.hearing = HearingNotices()
        """Who is told what is being heard."""
        streams = ear.streams and not call.identity.mirror
        self.stream = StreamedTranscription(call, agent, clock, observer, self._understood, meter) if streams else None
        """None where the ear takes utterances whole."""
        self._call = call
        self._feed = feed
        self._early = EarlyTranscription(ear, clock, observer, call.call_id, meter)
        self._by_agent = isinstance(ear, AgentEar)
        self._ending = TurnEnding(call, agent)
        self._agent = agent
        self._is_paused = False
        """In an utterance, for so long that it may be over."""
        self.spoken_to = 0
        """Up to where the caller had spoken when there was audio last, see `Endpointer.spoken_to`."""
        self._asked_bytes = 0
        """How much of the utterance there was when the ear was last asked about it; 0: it was not."""
        self._transcribing: dict[str, asyncio.Task[None]] = {}
        """By the item of the turn."""
        self.restart()

    # --- where turns end --------------------------------------------------------

    def restart(self, *, at_bytes: int | None = None) -> None:
        """Detect turns from a position in the client's audio on, as the session asks for; None: from where it is."""
        call = self._call
        detection = call.session.turn_detection
        if detection is None or call.identity.mirror:
            self.endpointer = None
            return
        size = call.session.input_format.size
        # Where a silence of some length is a turn, its length counts to the frame.
        self.held.most_silence_bytes = 0 if detection.idle_timeout_ms else size(HELD_MS)
        # An ear that streams gets frames as they come.
        self.held.most_speech_bytes = 0 if self.stream is not None else size(HELD_SPEECH_MS)
        buffer = call.input_audio
        at_bytes = buffer.position if at_bytes is None else at_bytes
        self.endpointer = self._ending.endpointer(detection, at_bytes)

    def resume_utterance(self) -> None:
        """After a take-over: listen to the end of what was saved of an utterance.

        The pause that may end it could have begun there.
        """
        if self.stream is not None:
            # What was saved is heard from its beginning on, so that as much is understood as without the take-over.
            self.stream.advance()
        buffer, detection = self._call.input_audio, self._call.session.turn_detection
        if self.endpointer is None or not buffer.speaking or detection is None:
            return
        size_bytes = self._call.session.input_format.size(detection.unfinished_silence_ms + SETTLE_MS)
        onset = buffer.onset
        if (
            onset is not None
            and buffer.start <= onset.heard_from
            and 0 <= buffer.position - onset.known_at <= size_bytes
        ):
            before, saved = buffer.parted(onset.known_at)
            self.restart(at_bytes=onset.known_at)
            self.endpointer.go_on(before, onset)
        else:
            saved = bytes(buffer.audio[-size_bytes:])
            self.restart(at_bytes=buffer.position - len(saved))
        if isinstance(self.endpointer, SemanticEndpointer):
            # A pause in what was saved is judged once it is known what was said before it.
            self.endpointer.wait(detection.unfinished_silence_ms)
        boundaries = self.endpointer.feed(saved)
        self.spoken_to = self.endpointer.spoken_to
        if boundaries and not boundaries[-1].started:
            self._feed(AppendAudio(b"", None, boundaries[-1:]))
        elif isinstance(self.endpointer, SemanticEndpointer):
            self.note_pause(self.endpointer.pause_ms)
            if not self._is_paused:
                self.endpointer.wait(detection.silence_duration_ms)

    # --- what was said ----------------------------------------------------------

    @property
    def partial(self) -> str:
        """What has been understood so far of what the caller is saying; "" where the ear takes utterances whole."""
        return self.stream.partial if self.stream is not None else ""

    def speech_started(self, item_id: str | None) -> None:
        """An utterance begins."""
        self._is_paused = False
        self._asked_bytes = 0
        self._ending.judge_anew(self.endpointer)
        self.hearing.started(item_id)

    def speech_stopped(self, item_id: str | None) -> None:
        """It is over; None: no turn came of it."""
        self._is_paused = False
        self.hearing.stopped(item_id)

    @property
    def heeds_pauses(self) -> bool:
        """Whether it matters that a pause begins, though the ear takes frames: for who is told, or for the turn."""
        return bool(self.hearing.queues) or isinstance(self.endpointer, SemanticEndpointer)

    def note_pause(self, pause_ms: int) -> None:
        """In an utterance, after a pause of this length: the turn may be over, or the caller has gone on."""
        if not pause_ms:
            self.went_on(self.spoken_to)
        asked_bytes = 0 if self._is_paused else self._asked_bytes
        heeded_ms = self._ending.heeded_pause_ms(self.endpointer, asked_bytes)
        if pause_ms >= heeded_ms:
            if not self._is_paused:
                self._is_paused = True
                self._pause_begins()
        elif self.stream is None and pause_ms >= heeded_ms - self._early.ahead_ms and not self._early.is_begun:
            self._ask_early(ahead=True)

    def went_on(self, spoken_to: int) -> None:
        """The caller has spoken up to there: what was understood before is not all of it."""
        self.spoken_to = spoken_to
        self._early.cancel()
        if self._is_paused:
            self._is_paused = False
            self._ending.judge_anew(self.endpointer)
            self.hearing.resumed()

    def _pause_begins(self) -> None:
        """Start to transcribe what was said, if that was not done meanwhile; tell of the pause once it is known."""
        buffer = self._call.input_audio
        if self.stream is not None:
            self._paused(self.stream.partial or None)
        else:
            if not self._early.is_begun:
                self._ask_early()
            if self._early.is_begun:
                self._asked_bytes = len(buffer.audio)
            self._early.when_known(self._paused)

    def _ask_early(self, *, ahead: bool = False) -> None:
        """Start to transcribe what was said so far, unless that is too much.

        The ear gets as little of the pause as when it is asked as soon as can be: it may understand something else with
        more of it, and how late it is asked depends on when it was asked before, which another pod does not know.
        """
        buffer, endpointer = self._call.input_audio, self.endpointer
        if endpointer is None or buffer.item_id is None or len(buffer.audio) > MAX_EARLY_BYTES:
            return
        said_bytes = endpointer.spoken_to - buffer.start
        size_bytes = self._ending.clip_bytes(endpointer, said_bytes, self._early.ahead_ms)
        with memoryview(buffer.audio) as held, held[:size_bytes] as said:
            clip = caller_clip(self._call, self._agent, bytes(said))
        self._early.begin(buffer.item_id, clip, ahead=ahead)

    def _paused(self, text: str | None) -> None:
        """A pause lasts, and so much was understood of what was said before it."""
        self.hearing.paused(text)
        self._judge(text)

    def _understood(self, text: str) -> None:
        self.hearing.understood(text or None)
        if self._is_paused:
            self._judge(text)

    def _judge(self, text: str | None) -> None:
        """Wait for the end of the turn as long as what was understood asks for; it may be due already."""
        detection = self._call.session.turn_detection
        if detection is None or not isinstance(self.endpointer, SemanticEndpointer):
            return
        self.endpointer.wait(self._ending.silence_ms(text, detection))
        if boundaries := self.endpointer.end_if_due():
            self._feed(AppendAudio(b"", None, boundaries))

    def transcribe(self, item_id: str, audio: bytes, said_bytes: int = 0) -> None:
        """Transcribe a turn that is over, and feed `Transcribed`; `said_bytes`: see `HeardClip`."""
        if self.stream is None and said_bytes:
            audio = audio[: self._ending.clip_bytes(self.endpointer, said_bytes, self._early.ahead_ms)]
        clip = caller_clip(self._call, self._agent, audio)
        if self.stream is None or not audio:
            self._start(item_id, functools.partial(self._early.transcript_of, item_id, clip))
            return
        turn = self.stream.turn_over(item_id, clip)
        task = self._start(item_id, functools.partial(self.stream.transcript_of, turn))
        # The turn does not learn of the end of a task that is cancelled before its first step.
        task.add_done_callback(lambda _: turn.cancel())

    def stop_transcribing(self, item_id: str) -> None:
        """Cancel the transcription of an item, if one is under way."""
        if (task := self._transcribing.pop(item_id, None)) is not None:
            task.cancel()

    async def transcribed(self) -> None:
        """Wait until no turn is being transcribed, `TRANSCRIPTION_LIMIT_S` at most."""
        if self._transcribing:
            await asyncio.wait(self._transcribing.values(), timeout=TRANSCRIPTION_LIMIT_S)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel all transcriptions; returns the tasks of turns that were over, to be waited for."""
        self._early.cancel()
        if self.stream is not None:
            self.stream.cancel()
        tasks = list(self._transcribing.values())
        for task in tasks:
            task.cancel()
        return tasks

    def _start(self, item_id: str, find: Callable[[], Awaitable[Transcript]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._transcribe(item_id, find), name=self._call.call_id)
        self._transcribing[item_id] = task
        return task

    async def _transcribe(self, item_id: str, find: Callable[[], Awaitable[Transcript]]) -> None:
        try:
            async with asyncio.timeout(TRANSCRIPTION_LIMIT_S):
                found = await find()
        except TimeoutError:
            log.warning("transcription took too long", call_id=self._call.call_id, item_id=item_id)
            found = NOT_KNOWN
        finally:
            # An item of the same id may have been made since.
            if self._transcribing.get(item_id) is asyncio.current_task():
                del self._transcribing[item_id]
        others = tuple(found.alternatives)
        self._feed(Transcribed(item_id, found.text, self._by_agent, certain=found.certain, alternatives=others))
