"""Recorded speech, and speech that was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voice_agent.call.audio import AudioFormat


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of recorded speech: raw bytes in `format`, mono, a whole number of samples."""

    audio: bytes
    format: AudioFormat
    language: str = ""
    """What is spoken in it, as ISO 639-1, where that is known; else ""."""
    yes_or_no: bool = False
    """The caller was asked a question that a yes or a no answers, and may have said anything."""
    prompt: str = ""
    """What could be said before it, in the words that are likely in it. An ear may go by it, as OpenAI's do."""


@dataclass(frozen=True, slots=True)
class VoicedAudio:
    """A piece of synthesized speech: raw bytes in `format`, mono, a whole number of samples.

    `words` tells where words of the text begin in this piece, as [milliseconds of this piece, characters of the whole
    text], both ascending. Without it, letters are taken to pass at an even pace.
    """

    audio: bytes
    format: AudioFormat
    words: Sequence[Sequence[int]] = ()
