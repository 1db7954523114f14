"""What is in a WAV file, as programs and recorders really write it.

A RIFF file is a list of chunks: four letters, a size (32 bits, little-endian), content padded to an even length
("Multimedia Programming Interface and Data Specifications 1.0", 1991; extensible formats: Microsoft's
WAVEFORMATEXTENSIBLE). Python's own `wave` takes only integers, not the extensible form before 3.12, and believes
sizes that a recorder which was killed, or which writes into a pipe, never filled in.
"""

from __future__ import annotations

import array
import audioop
import struct
import sys
from dataclasses import dataclass

INTEGERS, FLOATS, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"""Format tags."""
FORMAT_BYTES = 16
SUBFORMAT_AT = 24
"""Where an extensible format says what it really is: the first two bytes of a GUID."""
UNKNOWN_SIZES = frozenset({0, 0xFFFFFFFF, 0x7FFFFFFF})
"""A data chunk of such a size goes on to the end of the file: nobody came back to write the true one."""


class NotReadableError(Exception):
    """`str()` says what is wrong with the file."""


@dataclass(frozen=True, slots=True)
class WavContent:
    """`pcm` is PCM16 little-endian, its channels interleaved, whole frames only."""

    pcm: bytes
    channels: int
    rate_hz: int


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    rate_hz: int
    width: int
    """Bytes of one sample."""


def read(content: bytes) -> WavContent:
    """The samples of a WAV file. Raises `NotReadableError`."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise NotReadableError("it is no WAV file")
    known: _Format | None = None
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"fmt ":
            known = _format(content[at + 8 : at + 8 + size])
        elif name == b"data":
            if known is None:
                raise NotReadableError("its samples come before their format")
            rest = content[at + 8 :]
            is_last = size in UNKNOWN_SIZES or size > len(rest)
            return _recording(rest if is_last else rest[:size], known)
        at += 8 + size + size % 2
    raise NotReadableError("it is cut off before its samples")


def _format(chunk: bytes) -> _Format:
    if len(chunk) < FORMAT_BYTES:
        raise NotReadableError("its format is cut off")
    tag, channels, rate_hz, _, frame_bytes, _ = struct.unpack("<HHIIHH", chunk[:FORMAT_BYTES])
    if tag == EXTENSIBLE and len(chunk) >= SUBFORMAT_AT + 2:
        tag = int.from_bytes(chunk[SUBFORMAT_AT : SUBFORMAT_AT + 2], "little")
    if not channels or not rate_hz or not frame_bytes or frame_bytes % channels:
        raise NotReadableError("its format makes no sense")
    return _Format(tag, channels, rate_hz, frame_bytes // channels)


def _recording(data: bytes, form: _Format) -> WavContent:
    # A file whose writer was killed may end within a sample.
    whole = len(data) // (form.width * form.channels) * (form.width * form.channels)
    if not whole:
        raise NotReadableError("it holds no samples")
    return WavContent(_pcm16(data[:whole], form), form.channels, form.rate_hz)


def _pcm16(data: bytes, form: _Format) -> bytes:
    match form.tag, form.width:
        case (1, 1):
            return audioop.lin2lin(audioop.bias(data, 1, -128), 1, 2)
        case (1, 2):
            return data
        case (1, 3 | 4):
            return audioop.lin2lin(data, form.width, 2)
        case (3, 4 | 8):
            return _from_floats(data, "f" if form.width == 4 else "d")
        case (6, 1):
            return audioop.alaw2lin(data, 2)
        case (7, 1):
            return audioop.ulaw2lin(data, 2)
        case _:
            raise NotReadableError(
                f"its format (tag {form.tag}, {8 * form.width} bits) is not known; PCM, floats, A-law and µ-law are"
            )


def _from_floats(data: bytes, code: str) -> bytes:
    samples = array.array(code, data)
    made = array.array("h", (0 if value != value else round(max(-1.0, min(1.0, value)) * 32767) for value in samples))  # noqa: PLR0124 - not a number
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()
