"""What comes from a server, cut into frames: unmasked, several at once or a part of one (RFC 6455, section 5.2)."""

from __future__ import annotations

from collections.abc import Callable

CLOSE_OPCODE = 0x88
PING_OPCODE = 0x89
"""First bytes of control frames; those of messages are less."""
PONG = b"\x8a\x80\0\0\0\0"


def read_frames(data: bytes, take: Callable[[int, bytes, int, int], None]) -> int:
    """Hand over each whole frame: its first byte, and `data` with where its payload begins and ends.

    Returns how much was read; the rest is the beginning of a frame.
    """
    start, end = 0, len(data)
    while end - start >= 2:
        size, begin = data[start + 1], start + 2
        if size == 126:
            if end - start < 4:
                break
            size, begin = data[start + 2] << 8 | data[start + 3], start + 4
        elif size == 127:
            if end - start < 10:
                break
            size, begin = int.from_bytes(data[start + 2 : start + 10]), start + 10
        if begin + size > end:
            break
        take(data[start], data, begin, begin + size)
        start = begin + size
    return start
