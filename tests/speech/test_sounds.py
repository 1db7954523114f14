"""What is told of a clip before it is understood."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from voice_agent.call.audio import PCM
from voice_agent.speech.sounds import has_speech, signal_to_noise_db
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
