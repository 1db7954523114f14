"""The ear and the voice that come with the server; tests of `worker_ear`, too."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
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
from voice_agent.speech.worker_voice import ESPEAK, WorkerVoice
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
