"""What a voice makes ahead: just what it would make later, so much and no more. Tests of `speech_voice`, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.runtime.alone import turns_pass
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.runtime.engine.agent_steps import StepWatch
from voice_agent.runtime.engine.prepared_speech import MAX_SENTENCE_BYTES, PreparedSpeech

PIECE = bytes(PCM.size(100))


class SlowVoice(Voice):
    """Gives as many pieces as the text has letters, each once it may; notes what it was asked and what was closed."""

    name = "slow"

    def __init__(self, *, piece: bytes = PIECE) -> None:
        self.piece = piece
        self.asked: list[str] = []
        self.made: list[str] = []
        self.closed: list[str] = []
        self.may_give = asyncio.Event()

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        self.asked.append(utterance.text)
        try:
            for letter in utterance.text:
                await self.may_give.wait()
                if letter == "!":
                    raise RuntimeError("no")
                self.made.append(letter)
                yield VoicedAudio(self.piece, PCM)
        finally:
            self.closed.append(utterance.text)


def utterance(text: str) -> Utterance:
    """As a speech asks for it."""
    return Utterance(text, "alloy", 1.0, text)


def prepared(voice: Voice, *, is_silent: bool = False) -> PreparedSpeech:
    """Nothing yet."""
    watch = StepWatch(voice.name, "call", StoppedClock(), CountingObserver(), kind="voice")
    return PreparedSpeech(voice, lambda text, place: utterance(text), watch, is_silent=is_silent)


async def said(speech: PreparedSpeech, text: str) -> int | None:
    """How many pieces there are of it; None if it was not prepared."""
    found = speech.take(text, utterance(text))
    return None if found is None else len([piece async for piece in found.pieces()])


async def test_a_sentence_is_made_before_it_is_said() -> None:
    """Its pieces wait."""
    voice = SlowVoice()
    voice.may_give.set()
    speech = prepared(voice)
    speech.add("abc", is_new=True)
    await until(lambda: voice.closed == ["abc"])
    assert speech.held_bytes == 3 * len(PIECE)
    assert await said(speech, "abc") == 3
    assert voice.asked == ["abc"]
    assert speech.held_bytes == 0


async def test_what_is_made_while_it_is_said_comes_as_it_is_made() -> None:
    """A reader that waits is woken by the next piece, and by the end."""
    voice = SlowVoice()
    speech = prepared(voice)
    speech.add("abc", is_new=True)
    reading = asyncio.create_task(said(speech, "abc"))
    await turns_pass()
    assert voice.asked == ["abc"]
    voice.may_give.set()
    assert await reading == 3


async def test_a_sentence_is_begun_once_the_one_before_it_has_its_first_audio() -> None:
    """For that the caller waits: nothing is to take the voice's time from it."""
    voice = SlowVoice()
    speech = prepared(voice, is_silent=True)
    speech.add("ab", is_new=True)
    speech.add("cd", is_new=True)
    await turns_pass()
    assert voice.asked == []
    speech.has_audio()
    await turns_pass()
    assert voice.asked == ["ab"]
    voice.may_give.set()
    await until(lambda: voice.closed == ["ab", "cd"])


async def test_a_sentence_that_was_not_begun_yet_is_said_as_one_that_was_not_prepared() -> None:
    """And the one behind it is begun in its turn."""
    voice = SlowVoice()
    speech = prepared(voice, is_silent=True)
    speech.add("ab", is_new=True)
    speech.add("cd", is_new=True)
    assert await said(speech, "ab") is None
    speech.has_audio()
    await turns_pass()
    assert voice.asked == ["cd"]


async def test_no_more_than_two_are_made_ahead() -> None:
    """What comes beyond is forgotten."""
    voice = SlowVoice()
    voice.may_give.set()
    speech = prepared(voice)
    for text in ("a", "b", "c"):
        speech.add(text, is_new=True)
    await turns_pass(100)
    assert voice.asked == ["a", "b"]


async def test_what_is_said_otherwise_is_dropped_with_all_behind_it() -> None:
    """Also if only the seed differs; its voice is closed."""
    voice = SlowVoice()
    speech = prepared(voice)
    speech.add("ab", is_new=True)
    speech.add("cd", is_new=True)
    await turns_pass()
    assert speech.take("ab", Utterance("ab", "alloy", 1.0, "another")) is None
    await until(lambda: voice.closed == ["ab"])
    assert voice.made == []


async def test_a_voice_that_is_far_ahead_waits() -> None:
    """Each sentence has its share, so none keeps another from going on."""
    voice = SlowVoice(piece=bytes(MAX_SENTENCE_BYTES // 4 & ~1))
    voice.may_give.set()
    speech = prepared(voice)
    speech.add("a" * 100, is_new=True)
    speech.add("b" * 100, is_new=True)
    await turns_pass(1000)
    assert (voice.made.count("a"), voice.made.count("b")) == (5, 5)
    assert await said(speech, "a" * 100) == 100
    assert voice.made.count("b") == 5
    assert speech.held_bytes == 5 * len(voice.piece)


async def test_a_voice_that_fails_ahead_fails_when_it_is_said() -> None:
    """Behind what it gave; one that is never said fails nobody."""
    voice = SlowVoice()
    voice.may_give.set()
    speech = prepared(voice)
    speech.add("ab!", is_new=True)
    await until(lambda: voice.closed == ["ab!"])
    taken = speech.take("ab!", utterance("ab!"))
    assert taken is not None
    got: list[VoicedAudio] = []
    with pytest.raises(VoiceFailed, match="RuntimeError"):
        got += [piece async for piece in taken.pieces()]
    speech.has_audio()
    speech.add("!", is_new=True)
    await until(lambda: voice.closed[1:] == ["!"])
    speech.drop()


async def test_who_does_not_read_on_has_the_voice_closed() -> None:
    """It was interrupted."""
    voice = SlowVoice()
    speech = prepared(voice)
    speech.add("abc", is_new=True)
    reading = asyncio.create_task(said(speech, "abc"))
    await turns_pass()
    reading.cancel()
    await until(lambda: voice.closed == ["abc"])
    assert speech.held_bytes == 0
