"""Voices of which the next goes on, against two providers whose words can be heard; with `voice_take`, `preference`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.doubles.counting import count, sentences
from tests.doubles.faults import Fault
from tests.doubles.serving import Served
from tests.doubles.tones import sound_of, words_in
from tests.speech.speaking import joined, said, voice_at
from tests.waiting import PATIENCE_S, until
from voice_agent.call.audio import PCM, PCMU, Converter
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.providers import answer_times
from voice_agent.providers.breaker import BreakerState
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.errors import ProviderFailed
from voice_agent.providers.hedging import GaveNothing
from voice_agent.speech import fallback_voice
from voice_agent.speech.fallback_voice import FallbackVoice
from voice_agent.speech.provider_faults import voice_fault
from voice_agent.speech.voice_take import HELD_MS, SLICE_MS

NUMBERS = range(20, 44)
TEXT = sentences(NUMBERS, 8)
SOUND = sound_of(TEXT)


class Telling(Voice):
    """Tells where its words are, in small pieces, and fails where it is told to."""

    def __init__(self, name: str, fails_at: int | None = None, audio_format: str = "pcm") -> None:
        self.name = name
        self.fails_at = fails_at
        self.format = PCMU if audio_format == "pcmu" else PCM
        self.said: list[str] = []

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """Word by word, or up to the byte of its audio at which it fails."""
        self.said.append(utterance.text)
        size, at, converter = 0, 0, Converter(PCM, self.format)
        for word in utterance.text.split():
            audio = sound_of(word)
            if self.fails_at is not None and size + len(audio) > self.fails_at:
                part = (self.fails_at - size) & ~1
                if part:
                    yield VoicedAudio(converter.convert(audio[:part]), self.format, [[0, at]])
                raise RuntimeError("cut")
            yield VoicedAudio(converter.convert(audio), self.format, [[0, at]])
            size += len(audio)
            at += len(word) + 1


@pytest.mark.parametrize("kind", ["cut", "stall"])
async def test_no_word_is_missing_or_said_twice_wherever_the_first_voice_ends(
    client: ProviderClient, first: Served, second: Served, kind: str
) -> None:
    """Cut or stalled at random bytes, with all words read from the audio; nothing is left open."""
    chance = random.Random(18)
    voice = FallbackVoice([voice_at(client, first, key="first"), voice_at(client, second, key="second")])
    assert voice_fault(voice) is None
    assert count(words_in(joined(await said(voice, TEXT))), NUMBERS).is_exact
    for _ in range(12):
        client._healths.clear()
        first.provider.faults.add("speak", Fault(kind, chance.randrange(len(SOUND))))  # type: ignore[arg-type]
        pieces = await said(voice, TEXT)
        heard = count(words_in(joined(pieces)), NUMBERS)
        assert heard.is_complete, heard
        at = [chars for piece in pieces for _, chars in piece.words]
        assert at == sorted(at)
    await until(lambda: not client.open_requests)


async def test_of_what_nobody_has_heard_no_word_is_guessed(
    client: ProviderClient, first: Served, second: Served
) -> None:
    """A voice that ends within the first word, or behind it, before any of it was said: the next says all of it."""
    voice = FallbackVoice([voice_at(client, first, key="first"), voice_at(client, second, key="second")])
    for after_bytes in range(4_000, PCM.size(HELD_MS + SLICE_MS) - 2, 1_370):
        client._healths.clear()
        first.provider.faults.add("speak", Fault("cut", after_bytes))
        assert count(words_in(joined(await said(voice, TEXT))), NUMBERS).is_exact, after_bytes


@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=429, retry_after_s=30.0), Fault("status", status=500), Fault("timeout"), Fault("garbage")],
    ids=["429", "500", "timeout", "garbage"],
)
async def test_one_that_does_not_begin_is_not_heard(
    client: ProviderClient, first: Served, second: Served, fault: Fault
) -> None:
    """And after a few the other is asked first, until the first does well again."""
    one, other = voice_at(client, first, key="first"), voice_at(client, second, key="second")
    if fault.kind == "garbage":
        one = voice_at(client, first, key="wrong")
    else:
        first.provider.faults.always("speak", fault)
    voice = FallbackVoice([one, other])
    for _ in range(5):
        assert words_in(joined(await said(voice, "One two three."))) == ["one", "two", "three"]
    assert client.health(one.endpoint).state is BreakerState.OPEN
    assert len(first.provider.log.of("speak")) <= 3


async def test_an_answer_that_is_far_too_short_is_no_answer(
    client: ProviderClient, first: Served, second: Served
) -> None:
    """It ended in good form, and nobody speaks so fast."""
    first.provider.faults.add("speak", Fault("short", len(SOUND) // 4))
    voice = FallbackVoice([voice_at(client, first, key="first"), voice_at(client, second, key="second")])
    assert count(words_in(joined(await said(voice, TEXT))), NUMBERS).is_complete


@pytest.mark.parametrize("audio_format", ["pcm", "pcmu"])
async def test_a_voice_that_tells_its_words_is_left_at_one(audio_format: str) -> None:
    """To the character, in whatever format it speaks; what the next one says begins there."""
    for fails_at in range(0, 100_000, 9_998):
        one, other = Telling("one", fails_at, audio_format), Telling("other")
        with capture_logs() as lines:
            pieces = await said(FallbackVoice([one, other]), TEXT)
        # One that gave nothing at all is passed over; what an error says may quote callers.
        assert [(line["kind"], line["voice"]) for line in lines] == [("RuntimeError", "one")] * bool(fails_at)
        heard = count(words_in(joined(pieces)), NUMBERS)
        assert heard.is_complete, heard
        assert all(TEXT.endswith(text) for text in other.said)
        assert [0, len(TEXT) - len(other.said[0])] in [list(mark) for piece in pieces for mark in piece.words]


async def test_when_all_fail_the_last_error_is_raised_after_a_second_round(
    client: ProviderClient, first: Served, second: Served
) -> None:
    """It does not go on for ever."""
    for double in (first, second):
        double.provider.faults.always("speak", Fault("status", status=500))
    voice = FallbackVoice([voice_at(client, first, key="first"), voice_at(client, second, key="second")])
    with pytest.raises(ProviderFailed):
        await said(voice, TEXT)
    assert len(first.provider.log.of("speak")) == len(second.provider.log.of("speak")) == 2


async def test_voices_that_each_fail_after_a_while_say_all_of_it_together() -> None:
    """Each goes on from the last, as often as there are tries."""
    voice = FallbackVoice([Telling("a", 60_000), Telling("b", 60_000), Telling("c", 90_000)])
    assert count(words_in(joined(await said(voice, sentences(range(20, 40), 8)))), range(20, 40)).is_complete


async def test_a_voice_that_nobody_listens_to_is_held_and_one_that_is_left_is_closed(
    client: ProviderClient, first: Served
) -> None:
    """Whether in its first or its second voice."""
    voice = FallbackVoice([Telling("a", 40_000), voice_at(client, first, key="first")])
    for wanted in (1, 12):
        pieces = voice.say(Utterance(TEXT, "alloy"))
        for _ in range(wanted):
            await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]  # an async generator
        await until(lambda: not client.open_requests)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "voice"]


class Stalling(Voice):
    """Gives a little silence, and then nothing more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """Without an end."""
        self.asked += 1
        yield VoicedAudio(bytes(PCM.size(HELD_MS)), PCM)
        await asyncio.Event().wait()


