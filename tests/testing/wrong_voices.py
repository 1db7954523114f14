"""Voices, each of which breaks one promise; and two that keep all."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.testing.spoken_words import speech_of

PIECE_BYTES = PCM.size(200)


class GoodVoice(Voice):
    """Says its sentence in pieces, and waits before each as if it were made elsewhere."""

    name = "good"
    deterministic = True

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        audio = await self.made(utterance.text)
        for at in range(0, len(audio), PIECE_BYTES):
            await asyncio.sleep(0)
            yield VoicedAudio(audio[at : at + PIECE_BYTES], PCM)

    async def made(self, text: str) -> bytes:
        return speech_of(text) if text.strip() else b""


class Wavering(GoodVoice):
    """Never takes as long as before: by up to a quarter."""

    deterministic = False

    async def made(self, text: str) -> bytes:
        audio = await super().made(text)
        return audio[: PCM.size(int(PCM.ms(len(audio)) * random.uniform(0.75, 1)))]


class Mute(Voice):
    name = "mute"


class Brief(GoodVoice):
    async def made(self, text: str) -> bytes:
        return (await super().made(text))[: PCM.size(100)]


class OpensOnce(GoodVoice):
    was_closed = False

    async def open(self) -> None:
        if self.was_closed:
            raise RuntimeError("closed")

    async def close(self) -> None:
        self.was_closed = True


class ClosesOnce(GoodVoice):
    is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        if not self.is_open:
            raise RuntimeError("not open")
        self.is_open = False


class LettersOnly(GoodVoice):
    async def made(self, text: str) -> bytes:
        if not any(char.isalpha() for char in text):
            raise ValueError(text)
        return await super().made(text)


class OneName(GoodVoice):
    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        assert utterance.voice == "alloy"
        async for piece in super().say(utterance):
            yield piece


class NormalSpeed(GoodVoice):
    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        if utterance.speed < 1:
            return
        async for piece in super().say(utterance):
            yield piece


class HalfSamples(GoodVoice):
    async def made(self, text: str) -> bytes:
        return (await super().made(text))[1:]


class WordsBackwards(GoodVoice):
    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        yield VoicedAudio(await self.made(utterance.text), PCM, [[50, 6], [20, 3]])


class Mixing(GoodVoice):
    """Has one sentence in its hands, whoever asked."""

    text = ""

    async def made(self, text: str) -> bytes:
        self.text = text
        await asyncio.sleep(0)
        return await super().made(self.text)


class Drifting(GoodVoice):
    """Depends on what it has said before."""

    count = 0

    async def made(self, text: str) -> bytes:
        self.count += 1
        return await super().made(f"{text} {self.count}")


class OfItsProcess(GoodVoice):
    """Chooses by a hash that each process has its own of."""

    async def made(self, text: str) -> bytes:
        return await super().made(f"{text} {hash(text)}")


class Swallowing(GoodVoice):
    async def made(self, text: str) -> bytes:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return b""
        return await super().made(text)


class EndingSlowly(GoodVoice):
    async def made(self, text: str) -> bytes:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.get_running_loop().create_future()
        return await super().made(text)


class Locked(GoodVoice):
    """Cancelled, it never speaks again."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def made(self, text: str) -> bytes:
        await self._lock.acquire()
        await asyncio.sleep(0)
        self._lock.release()
        return await super().made(text)


class Unclosable(GoodVoice):
    """What it gives is no generator."""

    def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        pieces = super().say(utterance)

        class Pieces:
            def __aiter__(self) -> Pieces:
                return self

            async def __anext__(self) -> VoicedAudio:
                return await anext(pieces)

        return Pieces()


class Stuck(GoodVoice):
    """Closed behind a piece, it never speaks again."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        await self._lock.acquire()
        async for piece in super().say(utterance):
            yield piece
        self._lock.release()


class Blocking(GoodVoice):
    async def made(self, text: str) -> bytes:
        time.sleep(0.25)  # noqa: ASYNC251 that is what is wrong with it
        return await super().made(text)
