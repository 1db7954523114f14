"""Makes the recordings of a caller: ``python -m voice_agent.speech.make_samples [folder]`` (default ``samples``).

The caller has a voice that no agent has, and pauses as a caller does, so that voice
activity detection finds the turn. Made again, the files are the same to the byte.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

from voice_agent.call.audio import PCM
from voice_agent.speech.synthesis import EspeakVariant, synthesize

CALLER = EspeakVariant("gmw/en-US+robosoft", 65)
SPEED = 0.88
LEAD_MS = 950
TRAIL_MS = 1500
AUDIBLE = 30
"""Samples at the edges that are no stronger are cut off: 1/1000 of full scale."""
SENTENCES = {
    "caller-books": "I'd like to book an appointment next Tuesday at three in the afternoon.",
    "caller-day": "Next Tuesday.",
    "caller-time": "At three.",
}


def recording(sentence: str) -> bytes:
    """`sentence` as the caller says it, with silence around it: PCM16 at 24 kHz."""
    spoken = synthesize(sentence, CALLER, SPEED)
    samples = np.frombuffer(spoken, "<i2")
    loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
    sound = samples[loud[0] : loud[-1] + 1].tobytes()
    return bytes(PCM.size(LEAD_MS)) + sound + bytes(PCM.size(TRAIL_MS))


def main() -> None:
    """Write every sentence as a WAV file."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "samples")
    folder.mkdir(parents=True, exist_ok=True)
    for name, sentence in SENTENCES.items():
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(PCM.sample_bytes)
            file.setframerate(PCM.rate_hz)
            file.writeframes(recording(sentence))


if __name__ == "__main__":
    main()
