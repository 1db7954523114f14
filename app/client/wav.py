"""Recordings: WAV files in and out."""

from __future__ import annotations

import audioop
import wave
from pathlib import Path

from app.call.audio import PCM
from app.client.refusals import CallFailed

LOUD = 0.05
"""A frame is voiced if it is at least this loud compared to the recording's loudest frame."""


def read_wav(path: Path) -> bytes:
    """A WAV file of any rate, width and number of channels as PCM16 little-endian mono, 24 000 Hz."""
    try:
        with wave.open(str(path), "rb") as recording:
            width, channels, rate = recording.getsampwidth(), recording.getnchannels(), recording.getframerate()
            audio = recording.readframes(recording.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise CallFailed(f"cannot read {path}: {error}") from None
    if width == 1:
        audio = audioop.bias(audio, 1, -128)
    audio = audioop.lin2lin(audio, width, 2)
    if channels == 2:
        audio = audioop.tomono(audio, 2, 0.5, 0.5)
    elif channels != 1:
        raise CallFailed(f"{path} has {channels} channels; one or two work")
    if rate == PCM.rate_hz:
        return audio
    # Slow to import, and most recordings do not need them.
    import numpy as np
    import soxr

    resampled = soxr.resample(np.frombuffer(audio, np.int16), rate, PCM.rate_hz, quality="HQ")
    return bytes(resampled.astype("<i2").tobytes())


def write_wav(path: Path, pcm: bytes) -> None:
    """Write PCM16 mono, 24 000 Hz."""
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(PCM.sample_bytes)
        recording.setframerate(PCM.rate_hz)
        recording.writeframes(pcm)


def end_of_speech_ms(pcm: bytes, frame_ms: int = 20) -> int:
    """Where the last voiced frame of a recording ends."""
    size = PCM.size(frame_ms)
    loudness = [audioop.rms(pcm[at : at + size], 2) for at in range(0, len(pcm) - size + 1, size)]
    floor = LOUD * max(loudness, default=0)
    voiced = [at for at, rms in enumerate(loudness) if rms > floor]
    return (voiced[-1] + 1) * frame_ms if voiced else 0
