"""What is told of a clip before it is understood."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from voice_agent.call.audio import PCM
from voice_agent.speech.sounds import has_speech, signal_to_noise_db, without_noise
from voice_agent.speech.whisper import samples_of

SAMPLE = Path(__file__).parents[2] / "samples" / "caller-books.wav"


def test_noise_is_told_from_a_quiet_line() -> None:
    """A sentence with noise 10 dB below it is under 20 dB, without it over; silence and hiss are nothing."""
    with wave.open(str(SAMPLE)) as recording:
        clean = samples_of(recording.readframes(recording.getnframes()), PCM)
    loud = np.sqrt(np.mean(clean[np.abs(clean) > 0.01] ** 2))
    noise = np.random.default_rng(1).normal(0, loud / np.sqrt(10), len(clean)).astype(np.float32)
    assert signal_to_noise_db(clean) > 20
    assert 2 < signal_to_noise_db(clean + noise) < 20
    assert signal_to_noise_db(noise) < 2
    assert signal_to_noise_db(np.zeros(16_000, np.float32)) == 0
    assert signal_to_noise_db(np.zeros(0, np.float32)) == 0


def test_silence_has_no_speech() -> None:
    """A sentence has."""
    with wave.open(str(SAMPLE)) as recording:
        assert has_speech(recording.readframes(recording.getnframes()), PCM)
    assert not has_speech(bytes(PCM.size(2000)), PCM)


@pytest.mark.parametrize("over_noise_db", [0, 2])
def test_speech_in_loud_noise_is_speech_and_the_noise_alone_is_none(over_noise_db: int) -> None:
    """Who is asked about it has taken it for speech already: "I did not hear anything" must not be the answer."""
    with wave.open(str(SAMPLE.with_name("caller-day.wav"))) as recording:
        clean = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32)
    loud = np.sqrt(np.mean(clean[np.abs(clean) > 300] ** 2))
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, loud * 10 ** (-over_noise_db / 20), len(clean))
        assert has_speech((clean + noise).clip(-32768, 32767).astype("<i2").tobytes(), PCM)
        assert not has_speech(noise.clip(-32768, 32767).astype("<i2").tobytes(), PCM)


def test_noise_is_weakened_and_speech_is_not() -> None:
    """Of a sentence with noise 10 dB below it: the pauses lose most of it, and the words are as loud as they were."""
    with wave.open(str(SAMPLE)) as recording:
        clean = samples_of(recording.readframes(recording.getnframes()), PCM)
    loud = np.sqrt(np.mean(clean[np.abs(clean) > 0.01] ** 2))
    noise = np.random.default_rng(1).normal(0, loud / np.sqrt(10), len(clean)).astype(np.float32)
    found = without_noise(clean + noise)
    assert np.mean((found - clean) ** 2) < np.mean(noise**2) / 3
    assert signal_to_noise_db(found) > signal_to_noise_db(clean + noise) + 6
    assert np.mean((without_noise(clean) - clean) ** 2) < np.mean(clean**2) / 100


@pytest.mark.parametrize("length", [0, 1, 255, 256, 511, 512, 513, 16_001])
def test_any_clip_comes_back_as_long_as_it_was(length: int) -> None:
    """However short, and silence is silence."""
    tone = np.sin(np.arange(length) / 5).astype(np.float32)
    assert len(without_noise(tone)) == length
    assert np.isfinite(without_noise(tone)).all()
    assert not without_noise(np.zeros(length, np.float32)).any()
