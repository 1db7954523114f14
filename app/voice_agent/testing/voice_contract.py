"""What every voice promises; for pytest, with `pytest-asyncio` in its mode ``auto``."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.runtime.engine.voicing import voiced
from voice_agent.speech.provider_faults import voice_fault
from voice_agent.testing.provider_trials import (
    ENDS_WITHIN_S,
    LASTS_AT_MOST_S,
    StepTimes,
    cancelled_wherever_it_waits,
    made_by,
    never_blocks,
    opened,
)

LEAST_MS = 300
"""Of a sentence of five words."""
ANOTHER_PROCESS = """
import asyncio, sys
place, text, *sys.path = sys.argv[1:]
from voice_agent.testing.voice_contract import print_digest
asyncio.run(print_digest(place, text))
"""
"""It finds the same modules as this one."""
TEXTS = ("", "  ", "…", "?!", "12:30, 3 × 4 = 12 €", "<b>&amp;</b>", "ß 漢字", "word " * 200)


async def said(voice: Voice, utterance: Utterance) -> list[VoicedAudio]:
    """All pieces, checked as a server does. Raises `VoiceFailed`."""
    async with asyncio.timeout(LASTS_AT_MOST_S), aclosing(voiced(voice, utterance, StepTimes())) as pieces:
        return [piece async for piece in pieces]


def digest(pieces: Sequence[VoicedAudio]) -> str:
    """The same for the same audio, however it is cut into pieces."""
    formats = {piece.format.name for piece in pieces}
    return hashlib.sha256(b"".join(piece.audio for piece in pieces) + repr(sorted(formats)).encode()).hexdigest()


class VoiceContract:
    """The contract of every voice. A class of yours inherits it and sets `made_by`."""

    made_by = ""
    """``package.module:Class`` as in the entry point: a callable that takes nothing and returns a `Voice`."""
    sentence = "Which day would suit you?"
    """Something that it can say, in its language."""

    def make(self) -> Voice:
        """One that is not opened."""
        made: Voice = made_by(self.made_by)
        return made

    def utterance(self, text: str = "", *, voice: str = "alloy", speed: float = 1.0) -> Utterance:
        """`sentence`, if it is not another text."""
        return Utterance(text or self.sentence, voice, speed, seed="call_1:2:reply:3")

    async def assert_it_speaks(self, voice: Voice) -> str:
        """The sentence comes, and lasts. Returns what it was, "" of a voice that does not say the same twice."""
        pieces = await said(voice, self.utterance())
        lasts_ms = sum(piece.format.ms(len(piece.audio)) for piece in pieces)
        assert lasts_ms >= LEAST_MS, f"{self.sentence!r} lasts {lasts_ms} ms"
        return digest(pieces) if voice.deterministic else ""

    def test_it_is_well_formed(self) -> None:
        """A server would take it."""
        fault = voice_fault(self.make())
        assert fault is None, f"{self.made_by} {fault}"

    async def test_it_opens_and_closes(self) -> None:
        """Again and again, each time able to speak; closed twice or without being open it does nothing."""
        voice = self.make()
        await voice.close()
        for _ in range(2):
            async with opened(voice):
                await self.assert_it_speaks(voice)
        await voice.close()

    async def test_it_says_any_text_with_any_name_at_any_speed(self) -> None:
        """What it cannot say it passes over; a name that it does not know is its own."""
        async with opened(self.make()) as voice:
            for text in TEXTS:
                await said(voice, Utterance(text, "alloy"))
            for name, speed in (("no such voice", 1.0), ("alloy", 0.25), ("alloy", 1.5)):
                found = await said(voice, self.utterance(voice=name, speed=speed))
                assert found, f"as {name!r} at speed {speed:g} it says nothing"

    async def test_sentences_at_once_are_said_as_alone(self) -> None:
        """One voice serves all calls of a pod."""
        texts = [f"{self.sentence} {number}" for number in range(4)]
        async with opened(self.make()) as voice:
            together = await asyncio.gather(*(said(voice, self.utterance(text)) for text in texts))
            assert all(together), "said beside others, a sentence is not said"
            if voice.deterministic:
                alone = [await said(voice, self.utterance(text)) for text in texts]
                are_alike = [digest(pieces) for pieces in together] == [digest(pieces) for pieces in alone]
                assert are_alike, "a sentence that is said beside others is another"

    async def test_one_that_is_deterministic_says_the_same_again(self) -> None:
        """Whatever it said before, and opened anew: byte for byte. Only then may it call itself so."""
        found = set()
        voice = self.make()
        if not voice.deterministic:
            pytest.skip("it does not say that it is")
        for one in (voice, voice, self.make()):
            async with opened(one):
                found.add(await self.assert_it_speaks(one))
                await said(one, self.utterance("Something else."))
                found.add(await self.assert_it_speaks(one))
        assert len(found) == 1, f"the same sentence was said in {len(found)} ways"

    async def test_one_that_is_deterministic_says_the_same_in_another_process(self) -> None:
        """As another pod is one."""
        voice = self.make()
        if not voice.deterministic:
            pytest.skip("it does not say that it is")
        async with opened(voice):
            here = await self.assert_it_speaks(voice)
        arguments = [self.made_by, self.sentence, *sys.path]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-c", ANOTHER_PROCESS, *arguments, stdout=asyncio.subprocess.PIPE
        )
        there, _ = await process.communicate()
        assert there.decode().strip() == here, "another process says the same sentence otherwise"

    async def test_it_can_be_cancelled_wherever_it_waits(self) -> None:
        """It ends soon, cancelled, and says the next sentence as if nothing had been."""

        async def all_of_it() -> list[VoicedAudio]:
            return [piece async for piece in voice.say(self.utterance())]

        async def speaks_on() -> None:
            assert await self.assert_it_speaks(voice) == before, "cancelled once, it speaks otherwise"

        async with opened(self.make()) as voice:
            before = await self.assert_it_speaks(voice)
            await cancelled_wherever_it_waits(all_of_it, speaks_on)

    async def test_it_can_be_closed_behind_any_piece(self) -> None:
        """As barge-in does it."""
        async with opened(self.make()) as voice:
            before = await self.assert_it_speaks(voice)
            count = len(await said(voice, self.utterance()))
            for number in sorted({1, (count + 1) // 2, count}):
                pieces = voice.say(self.utterance())
                for _ in range(number):
                    await anext(pieces, None)  # One that is not deterministic may have fewer this time.
                close = getattr(pieces, "aclose", None)
                assert close is not None, "what it gives cannot be closed"
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await close()
                assert await self.assert_it_speaks(voice) == before, "cancelled once, it speaks otherwise"

    async def test_it_never_blocks(self) -> None:
        """Work of more than some milliseconds is for other processes, or threads."""
        async with opened(self.make()) as voice:

            async def work() -> None:
                async for _ in voice.say(self.utterance(self.sentence * 3)):
                    pass

            await never_blocks(work)


async def print_digest(place: str, text: str) -> None:
    """Say something in this process."""
    async with opened(made_by(place)) as voice:
        pieces = await said(voice, VoiceContract().utterance(text))
    sys.stdout.write(f"{digest(pieces)}\n")
