"""The three audio formats callers may use, and arithmetic on them.

All audio is mono. Sizes and formulas:

=============  ========  ==================  ==================
format         rate      one sample          one millisecond
=============  ========  ==================  ==================
``audio/pcm``  24000 Hz  2 bytes, LE signed  48 bytes
``audio/pcmu``  8000 Hz  1 byte, G.711 µ-law  8 bytes
``audio/pcma``  8000 Hz  1 byte, G.711 A-law  8 bytes
=============  ========  ==================  ==================
"""

from __future__ import annotations

import audioop
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One of `PCM`, `PCMU`, `PCMA`; compare by identity or equality."""

    name: str
    rate_hz: int
    sample_bytes: int
    bytes_per_ms: int = field(init=False)
    """48 for PCM, 8 for G.711. Looked at for each frame, so it is worked out once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes_per_ms", self.rate_hz // 1000 * self.sample_bytes)

    def ms(self, size_bytes: int) -> int:
        """Whole milliseconds that `size_bytes` of audio last."""
        return size_bytes // self.bytes_per_ms

    def size(self, duration_ms: int) -> int:
        """Bytes of `duration_ms` of audio."""
        return duration_ms * self.bytes_per_ms

    def as_json(self) -> dict[str, Any]:
        """The shape the Realtime protocol uses for a format."""
        return {"type": self.name, "rate": self.rate_hz} if self is PCM else {"type": self.name}


PCM = AudioFormat("audio/pcm", 24_000, 2)
PCMU = AudioFormat("audio/pcmu", 8_000, 1)
PCMA = AudioFormat("audio/pcma", 8_000, 1)
FORMATS = {audio_format.name: audio_format for audio_format in (PCM, PCMU, PCMA)}


def to_linear(audio: bytes, source: AudioFormat) -> bytes:
    """`audio` as PCM16 little-endian at the source's own rate."""
    if source is PCMU:
        return audioop.ulaw2lin(audio, 2)
    if source is PCMA:
        return audioop.alaw2lin(audio, 2)
    return audio


def from_linear(pcm16: bytes, target: AudioFormat) -> bytes:
    """PCM16 little-endian at the target's own rate, in the target's encoding."""
    if target is PCMU:
        return audioop.lin2ulaw(pcm16, 2)
    if target is PCMA:
        return audioop.lin2alaw(pcm16, 2)
    return pcm16


class Converter:
    """Turns a stream of audio of one format into another, piece by piece.

    The same pieces give the same bytes however they are cut, so that a reply
    made again on another pod is the same reply.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source = source
        self._target = target
        self._state: Any = None

    def convert(self, audio: bytes) -> bytes:
        """The next piece; `audio` holds whole samples of the source format."""
        if self._source == self._target:
            return audio
        linear = to_linear(audio, self._source)
        if self._source.rate_hz != self._target.rate_hz:
            linear, self._state = audioop.ratecv(linear, 2, 1, self._source.rate_hz, self._target.rate_hz, self._state)
        return from_linear(linear, self._target)
