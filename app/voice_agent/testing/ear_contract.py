"""What every ear promises; for pytest, with `pytest-asyncio` in its mode ``auto``."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.resources import files

from voice_agent.call.audio import FORMATS, PCM, Converter
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.speech.provider_faults import ear_fault
from voice_agent.testing.provider_trials import (
    ENDS_WITHIN_S,
    LASTS_AT_MOST_S,
    cancelled_wherever_it_waits,
    made_by,
    never_blocks,
    opened,
)

PIECE_MS = 100
"""As a server cuts what an ear is to hear while it is said."""
SILENCE = Clip(bytes(PCM.size(2000)), PCM)
LENGTHS_MS = (0, 1, 20, 31_000)


async def frames_of(clip: Clip) -> AsyncIterator[Clip]:
    """The clip as it is said, without the waiting."""
    size = clip.format.size(PIECE_MS)
    for at in range(0, len(clip.audio), size):
        yield Clip(clip.audio[at : at + size], clip.format)


class UnendingFrames:
    """A caller who goes on; nothing comes after the first frames."""

    def __init__(self, clip: Clip) -> None:
        self.waits = asyncio.Event()
        self._frames = frames_of(clip)

    def __aiter__(self) -> UnendingFrames:
        return self

    async def __anext__(self) -> Clip:
        async for frame in self._frames:
            return frame
        self.waits.set()
        never: asyncio.Future[Clip] = asyncio.get_running_loop().create_future()
        return await never


class EarContract:
    """The contract of every ear. A class of yours inherits it and sets `made_by`."""

    made_by = ""
    """``package.module:Class`` as in the entry point: a callable that takes nothing and returns an `Ear`."""
    says: str | None = None
    """What `clip` says, as the ear is to understand it; None: whatever it understands."""

    def make(self) -> Ear:
        """One that is not opened."""
        made: Ear = made_by(self.made_by)
        return made

    def clip(self) -> Clip:
        """Somebody says something: "next Tuesday", by default."""
        with files("voice_agent.client").joinpath("samples/caller-day.wav").open("rb") as file, wave.open(file) as wav:
            return Clip(wav.readframes(wav.getnframes()), PCM)

    async def understood(self, ear: Ear, clip: Clip) -> str | None:
        """What the ear makes of a clip, asked as a server asks it."""
        async with asyncio.timeout(LASTS_AT_MOST_S):
            if ear.streams:
                return (await self.listened(ear, frames_of(clip)))[-1].text
            found: object = await ear.transcribe(clip)
        text = found.text if isinstance(found, Transcript) else found
        assert text is None or isinstance(text, str), f"{text!r} is no text"
        return text

    async def listened(self, ear: Ear, frames: AsyncIterator[Clip]) -> list[Transcript]:
        """All that it says of an utterance; the last is final."""
        async with asyncio.timeout(LASTS_AT_MOST_S), aclosing(ear.listen(frames)) as given:  # type: ignore[type-var]
            found = [transcript async for transcript in given]
        assert found, "it gives no transcript"
        assert all(isinstance(transcript, Transcript) for transcript in found), found
        assert found[-1].is_final, "the last transcript is not final"
        assert all(transcript.text is None or isinstance(transcript.text, str) for transcript in found), found
        return found

    async def assert_it_hears(self, ear: Ear) -> None:
        """It understands the clip, as far as that is known."""
        text = await self.understood(ear, self.clip())
        assert self.says is None or text == self.says, f"{text!r} was understood, and {self.says!r} was said"

    def test_it_is_well_formed(self) -> None:
        """A server would take it."""
        fault = ear_fault(self.make())
        assert fault is None, f"{self.made_by} {fault}"

    async def test_it_opens_and_closes(self) -> None:
        """Again and again, each time able to hear; closed twice or without being open it does nothing."""
        ear = self.make()
        await ear.close()
        for _ in range(2):
            async with opened(ear):
                await self.assert_it_hears(ear)
        await ear.close()

    async def test_it_hears_nothing_in_silence(self) -> None:
        """The empty text or None; a word that nobody said would be answered."""
        async with opened(self.make()) as ear:
            text = await self.understood(ear, SILENCE)
        assert not text, f"{text!r} was understood where nothing was said"

    async def test_it_hears_any_format_and_length(self) -> None:
        """What it makes nothing of it does not know."""
        clip = self.clip()
        async with opened(self.make()) as ear:
            for target in FORMATS.values():
                await self.understood(ear, Clip(Converter(clip.format, target).convert(clip.audio), target))
                for length_ms in LENGTHS_MS:
                    await self.understood(ear, Clip(Converter(PCM, target).convert(bytes(PCM.size(length_ms))), target))

    async def test_utterances_at_once_are_heard_as_alone(self) -> None:
        """One ear serves all calls of a pod."""
        async with opened(self.make()) as ear:
            heard = await asyncio.gather(
                *(self.understood(ear, clip) for clip in (self.clip(), SILENCE, self.clip(), SILENCE))
            )
        assert not heard[1], f"beside others, {heard[1]!r} was understood where nothing was said"
        assert not heard[3], f"beside others, {heard[3]!r} was understood where nothing was said"
        assert self.says is None or heard[::2] == [self.says] * 2, f"beside others, {heard[::2]} was understood"

    async def test_it_hears_frames(self) -> None:
        """The last transcript is final and comes when they have ended, also where there were none."""
        async with opened(self.make()) as ear:
            found = await self.listened(ear, frames_of(self.clip()))
            assert self.says is None or found[-1].text == self.says, f"{found[-1].text!r} was understood"
            text = (await self.listened(ear, frames_of(Clip(b"", PCM))))[-1].text
            assert not text, f"{text!r} was understood of no frames"

    async def test_it_can_be_cancelled_wherever_it_waits(self) -> None:
        """It ends soon, cancelled, and hears the next utterance as if nothing had been."""

        async def all_of_it() -> object:
            if not ear.streams:
                return await ear.transcribe(self.clip())
            return [transcript async for transcript in ear.listen(frames_of(self.clip()))]

        async with opened(self.make()) as ear:
            await cancelled_wherever_it_waits(all_of_it, lambda: self.assert_it_hears(ear))

    async def test_it_can_be_closed_while_the_caller_goes_on(self) -> None:
        """What was said is not wanted any more: the caller cleared it, or another pod has the call."""
        async with opened(self.make()) as ear:
            frames = UnendingFrames(self.clip())

            async def listen() -> None:
                async for _ in ear.listen(frames):
                    pass

            listening = asyncio.create_task(listen())
            async with asyncio.timeout(LASTS_AT_MOST_S):
                await frames.waits.wait()
            listening.cancel()
            done, _ = await asyncio.wait([listening], timeout=ENDS_WITHIN_S)
            assert done, f"it does not end within {ENDS_WITHIN_S:g} s"
            assert listening.cancelled(), "it ended as if nothing had been"
            await self.assert_it_hears(ear)

    async def test_it_never_blocks(self) -> None:
        """Work of more than some milliseconds is for other processes, or threads."""
        async with opened(self.make()) as ear:
            await never_blocks(lambda: self.understood(ear, self.clip()))
