"""Speaking with hibari, a small English model that onnxruntime runs: natural, and 25 times as fast as it is heard.

The same text, speed and seed give the same bytes in every process, as its noise is the seed's and the model runs on the
same number of threads everywhere; on processors of another kind its last bits may differ, which the server notices as
it does of any voice. It tells no words: they are found in the audio. Its one voice is in the package, and nothing is
downloaded.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from hibari import Hibari

from voice_agent.speech.spoken import SynthesizedSpeech
from voice_agent.speech.word_boundaries import words_of

LANGUAGE = "en"
THREADS = 2
"""However many processors there are: with more or fewer its bytes differ."""
LOUDNESS = 2.2
"""Its audio is quiet: its loudest samples are at 0.3 of what is possible."""
SLOWEST, FASTEST = 0.5, 2.0


class HibariEngine:
    """For the speech workers. Every name of a voice is its one voice."""

    def __init__(self) -> None:
        """Loads the model, and what pronounces words."""
        self._hibari = Hibari(threads=THREADS)
        self._hibari("Ready.", seed=0)

    def speak(self, text: str, voice: str, speed: float, seed: str, language: str) -> SynthesizedSpeech:
        """`text` spoken, in English whatever the language."""
        number = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big")
        samples = self._hibari(text, speed=min(max(speed, SLOWEST), FASTEST), seed=number)
        audio = (np.clip(samples * LOUDNESS, -1, 1) * 32767).astype("<i2").tobytes()
        if not audio:
            return SynthesizedSpeech(b"", [])
        return SynthesizedSpeech(audio, words_of(text, audio, speed=speed))
