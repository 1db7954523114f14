"""Ears, each of which breaks one promise; and two that keep all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.testing.spoken_words import words_in


class GoodEar(Ear):
    """Understands speech that carries its words."""

    name = "good"

    async def transcribe(self, clip: Clip) -> str | None:
        await asyncio.sleep(0)
        return words_in(clip.audio) if clip.format is PCM else None


class GoodStreamingEar(GoodEar):
    """The same, and tells of it as it is said."""

    streams = True

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        heard, audio_format = bytearray(), PCM
        async for frame in frames:
            heard += frame.audio
            audio_format = frame.format
            yield Transcript(await self.transcribe(Clip(bytes(heard), audio_format)), is_final=False)
        yield Transcript(await self.transcribe(Clip(bytes(heard), audio_format)))


class Deaf(Ear):
    name = "deaf"

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        yield Transcript("")


class OpensOnce(GoodEar):
    was_closed = False

    async def open(self) -> None:
        if self.was_closed:
            raise RuntimeError("closed")

    async def close(self) -> None:
        self.was_closed = True


class Mishearing(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        return (await super().transcribe(clip) or "").replace("next", "last")


class InBytes(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        return b"next tuesday"  # type: ignore[return-value]


class HearsGhosts(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        return await super().transcribe(clip) or "thank you for watching"


class OneFormat(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        assert clip.format is PCM
        return await super().transcribe(clip)


class NeverShort(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        assert len(clip.audio) > 100
        return await super().transcribe(clip)


class Mixing(GoodEar):
    """Has one utterance in its hands, whoever asked."""

    clip: Clip

    async def transcribe(self, clip: Clip) -> str | None:
        self.clip = clip
        await asyncio.sleep(0)
        return await super().transcribe(self.clip)


class NeverSure(GoodStreamingEar):
    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        async for found in super().listen(frames):
            yield Transcript(found.text, is_final=False)


class NothingOfNothing(GoodStreamingEar):
    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        found = [transcript async for transcript in super().listen(frames)]
        for transcript in found[:-1]:
            yield transcript
        if len(found) > 1:
            yield found[-1]


class Swallowing(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        try:
            return await super().transcribe(clip)
        except asyncio.CancelledError:
            return None


class EndingSlowly(GoodStreamingEar):
    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        try:
            async for found in super().listen(frames):
                yield found
        except asyncio.CancelledError:
            await asyncio.get_running_loop().create_future()


class Locked(GoodEar):
    """Cancelled, it never hears again."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def transcribe(self, clip: Clip) -> str | None:
        await self._lock.acquire()
        found = await super().transcribe(clip)
        self._lock.release()
        return found


class GoesOn(GoodStreamingEar):
    """Waits for the caller's next word whatever happens."""

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        try:
            async for _ in frames:
                pass
        except asyncio.CancelledError:
            pass
        yield Transcript("")


class Blocking(GoodEar):
    async def transcribe(self, clip: Clip) -> str | None:
        time.sleep(0.25)  # noqa: ASYNC251 that is what is wrong with it
        return await super().transcribe(clip)
