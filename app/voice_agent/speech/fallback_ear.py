"""Several ears of which the next is asked where one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial

import structlog

from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.providers.answer_times import AnswerTimes
from voice_agent.providers.hedging import NoneAnswered, first_to_answer
from voice_agent.speech.preference import in_order, kind_of, tell_overtaken

LONG_TURN_MS = 10_000
"""A turn that is longer by so much may take an ear as long again: some take as long for any, others in proportion."""

log = structlog.get_logger(__name__)


class FallbackEar(Ear):
    """In the order of preference; one whose provider does badly is asked last.

    An ear that has not understood has answered: nobody else is asked then.
    """

    def __init__(self, ears: Sequence[Ear]) -> None:
        """At least one. Speech is streamed to the first, if that takes it while it is said."""
        self.ears = tuple(ears)
        self.name = ",".join(ear.name for ear in ears)
        self.streams = ears[0].streams
        self.stops_soon = all(ear.stops_soon for ear in ears)
        self._times = tuple(AnswerTimes() for _ in ears)

    async def open(self) -> None:
        """Open each. When one fails, those before it are closed."""
        async with AsyncExitStack() as opening:
            for ear in self.ears:
                await ear.open()
                opening.push_async_callback(ear.close)
            opening.pop_all()

    async def ready(self) -> None:
        """Wait until none of them makes calls wait."""
        await asyncio.gather(*(ear.ready() for ear in self.ears))

    async def close(self) -> None:
        """Close each, whatever the others raise."""
        async with AsyncExitStack() as closing:
            for ear in self.ears:
                closing.push_async_callback(ear.close)

    async def transcribe(self, clip: Clip) -> Transcript | str | None:
        """What was said. Raises what the last of them raised, if all fail."""
        return await self._transcribe(clip, ())

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        """What the first understands while it is said; if that fails, what another one makes of all of it."""
        first = in_order(self.ears)[0]
        if not first.streams:
            async for transcript in super().listen(frames):
                yield transcript
            return
        heard = _Heard(frames)
        try:
            async with aclosing(_listened(first, heard.frames())) as transcripts:
                async for transcript in transcripts:
                    yield transcript
        except Exception as error:  # noqa: BLE001 - an ear is somebody else's code; the next one is asked
            log.warning("an ear failed, and another one is asked", ear=first.name, kind=kind_of(error))
            clip = await heard.whole()
            found = None if clip is None else await self._transcribe(clip, (first,))
            yield found if isinstance(found, Transcript) else Transcript(found)
        finally:
            heard.close()

    async def _transcribe(self, clip: Clip, failed: Sequence[Ear]) -> Transcript | str | None:
        ears = in_order(self.ears, failed)
        starts = [partial(_transcribed, ear, clip) for ear in ears]
        times = [self._times[self.ears.index(ear)] for ear in ears]
        size = 1 + clip.format.ms(len(clip.audio)) / LONG_TURN_MS
        try:
            async with first_to_answer(starts, times, (Exception,), size=size, gives_up=True) as answer:
                for index, after_s in answer.overtaken.items():
                    tell_overtaken(ears[index], after_s)
                async for found in answer.items:
                    return found
        except NoneAnswered as none:
            raise list(none.failed.values())[-1] from None
        return None


class _Heard:
    """The frames of a turn, kept for another ear: as many as a turn has, which is bounded."""

    def __init__(self, frames: AsyncIterator[Clip]) -> None:
        self._frames = frames
        self._audio = bytearray()
        self._last: Clip | None = None
        self._coming: asyncio.Task[Clip | None] | None = None
        """The next one: an ear that is cancelled while it waits for it takes nothing away."""

    async def frames(self) -> AsyncGenerator[Clip, None]:
        """Those that come."""
        while (frame := await self._next()) is not None:
            yield frame

    async def whole(self) -> Clip | None:
        """All of them, once they have ended; None if there was none."""
        while await self._next() is not None:
            pass
        return None if self._last is None else replace(self._last, audio=bytes(self._audio))

    def close(self) -> None:
        """No more are wanted."""
        if self._coming is not None:
            self._coming.cancel()

    async def _next(self) -> Clip | None:
        if self._coming is None:
            self._coming = asyncio.create_task(_next_of(self._frames), name="frame")
        frame = await asyncio.shield(self._coming)
        self._coming = None
        if frame is not None:
            self._audio += frame.audio
            self._last = frame
        return frame


async def _next_of(frames: AsyncIterator[Clip]) -> Clip | None:
    return await anext(frames, None)


async def _listened(ear: Ear, frames: AsyncIterator[Clip]) -> AsyncGenerator[Transcript, None]:
    async for transcript in ear.listen(frames):
        yield transcript


async def _transcribed(ear: Ear, clip: Clip) -> AsyncGenerator[Transcript | str | None, None]:
    yield await ear.transcribe(clip)
