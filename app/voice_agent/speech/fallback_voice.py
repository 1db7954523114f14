"""Several voices of which the next goes on, in the middle of a sentence, where one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.providers.answer_times import AnswerTimes
from voice_agent.providers.hedging import GaveNothing, NoneAnswered, first_to_answer
from voice_agent.speech.preference import in_order, kind_of, tell_overtaken
from voice_agent.speech.voice_take import HELD_LATER_MS, HELD_MS, VoiceTake
from voice_agent.speech.word_boundaries import WORD

STALLED_S = 0.5
"""So long a voice may give nothing more while it is waited for, as long as too little is known of its pauses: about
what the caller has of it beforehand."""
MAX_PACES = 256
"""That are remembered: stops names of voices that clients make up from filling memory."""
TRIES = 2
"""Of each voice, for one text: stops a text at which all of them fail, or get no further, from being tried for ever."""

log = structlog.get_logger(__name__)


class FallbackVoice(Voice):
    """In the order of preference; one whose provider does badly is asked last. Gives PCM.

    What the caller has heard of a voice that fails stays, up to the end of a word as a rule, and the rest of the text
    is said by the next. Where a voice tells where its words are that is exact; else they are looked for in its audio.
    """

    deterministic = False

    def __init__(self, voices: Sequence[Voice]) -> None:
        """At least one."""
        self.voices = tuple(voices)
        self.name = ",".join(voice.name for voice in voices)
        self.lead_ms = min(voice.lead_ms for voice in voices)
        self._paces: dict[tuple[int, str], float] = {}
        """Of each voice, by the name that was asked for: how fast it speaks."""
        self._times = tuple(_VoiceTimes() for _ in voices)

    @property
    def is_loading(self) -> bool:
        """Whether any of them is."""
        return any(voice.is_loading for voice in self.voices)

    async def open(self) -> None:
        """Open each. When one fails, those before it are closed."""
        async with AsyncExitStack() as opening:
            for voice in self.voices:
                await voice.open()
                opening.push_async_callback(voice.close)
            opening.pop_all()

    async def ready(self) -> None:
        """Wait until none of them makes calls wait."""
        await asyncio.gather(*(voice.ready() for voice in self.voices))

    async def close(self) -> None:
        """Close each, whatever the others raise."""
        async with AsyncExitStack() as closing:
            for voice in self.voices:
                closing.push_async_callback(voice.close)

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """PCM, in pieces of 100 ms at most. Raises what a voice raised once all have failed."""
        failed: list[Voice] = []
        attempt = self._attempt(utterance, 0, failed)
        try:
            while True:
                patience_s = partial(self._patience_s, attempt)
                while (piece := await attempt.take.next_slice(patience_s)) is not None:
                    yield attempt.placed(piece)
                if attempt.take.is_complete:
                    self._learn(attempt)
                    return
                attempt, last = await self._next(attempt, failed), attempt
                # While the next voice begins, what is left of the last one is said.
                while (piece := last.take.slice()) is not None:
                    yield last.placed(piece)
        finally:
            attempt.task.cancel()
            await asyncio.wait((attempt.task,))

    async def _next(self, last: _VoiceAttempt, failed: list[Voice]) -> _VoiceAttempt:
        """The attempt to say what `last` did not. Raises its error if that was the last one."""
        error = last.take.error
        failed += last.asked
        if error is None:
            for voice in last.asked:
                pauses = self._times_of(voice).pauses
                tell_overtaken(voice, pauses.limit_s())
                pauses.overtaken(pauses.limit_s())
        cut = await last.take.cut(self._paces.get(self._key(last)))
        last.task.cancel()
        from_chars = last.from_chars + cut.chars
        names = ",".join(voice.name for voice in last.asked)
        kind = kind_of(error)
        log.warning("a voice failed, and another one goes on", voice=names, kind=kind, from_chars=from_chars)
        is_last = len(failed) >= TRIES * len(self.voices) and (error is not None or not cut.chars)
        if is_last or isinstance(error, GaveNothing):
            raise error or VoiceFailed(names, "silent", "gave nothing more in time")
        return self._attempt(last.utterance, from_chars, failed)

    def _attempt(self, utterance: Utterance, from_chars: int, failed: Sequence[Voice]) -> _VoiceAttempt:
        voices = in_order(self.voices, failed)
        return _VoiceAttempt(voices, [self._times_of(voice).first for voice in voices], utterance, from_chars)

    def _times_of(self, voice: Voice) -> _VoiceTimes:
        return self._times[self.voices.index(voice)]

    def _patience_s(self, attempt: _VoiceAttempt) -> float:
        """How long a pause of a voice that has begun may be."""
        return max(self._times_of(voice).pauses.limit_s() for voice in attempt.asked)

    def _learn(self, attempt: _VoiceAttempt) -> None:
        for voice in attempt.asked:
            self._times_of(voice).pauses.add(attempt.longest_pause_s)
        if attempt.asked and (pace := attempt.take.pace()) is not None:
            key = self._key(attempt)
            if len(self._paces) >= MAX_PACES:
                self._paces.clear()
            self._paces[key] = pace if key not in self._paces else (3 * self._paces[key] + pace) / 4

    def _key(self, attempt: _VoiceAttempt) -> tuple[int, str]:
        return self.voices.index(attempt.asked[0]) if attempt.asked else -1, attempt.utterance.voice


@dataclass(frozen=True, slots=True)
class _VoiceTimes:
    """How long one voice usually takes."""

    first: AnswerTimes = field(default_factory=AnswerTimes)
    """To its first audio."""
    pauses: AnswerTimes = field(default_factory=lambda: AnswerTimes(STALLED_S, is_costly=True))
    """Of each text the longest between two pieces."""


class _VoiceAttempt:
    """At saying a text from some character on, with the first of some voices that begins. It has begun."""

    def __init__(
        self, voices: Sequence[Voice], times: Sequence[AnswerTimes], utterance: Utterance, from_chars: int
    ) -> None:
        """`times`: of each voice to its first audio. `utterance`: all of the text."""
        self.utterance = utterance
        self.from_chars = from_chars
        self.take = VoiceTake(utterance.text[from_chars:], utterance.speed, HELD_LATER_MS if from_chars else HELD_MS)
        self.asked: tuple[Voice, ...] = ()
        """Who is saying it; all of them, where none has begun."""
        self.longest_pause_s = 0.0
        """Between two pieces of it, without the time in which none was taken."""
        self._voices = voices
        self._times = times
        self._has_placed = from_chars == 0
        self.task = asyncio.create_task(self._run(), name="voice")

    def placed(self, piece: VoicedAudio) -> VoicedAudio:
        """A piece of the take, as a piece of all of the text."""
        words = [[ms, chars + self.from_chars] for ms, chars in piece.words]
        if not self._has_placed:
            self._has_placed = True
            words = [[0, self.from_chars], *words]
        return replace(piece, words=words)

    async def _timed(self, pieces: AsyncGenerator[VoicedAudio, None]) -> AsyncGenerator[VoicedAudio, None]:
        loop = asyncio.get_running_loop()
        wanted_at_s = loop.time()  # The first piece is there.
        async for piece in pieces:
            self.longest_pause_s = max(self.longest_pause_s, loop.time() - wanted_at_s)
            yield piece
            wanted_at_s = loop.time()

    async def _run(self) -> None:
        rest = replace(self.utterance, text=self.utterance.text[self.from_chars :])
        if WORD.search(rest.text) is None:
            self.take.end(None)
            return
        error: Exception | None = None
        starts = [partial(_spoken, voice, rest) for voice in self._voices]
        try:
            async with first_to_answer(starts, self._times, (Exception,), gives_up=True) as answer:
                for index, after_s in answer.overtaken.items():
                    tell_overtaken(self._voices[index], after_s)
                self.asked = (self._voices[answer.index],)
                async with aclosing(self._timed(answer.items)) as pieces:
                    await self.take.receive(pieces)
        except NoneAnswered as none:
            self.asked = tuple(self._voices)
            error = list(none.failed.values())[-1]
        except Exception as raised:  # noqa: BLE001 - a voice is somebody else's code; the next one goes on
            error = raised
        self.take.end(error, ",".join(voice.name for voice in self.asked))


async def _spoken(voice: Voice, utterance: Utterance) -> AsyncGenerator[VoicedAudio, None]:
    """What it says; pieces without audio are left out, for they are no beginning."""
    async for piece in voice.say(utterance):
        if piece.audio:
            yield piece
