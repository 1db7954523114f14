"""Having a voice say something, whatever it does wrong.

A voice is somebody else's code in the middle of a reply. Here it fails in one way only, `VoiceFailed`, whether it
raises, falls silent or gives what is no audio; a step of it that blocks the event loop is told of as an agent's is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.usage import METER
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.runtime.engine.agent_steps import StepWatch, Watched, take_back_group_cancel
from voice_agent.runtime.engine.spoken_piece import checked_words

VOICE_SILENT_S = 20.0
"""So long a voice that has loaded may take to its next audio; less than its agent may, so that it is the voice that is
named."""
VOICE_LOADS_WITHIN_S = 60.0
"""So long a voice is waited for that says it loads: twice as long as a speech worker may."""
VOICE_CLOSES_WITHIN_S = 5.0
"""So long a voice may take to end once it is not wanted any more."""

_END: Any = object()

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


async def voiced(voice: Voice, utterance: Utterance, watch: StepWatch) -> AsyncGenerator[VoicedAudio, None]:
    """The audio of an utterance, piece by piece, each of it sound; none is empty.

    `watch`: of this voice. To be closed (`contextlib.aclosing`): only then is the voice closed at once.
    Raises `VoiceFailed`.
    """
    pieces: Any = None
    checked = _Checked(voice.name, utterance)
    try:
        pieces = _begun(voice, utterance)
        loop = asyncio.get_running_loop()
        silent_since_s = loop.time()
        while (given := await _next(voice, pieces, silent_since_s + VOICE_SILENT_S, watch)) is not _END:
            piece = checked.piece(given)
            if piece.audio:
                yield piece
                silent_since_s = loop.time()
            elif loop.time() - silent_since_s >= VOICE_SILENT_S:
                raise _silent(voice)
            else:
                # A voice that yields nothing without ever waiting leaves the others their turn.
                await asyncio.sleep(0)
    finally:
        await _close(voice, pieces, watch)


def _begun(voice: Voice, utterance: Utterance) -> Any:
    try:
        return voice.say(utterance)
    except Exception as error:
        raise VoiceFailed(voice.name, "raised", f"raised {type(error).__name__}") from error


async def _next(voice: Voice, pieces: Any, deadline_s: float, watch: StepWatch) -> Any:
    """Its next piece, or `_END`."""
    limit = asyncio.timeout_at(deadline_s)
    steps, meter = None, METER.get()
    # What a voice asks of a provider is counted as the call's, and not as what the response used.
    metering = METER.set(meter.without_responses() if meter is not None else None)
    try:
        async with limit:
            _wait_for_loading(voice, limit, asyncio.get_running_loop().time())
            steps = VoiceSteps(anext(pieces, _END), watch)
            return await steps.result()
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if limit.expired():
            raise _silent(voice) from error
        if steps is not None and steps.error is not None:
            raise
        raise VoiceFailed(voice.name, "raised", f"raised {type(error).__name__}") from error
    finally:
        METER.reset(metering)


def is_loading(voice: Voice, waited_s: float) -> bool:
    """Whether a voice that was waited for so long still loads, and may; never raises."""
    try:
        return waited_s < VOICE_LOADS_WITHIN_S and bool(voice.is_loading)
    except Exception:  # noqa: BLE001 - a voice is somebody else's code, and this is asked for all calls in turn
        return False


def _wait_for_loading(voice: Voice, limit: asyncio.Timeout, since_s: float) -> None:
    """Have the limit count from when the voice was last seen to load."""
    loop = asyncio.get_running_loop()
    if not is_loading(voice, loop.time() - since_s):
        return
    with suppress(RuntimeError):  # It has ended by now.
        limit.reschedule(loop.time() + VOICE_SILENT_S)
        loop.call_later(VOICE_SILENT_S / 4, _wait_for_loading, voice, limit, since_s)


def _silent(voice: Voice) -> VoiceFailed:
    return VoiceFailed(voice.name, "silent", f"gave no audio for {VOICE_SILENT_S:g} s")


async def _close(voice: Voice, pieces: Any, watch: StepWatch) -> None:
    if isinstance(pieces, Coroutine):
        pieces.close()  # It was to be a generator, and yields nothing: it is never waited for.
    close = getattr(pieces, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(VOICE_CLOSES_WITHIN_S):
            await VoiceSteps(close(), watch).result()
    except SpeechInterrupted:
        raise
    except Exception:
        # The voice's way of tidying up; what it was to say is said, or not wanted any more.
        log.exception("voice raised when it was closed", voice=voice.name)


class VoiceSteps(Watched[Result]):
    """`Watched` work of a voice. To the voice, an interruption is a cancellation.

    Its agent has `SpeechInterrupted` raised where it waits. A voice might take that for a fault of its own, and try
    again. What a voice ends itself, as a timeout within it does, comes to its end there.
    """

    error: BaseException | None = None
    """What ended it from outside."""
    cancelling = 0
    """How often its task had been cancelled by then."""

    def thrown(self, error: BaseException) -> BaseException:
        """See `Watched.thrown`. What the voice waited for and what failed comes here, too."""
        task = asyncio.current_task()
        cancelling = 0 if task is None else task.cancelling()
        is_cancelled = isinstance(error, asyncio.CancelledError) and cancelling
        if not is_cancelled and not isinstance(error, SpeechInterrupted):
            return error
        if self.error is None or not isinstance(self.error, SpeechInterrupted):
            self.error, self.cancelling = error, cancelling
        return asyncio.CancelledError()

    async def result(self) -> Result:
        """What it comes to. Raises what ended it from outside, whatever the voice made of that."""
        try:
            return await self
        except Exception as error:
            take_back_group_cancel(error)
            raise
        finally:
            if self._was_taken_back():
                self.error = None
            if self.error is not None:
                raise self.error

    def _was_taken_back(self) -> bool:
        """Whether it was the voice's own timeout, or group of tasks, that cancelled the task: that is taken back."""
        task = asyncio.current_task()
        is_less = task is not None and task.cancelling() < self.cancelling
        return is_less and isinstance(self.error, asyncio.CancelledError)


class _Checked:
    """What a voice gave of one utterance, held against what it may give."""

    def __init__(self, voice: str, utterance: Utterance) -> None:
        self._voice = voice
        self._chars = len(utterance.text)
        self._said_to = 0

    def piece(self, given: object) -> VoicedAudio:
        """`given` with bytes and lists. Raises `VoiceFailed`."""
        match given:
            case VoicedAudio(bytes() | bytearray() | memoryview() as audio, AudioFormat() as audio_format, words):
                if len(audio) % audio_format.sample_bytes:
                    raise self._wrong(f"{len(audio)} bytes of {audio_format.name}, which is no whole number of samples")
                return VoicedAudio(bytes(audio), audio_format, self._words(words, audio_format.ms(len(audio))))
            case _:
                raise self._wrong(f"{type(given).__name__}, which is no audio or holds what is none")

    def _words(self, words: Any, duration_ms: int) -> list[list[int]]:
        try:
            found = checked_words(words, duration_ms)
        except (TypeError, ValueError) as error:
            raise self._wrong(f"words that cannot be: {error}") from error
        if found and (found[0][1] < self._said_to or found[-1][1] > self._chars):
            raise self._wrong(f"words that cannot be: they are at {found[0][1]} to {found[-1][1]} of {self._chars}")
        self._said_to = found[-1][1] if found else self._said_to
        return found

    def _wrong(self, what: str) -> VoiceFailed:
        return VoiceFailed(self._voice, "no_part", f"gave {what}")
