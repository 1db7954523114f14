"""What a caller hears when an agent has failed: a recording, for the agent's own voice may be what failed."""

from __future__ import annotations

import wave
from functools import cache
from importlib.resources import files

from voice_agent.call.apology import Apology
from voice_agent.call.audio import PCM, AudioFormat, Converter

WORDS = "Sorry, something went wrong here. Please say that again."
FILE = "apology.wav"
"""PCM16, 24 000 Hz, mono, beside this module; the words as `speech.synthesis` says them, which a test holds."""


@cache
def apology(audio_format: AudioFormat) -> Apology:
    """The words and their audio in a format."""
    with files("voice_agent.runtime.engine").joinpath(FILE).open("rb") as file, wave.open(file) as recording:
        pcm = recording.readframes(recording.getnframes())
    return Apology(WORDS, Converter(PCM, audio_format).convert(pcm))