async def test_voices_that_stall_and_get_no_further_are_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is asked as often as one that fails: every request costs."""
    monkeypatch.setattr(fallback_voice, "STALLED_S", 0.02)
    voices = [Stalling("a"), Stalling("b")]
    with pytest.raises(VoiceFailed):
        await said(FallbackVoice(voices), TEXT)
    assert [voice.asked for voice in voices] == [2, 2]


class Hanging(Voice):
    """Gives nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """Without an end."""
        self.asked += 1
        await asyncio.Event().wait()
        yield VoicedAudio(b"", PCM)


@pytest.mark.parametrize("other", [Telling("other", 0), Hanging("other")], ids=["fails", "hangs"])
async def test_one_that_hangs_is_soon_given_up_when_nobody_else_speaks(
    other: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that something else can be said: it does not wait until its call gives the voice up."""
    monkeypatch.setattr(answer_times, "LAST_S", 0.01)
    hanging = Hanging("one")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(GaveNothing):
            await said(FallbackVoice([hanging, other]), TEXT)
    assert hanging.asked == 1


def test_while_one_of_them_loads_it_is_loading() -> None:
    """It may be asked first."""

    class LoadingVoice(Voice):
        is_loading = True

    assert FallbackVoice([Voice(), LoadingVoice()]).is_loading
    assert not FallbackVoice([Voice(), Voice()]).is_loading
