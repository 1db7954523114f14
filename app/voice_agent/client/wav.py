"""Recordings: WAV files in and out."""

from __future__ import annotations

import audioop
import wave
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voice_agent.call.audio import PCM, AudioFormat, from_linear
from voice_agent.client import riff
from voice_agent.client.refusals import CallFailed
from voice_agent.extras import missing_extra

LOUD = 0.05
"""A frame is voiced if it is at least this loud compared to the recording's loudest frame."""


def read_wav(path: Path) -> bytes:
    """A WAV file of any rate, width, coding and number of channels as PCM16 little-endian mono, 24 000 Hz.

    Raises `CallFailed` for what cannot be read.
    """
    try:
        recording = riff.read(path.read_bytes())
    except (OSError, riff.NotReadableError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CallFailed(f"cannot read {path}: {reason} (an uncompressed WAV file works)") from None
    return resampled(_mono(recording.pcm, recording.channels), recording.rate_hz, PCM.rate_hz)


def _mono(pcm: bytes, channels: int) -> bytes:
    """Each channel counts the same, and is scaled before they add up, so that none is clipped."""
    samples, mixed = array("h", pcm), bytes(len(pcm) // channels)
    for channel in range(channels):
        mixed = audioop.add(mixed, audioop.mul(samples[channel::channels].tobytes(), 2, 1 / channels), 2)
    return mixed


def resampled(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """PCM16 mono at another rate, without aliases. Raises `CallFailed` where the library for that is not installed."""
    if from_hz == to_hz or not pcm:
        return pcm
    if (missing := missing_extra("demo")) is not None:
        raise CallFailed(f"audio of {from_hz} Hz is to become {to_hz} Hz, which {missing}")
    # Slow to import, and most recordings do not need them.
    import numpy as np
    import soxr

    return bytes(soxr.resample(np.frombuffer(pcm, "<i2"), from_hz, to_hz, quality="HQ").astype("<i2").tobytes())


def encoded(pcm: bytes, target: AudioFormat) -> bytes:
    """PCM16 24 000 Hz in a call's format."""
    return from_linear(resampled(pcm, PCM.rate_hz, target.rate_hz), target)


class WavWriter:
    """Writes PCM16 mono 24 000 Hz as it comes, so that a long call needs no memory.

    Making one raises `OSError`, the rest `CallFailed`: a full disk ends the call in words.
    """

    def __init__(self, path: Path) -> None:
        # Opened here: `wave`, given a path that cannot be opened, leaves a broken object behind.
        self._file = path.open("wb")
        self._path = path
        self._recording = wave.open(self._file, "wb")  # noqa: SIM115  # closed by `close`
        self._recording.setnchannels(1)
        self._recording.setsampwidth(PCM.sample_bytes)
        self._recording.setframerate(PCM.rate_hz)

    def write(self, pcm: bytes) -> None:
        """Add audio."""
        with self._told():
            self._recording.writeframesraw(pcm)

    def interrupt(self) -> None:
        """What was written was said, heard or not."""

    def close(self) -> None:
        """Complete the file."""
        with self._told():
            try:
                self._recording.close()
            finally:
                self._file.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CallFailed(f"cannot write {self._path}: {error.strerror}") from None


def end_of_speech_ms(pcm: bytes, frame_ms: int = 20) -> int:
    """Where the last voiced frame of a recording (PCM16 24 000 Hz) ends; 0 if all is silent."""
    size = PCM.size(frame_ms)
    loudness = [audioop.rms(pcm[at : at + size], 2) for at in range(0, len(pcm), size)]
    floor = LOUD * max(loudness, default=0)
    voiced = [at for at, rms in enumerate(loudness) if rms > floor]
    return (voiced[-1] + 1) * frame_ms if voiced else 0
