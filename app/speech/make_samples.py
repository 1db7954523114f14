"""Makes the recordings of a caller: ``python -m app.speech.make_samples [folder]`` (default ``samples``).

The caller has a voice that no agent has, and pauses as a caller does, so that voice
activity detection finds the turn. Made again, the files are the same to the byte.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

from app.call.audio import PCM
from app.speech.synthesis import Voice, synthesize

CALLER = Voice("gmw/en-US+robosoft", 65)
SPEED = 0.88
LEAD_MS = 1000
TRAIL_MS = 1500
SENTENCES = {
    "caller-books": "I'd like to book an appointment next Tuesday at three in the afternoon.",
    "caller-day": "Next Tuesday.",
    "caller-time": "At three.",
}


def recording(sentence: str) -> bytes:
    """`sentence` as the caller says it, with silence around it: PCM16 at 24 kHz."""
    spoken = synthesize(sentence, CALLER, SPEED)
    sound = spoken.rstrip(b"\0")
    sound += b"\0" * (len(sound) % PCM.sample_bytes)
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
