"""CPU time of the endpointer for each frame of 20 ms: ``python -m tests.speech.bench_endpointing``."""

from __future__ import annotations

import time

import numpy as np

from app.call.audio import PCM, PCMU, AudioFormat, from_linear
from app.speech.endpointing import Endpointer

SECONDS = 20
REPEATS = 5


def cost_us(audio_format: AudioFormat) -> float:
    """The best of some runs, in microseconds a frame."""
    noise = np.random.default_rng(0).normal(0, 2000, audio_format.rate_hz * SECONDS).astype("<i2").tobytes()
    audio = from_linear(noise, audio_format)
    size = audio_format.size(20)
    frames = [audio[start : start + size] for start in range(0, len(audio), size)]
    best = float("inf")
    for _ in range(REPEATS):
        listener = Endpointer(audio_format, threshold=0.5, prefix_padding_ms=300, silence_duration_ms=500)
        started = time.process_time()
        for frame in frames:
            listener.feed(frame)
        best = min(best, time.process_time() - started)
    return best / len(frames) * 1e6


if __name__ == "__main__":
    for audio_format in (PCM, PCMU):
        print(f"{audio_format.name}: {cost_us(audio_format):.1f} µs of CPU a frame")
