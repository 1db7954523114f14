"""How a frame of audio is written for each kind of server, and how its echo is recognised.

Every caller says the same second and a quarter of noise over and over: the frames are built
once, masked and ready to send, and an echo is compared with what has to come next, byte
by byte. So a lost, repeated, swapped or damaged frame is seen without a parser.
"""

from __future__ import annotations

import random
from base64 import b64encode
from dataclasses import dataclass

FRAME_BYTES = 960
"""20 ms of PCM16 little-endian mono at 24 000 Hz."""
DIFFERENT = 64
"""Frames before the noise repeats: more than are ever under way in one call that counts."""
MASK = b"\x37\xfa\x21\x3d"
TEXT, BINARY = 0x81, 0x82


@dataclass(frozen=True)
class Dialect:
    """`frames[n]` is sent; the echo holds `echoes[n]` right behind the first `mark` in it."""

    frames: tuple[bytes, ...]
    """Whole WebSocket frames, masked."""
    echoes: tuple[bytes, ...]
    mark: bytes
    """Ahead of the audio in an echo, and in no other message of the server's."""
    mirrored: bool = False
    """The server sends the very bytes back, and no WebSocket frames of its own."""


def dialect(name: str) -> Dialect:
    """The dialect `realtime`, `pipecat` or `raw`."""
    chance = random.Random(5)  # noqa: S311  # noise; the same in every run
    audio = [chance.randbytes(FRAME_BYTES) for _ in range(DIFFERENT)]
    if name == "pipecat":
        return Dialect(tuple(masked(BINARY, protobuf(one)) for one in audio), tuple(audio), AUDIO_FIELD)
    base64 = tuple(b64encode(one) for one in audio)
    frames = tuple(masked(TEXT, b'{"type":"input_audio_buffer.append","audio":"' + one + b'"}') for one in base64)
    if name == "raw":
        return Dialect(frames, frames, b"", mirrored=True)
    return Dialect(frames, base64, b'"delta":"')


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, section 5.2) with a 16-bit length and a constant mask."""
    size = len(payload)
    key = int.from_bytes((MASK * (size // 4 + 1))[:size])
    hidden = (int.from_bytes(payload) ^ key).to_bytes(size)
    return bytes((first, 0x80 | 126)) + size.to_bytes(2) + MASK + hidden


AUDIO_FIELD = b"\x1a\xc0\x07"
"""Field 3 of `pipecat/frames/frames.proto`'s AudioRawFrame: a byte string of 960."""


def protobuf(audio: bytes, rate_hz: int = 24_000) -> bytes:
    """pipecat's Frame, field 2: an AudioRawFrame with audio (3), its rate (4) and one channel (5)."""
    inner = b"\x1a" + _varint(len(audio)) + audio + b"\x20" + _varint(rate_hz) + b"\x28\x01"
    return b"\x12" + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return found + bytes((number,))
