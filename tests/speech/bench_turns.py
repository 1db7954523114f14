"""Where turns start and end in what people say: ``python -m tests.speech.bench_turns [--json] [--recordings DIR]``.

Each recording stands in a second of silence before and two after it, clean and with hiss 10 dB below the voice, and is
heard by both kinds of endpointing on the telephone's µ-law. Debian's ``asterisk-core-sounds-en-wav`` has recordings.

Example: ``python -m tests.speech.bench_turns --count 60``
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import wave
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voice_agent.call.audio import PCMU, from_linear
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.semantic_endpointing import SemanticEndpointer
from voice_agent.speech.silero import silero_model

RECORDINGS = Path("/usr/share/asterisk/sounds/en")
SILENCE_MS = 700
AROUND = 8_000
"""Samples before a recording, and half of those behind it."""
LOUD = 600
"""A sample that is louder is said."""
HISS_DBFS = -70
TEN_DB = 10**0.5

Samples = npt.NDArray[np.float32]


@dataclass
class Found:
    """Of all recordings."""

    starts_ms: list[float] = field(default_factory=list)
    """How long after the first loud sample it was known that somebody speaks: so late a reply stops."""
    ends_ms: list[float] = field(default_factory=list)
    """How long after the last loud sample the turn was over, beyond the silence asked for."""
    missed: int = 0
    false: int = 0
    """Begun before anything was said."""
    split: int = 0
    cpu_s: float = 0.0
    heard_s: float = 0.0


def recorded(path: Path) -> Samples:
    """All of it; 8 kHz mono."""
    with wave.open(str(path)) as recording:
        return np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32)


def hear(said: Samples, hears: Endpointer, found: Found, *, noisy: bool) -> None:
    """Let it be heard, frame by frame, and note what became of it."""
    loud = np.abs(said) > LOUD
    first_ms, last_ms = loud.argmax() / 8 + 1000, (len(said) - loud[::-1].argmax()) / 8 + 1000
    level = float(np.sqrt(np.mean(said[loud] ** 2))) / TEN_DB if noisy else 32768 * 10 ** (HISS_DBFS / 20)
    samples = np.concatenate([np.zeros(AROUND), said, np.zeros(2 * AROUND)])
    samples += np.random.default_rng(1).normal(0, level, len(samples))
    audio = from_linear(samples.clip(-32768, 32767).astype("<i2").tobytes(), PCMU)
    size, known = PCMU.size(20), []
    began_s = time.process_time()
    for at in range(0, len(audio) - size + 1, size):
        known += [(it.started, PCMU.ms(at + size)) for it in hears.feed(audio[at : at + size])]
    found.cpu_s += time.process_time() - began_s
    found.heard_s += len(audio) / 8000
    starts = [at_ms for started, at_ms in known if started]
    ends = [at_ms for started, at_ms in known if not started]
    found.missed += not starts
    found.split += len(starts) > 1
    if starts and starts[0] < first_ms - 50:
        found.false += 1
    elif starts:
        found.starts_ms.append(starts[0] - first_ms)
        found.ends_ms += [ends[-1] - last_ms - SILENCE_MS] if ends else []


def told(found: Found) -> dict[str, float]:
    """In figures."""
    figures = {name: float(value) for name, value in asdict(found).items() if isinstance(value, int)}
    for name in ("starts_ms", "ends_ms"):
        p50, p95 = np.percentile(getattr(found, name), (50, 95))
        figures |= {f"{name}_p50": round(float(p50)), f"{name}_p95": round(float(p95))}
    return {**figures, "us_per_frame": round(found.cpu_s / found.heard_s * 20_000)}


def main() -> int:
    """Print a line for each way of hearing; 1 without recordings."""
    parser = argparse.ArgumentParser(description="Where turns start and end in what people say")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="WAV files, 8 kHz mono")
    parser.add_argument("--count", type=int, default=160, help="how many of them, by chance")
    options = parser.parse_args()
    paths = sorted(options.recordings.glob("*.wav"))
    chosen = random.Random(1).sample(paths, min(options.count, len(paths)))
    said = [it for it in map(recorded, chosen) if len(it) > AROUND // 2 and (np.abs(it) > LOUD).any()]
    if not said:
        print(f"no recordings in {options.recordings}", file=sys.stderr)
        return 1
    model = silero_model()
    for noisy in (False, True):
        for mode in ("server_vad", "semantic_vad"):
            found = Found()
            for one in said:
                given = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": SILENCE_MS}
                semantic = mode == "semantic_vad"
                hears = SemanticEndpointer(PCMU, model, **given) if semantic else _plain()
                hear(one, hears, found, noisy=noisy)
            figures = told(found)
            name = f"{mode}, {'10 dB of noise' if noisy else 'clean'}, {len(said)} recordings"
            as_text = ", ".join(f"{key} {value:g}" for key, value in figures.items())
            print(json.dumps({"what": name, **figures}) if options.json else f"{name}: {as_text}", flush=True)
    return 0


def _plain() -> Endpointer:
    return Endpointer(PCMU, threshold=0.5, prefix_padding_ms=300, silence_duration_ms=SILENCE_MS)


if __name__ == "__main__":
    sys.exit(main())
