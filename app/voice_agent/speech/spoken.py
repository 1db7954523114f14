"""What a voice gives; by itself, since who asks a worker for it needs none of the engines."""

from __future__ import annotations

from typing import NamedTuple


class SynthesizedSpeech(NamedTuple):
    """A text as speech."""

    audio: bytes
    """PCM16 little-endian mono at 24 kHz; b"" for a text without anything to say."""
    words: list[list[int]]
    """Where words begin after the first, as [milliseconds of the audio, characters of the text]: both ascend. Words
    that run together ("in the") are one."""
