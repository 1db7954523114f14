"""The ear and the voices that come with the server; of `worker_ear`, `hibari_engine` and `piper_engine`, too."""

from __future__ import annotations

import audioop
import wave
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Transcript
from voice_agent.kit.voice import Utterance
from voice_agent.speech.speech_process import SpeechFailed
from voice_agent.speech.synthesis import speak
from voice_agent.speech.worker_ear import POCKETSPHINX, WorkerEar
from voice_agent.speech.worker_voice import ESPEAK, HIBARI, PIPER, WorkerVoice, clause_end
from voice_agent.speech.workers import SpeechWorkers
from voice_agent.testing import EarContract, VoiceContract

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[SpeechWorkers]:
    speech = SpeechWorkers(1)
    yield speech
    await speech.close()
    assert speech._workers == {}


async def said(voice: WorkerVoice, text: str) -> list[VoicedAudio]:
    return [piece async for piece in voice.say(Utterance(text, "coral", 1.2))]


async def test_a_sentence_is_one_piece_with_its_words(workers: SpeechWorkers) -> None:
    """In the voice and at the speed that were asked for; nothing of a text without anything to say."""
    voice = WorkerVoice(workers, ESPEAK)
    await voice.open()
    wanted = speak("Which day would suit you?", "coral", 1.2)
    assert await said(voice, "Which day would suit you?") == [VoicedAudio(wanted.audio, PCM, wanted.words)]
    assert await said(voice, "  ") == []
    await voice.close()


async def test_the_natural_voice_begins_at_once(workers: SpeechWorkers) -> None:
    """What its model takes for silence is no part of the answer that a caller waits for, nor all of a pause."""
    voice = WorkerVoice(workers, HIBARI)
    await voice.open()
    for text in ("Hello.", "Which day would suit you?", "I am sorry, he has already left for today."):
        (piece,) = await said(voice, text)
        levels = [audioop.rms(piece.audio[at : at + 480], 2) for at in range(0, len(piece.audio), 480)]
        loud = [n * 10 for n, level in enumerate(levels) if level > max(levels) / 500]
        assert loud[0] <= 40
        assert 100 <= 10 * len(levels) - loud[-1] <= 250
    await voice.close()


async def test_the_first_clause_of_a_long_sentence_is_a_piece(workers: SpeechWorkers) -> None:
    """So that it is heard while the rest is made; the words stand where they do in all of the text."""
    voice = WorkerVoice(workers, HIBARI)
    await voice.open()
    begin, rest = "On Saturday the fifth of December, ", "we are open from ten in the morning to one in the afternoon."
    first, second = await said(voice, begin + rest)
    assert [[first], [second.audio]] == [await said(voice, begin), [piece.audio for piece in await said(voice, rest)]]
    assert [chars for _, chars in second.words] == [
        len(begin) + chars for piece in await said(voice, rest) for _, chars in piece.words
    ]
    assert second.words
    await voice.close()


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("On Saturday the fifth of December, we are open from ten in the morning.", 35),
        ("Yes, on Saturday the fifth of December: we are open from ten to one.", 40),
        ("Yes, on Saturday the fifth of December we are open from ten to one.", 67),
        ("On Saturday, December fifth, we are open.", 41),
        ("The total comes to 10, 20 and 1,000 euros at a quarter past 10: 15 or 20.", 73),
        ("We are open from ten in the morning to one in the afternoon, today.", 67),
    ],
)
def test_where_the_first_clause_ends(text: str, end: int) -> None:
    """At a breath between two words, with enough on both sides of it; a short sentence is one piece."""
    assert clause_end(text) == end


async def test_an_ear_and_a_voice_share_the_workers(workers: SpeechWorkers) -> None:
    """The first that opens them starts them, the last that closes them ends them; twice is once."""
    ear, voice = WorkerEar(workers, POCKETSPHINX), WorkerVoice(workers, ESPEAK)
    await ear.open()
    tasks = list(workers._tasks)
    await voice.open()
    await voice.open()
    await ear.ready()
    await voice.ready()
    assert workers._tasks == tasks
    await ear.close()
    await ear.close()
    assert await said(voice, "hello")
    await voice.close()
    with pytest.raises(SpeechFailed, match="closed"):
        await said(voice, "hello")
    await ear.open()
    with wave.open(str(ROOT / "samples" / "caller-day.wav")) as recording:
        clip = Clip(recording.readframes(recording.getnframes()), PCM)
    assert await ear.transcribe(clip) == Transcript("next tuesday")
    await ear.close()


NUMBERED = "Order 7112 left the warehouse, and it comes on Tuesday at 9:30 in the morning."


async def said_by(voice: WorkerVoice, *utterances: Utterance) -> list[VoicedAudio]:
    """Once each, by a process that has said nothing before."""
    await voice.open()
    try:
        return [piece for utterance in utterances async for piece in voice.say(utterance)]
    finally:
        await voice.close()


@pytest.mark.parametrize("name", [HIBARI, PIPER])
async def test_two_processes_say_the_same(workers: SpeechWorkers, name: str) -> None:
    """Byte by byte, also where one has said something else before; with its words in the written text."""
    pytest.importorskip(name, reason="it comes with an extra")
    voice = WorkerVoice(workers, name)
    assert voice.deterministic
    sentence = Utterance(NUMBERED, "alloy", 1.0, "call:1:reply:1")
    once = await said_by(voice, sentence)
    again = await said_by(voice, Utterance("Good morning.", "alloy", 0.25, "other"), sentence, Utterance(" ", "alloy"))
    assert again[1:] == once
    assert 3000 < PCM.ms(sum(len(piece.audio) for piece in once)) < 8000
    assert max(abs(sample) for sample in memoryview(once[0].audio).cast("h")) > 8000
    assert all(NUMBERED[at - 1] == " " for piece in once for _, at in piece.words)
    assert sum(len(piece.words) for piece in once) >= 2


async def test_what_is_no_english_is_said_by_the_voice_of_other_languages(workers: SpeechWorkers) -> None:
    """In the language that is asked for, by whatever voice; one that nothing speaks is said as English."""
    german = Utterance("Guten Tag, Sie wünschen?", "coral", 1.0, "seed", "de-DE")
    alone, beside = WorkerVoice(workers, ESPEAK), WorkerVoice(workers, "none", languages=["en"], others=ESPEAK)
    workers._engines.pop("none")  # It would be loaded, and there is none.
    [by_espeak] = await said_by(alone, german)
    assert await said_by(beside, german) == [by_espeak]
    [english] = await said_by(alone, replace(german, language="en"))
    assert english.audio != by_espeak.audio
    assert await said_by(alone, replace(german, language="xx")) == [english]


def make_ear() -> WorkerEar:
    return WorkerEar(SpeechWorkers(1), POCKETSPHINX)


def make_voice() -> WorkerVoice:
    return WorkerVoice(SpeechWorkers(1), ESPEAK)


class TestWorkerEar(EarContract):
    """It keeps what every ear promises."""

    made_by = f"{__name__}:make_ear"
    says = "next tuesday"


class TestEspeakVoice(VoiceContract):
    """It keeps what every voice promises."""

    made_by = f"{__name__}:make_voice"
