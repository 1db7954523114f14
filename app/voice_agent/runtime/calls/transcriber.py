"""An ear at work for one call. Whatever it does wrong, it is the turn that is not understood, and the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog

from voice_agent.call.said_by_caller import MAX_ALTERNATIVES
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.usage import METER, Meter
from voice_agent.runtime.engine.agent_steps import StepWatch, Watched, result_of
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.speech.speech_work import WORK, SpeechWork

EAR_CLOSES_WITHIN_S = 5.0
"""So long an ear may take to end once it is not wanted any more."""

NOT_KNOWN = Transcript(None)
MAX_ALTERNATIVE_CHARS = 1_000
"""Of each: longer ones are cut."""
_END: Any = object()

log = structlog.get_logger(__name__)


class NoTranscript(Exception):
    """An ear gave what is no transcript, or none where one is due."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The ear gave {what}.")


class Transcriber:
    """One call's. Nothing here raises but `CancelledError`, when the task that waits is cancelled."""

    def __init__(self, ear: Ear, call_id: str, clock: Clock, observer: Observer, meter: Meter | None = None) -> None:
        """`meter`: counts what the ear asks of a provider; all is done in tasks that are made for it."""
        self.ear = ear
        self._meter = meter
        self._call_id = call_id
        self._watch = StepWatch(ear.name, call_id, clock, observer, kind="ear")

    async def of_clip(self, clip: Clip, work: SpeechWork | None = None) -> Transcript:
        """What was said in a clip; its text is None if that is not known. `work`: what it is a part of."""
        return await self._understood(self._of_clip(clip), work)

    async def of_frames(self, frames: AsyncIterator[Clip], heed: Callable[[Transcript], None]) -> Transcript:
        """What was said in all frames, as `of_clip` has it. `heed` is told of each transcript as it comes."""
        return await self._understood(self._of_frames(frames, heed))

    async def _of_clip(self, clip: Clip) -> Transcript:
        found: Any = await result_of(self.ear.transcribe(clip), self._watch)
        return _checked(found if isinstance(found, Transcript) else Transcript(found))

    async def _of_frames(self, frames: AsyncIterator[Clip], heed: Callable[[Transcript], None]) -> Transcript:
        newest: Transcript | None = None
        found: Any = self.ear.listen(frames)
        try:
            while (given := await result_of(anext(found, _END), self._watch)) is not _END:
                if not isinstance(given, Transcript):
                    raise NoTranscript(f"{type(given).__name__}, which is no transcript")
                newest = _checked(given)
                heed(newest)
                # An ear that yields without ever waiting leaves the others their turn.
                await asyncio.sleep(0)
        finally:
            await self._close(found)
        if newest is None or not newest.is_final:
            raise NoTranscript("no final transcript")
        return newest

    async def _close(self, transcripts: Any) -> None:
        if isinstance(transcripts, Coroutine):
            transcripts.close()  # It was to be a generator, and yields nothing: it is never waited for.
        close = getattr(transcripts, "aclose", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(EAR_CLOSES_WITHIN_S):
                await Watched(close(), self._watch)
        except Exception:
            # The ear's way of tidying up; what was understood is known, or not wanted any more.
            log.exception("ear raised when it was closed", ear=self.ear.name, call_id=self._call_id)

    async def _understood(self, asking: Coroutine[Any, Any, Transcript], work: SpeechWork | None = None) -> Transcript:
        METER.set(self._meter)
        WORK.set(work or SpeechWork(self._call_id))
        try:
            return await asking
        except (Exception, SystemExit, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The root of the work: an ear that fails leaves the turn without a transcript.
            log.exception("transcription failed", ear=self.ear.name, call_id=self._call_id)
            return NOT_KNOWN


def _checked(given: Transcript) -> Transcript:
    """What of it a call can keep. Raises `NoTranscript`."""
    text = _unicode(given.text)
    if text is None:
        return NOT_KNOWN if given.is_final else given
    certain: object = given.certain
    others: object = given.alternatives
    if not isinstance(certain, bool) or not isinstance(others, Sequence):
        raise NoTranscript("a transcript whose certainty is no truth value, or whose alternatives are no sequence")
    texts = (_unicode(other) for other in others[:MAX_ALTERNATIVES])
    kept = tuple(
        other[:MAX_ALTERNATIVE_CHARS] for other in texts if other not in (text, None) and (other or not certain)
    )
    return Transcript(text, given.is_final, certain, kept)


def _unicode(text: object) -> str | None:
    """`text` if an event can hold it."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise NoTranscript(f"{type(text).__name__}, which is no text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoTranscript(f"text that is no Unicode: {error}") from error
    return text
