"""Speaking with hibari, a small English model that onnxruntime runs: natural, and 25 times as fast as it is heard.

The same text, speed and seed give the same bytes in every process, as its noise is the seed's and the model runs on the
same number of threads everywhere; on processors of another kind its last bits may differ, which the server notices as
it does of any voice. It tells no words: they are found in the audio. It begins with a quarter of a second of silence
and more and ends with half a second, which is cut off: a caller would wait for the one, and hear both as a long pause
between two sentences. Its one voice is in the package, and nothing is downloaded.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from hibari import Hibari

from voice_agent.call.audio import PCM
from voice_agent.speech.log_mel import Floats
from voice_agent.speech.spoken import SynthesizedSpeech
from voice_agent.speech.word_boundaries import words_of

LANGUAGE = "en"
THREADS = 1
"""However many processors there are: with more its bytes may differ. Two wait for each other busily: a sentence after
64 instead of 71 ms, for 157 instead of 79 ms of CPU."""
LOUDNESS = 2.2
"""Its audio is quiet: its loudest samples are at 0.3 of what is possible."""
SLOWEST, FASTEST = 0.5, 2.0
SILENT_DB = -55.0
"""Below its loudest hundredth of a second; what it takes for silence is 70 below, and the breath of an "h" 45."""
BEFORE_MS, AFTER_MS = 20, 200
"""So much silence is kept: after it, as much as people pause between sentences."""
_WINDOW = PCM.size(10) // PCM.sample_bytes


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
        audio = (np.clip(_spoken(samples) * LOUDNESS, -1, 1) * 32767).astype("<i2").tobytes()
        if not audio:
            return SynthesizedSpeech(b"", [])
        return SynthesizedSpeech(audio, words_of(text, audio, speed=speed))


def _spoken(samples: Floats) -> Floats:
    """Without the silence before and after it."""
    count = len(samples) // _WINDOW
    if not count:
        return samples
    levels = np.sqrt(np.mean(samples[: count * _WINDOW].reshape(count, _WINDOW) ** 2, axis=1))
    loud = np.flatnonzero(levels > levels.max() * 10 ** (SILENT_DB / 20))
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] - BEFORE_MS // 10) * _WINDOW : (loud[-1] + 1 + AFTER_MS // 10) * _WINDOW]
