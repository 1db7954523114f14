"""CPU time of the endpointer for each frame of 20 ms: ``python -m tests.speech.bench_endpointing [--json]``."""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from voice_agent.call.audio import FORMATS, AudioFormat, from_linear
from voice_agent.speech.endpointing import Endpointer

SECONDS = 20
REPEATS = 5
LIMIT_US = 15.0
"""What a frame may cost; beyond it the exit status is 1."""


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


def main() -> int:
    """Print the cost for every format; 1 if one is beyond the limit."""
    parser = argparse.ArgumentParser(description="CPU time of voice activity detection, a frame of 20 ms")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    as_json = parser.parse_args().json
    costs = {audio_format.name: round(cost_us(audio_format), 2) for audio_format in FORMATS.values()}
    if as_json:
        print(json.dumps({"what": "endpointing", "us_per_frame": costs, "limit_us": LIMIT_US}))
    else:
        for name, cost in costs.items():
            print(f"{name}: {cost:.1f} µs of CPU a frame (limit {LIMIT_US:g})")
    return 1 if max(costs.values()) > LIMIT_US else 0


if __name__ == "__main__":
    sys.exit(main())
