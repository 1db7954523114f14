"""A pod's WebSocket frames, cut out of the stream and left as they are: they go on to the caller byte for byte.

The pod is ours, so nothing is checked that only a stranger would do wrong: no UTF-8, no order of fragments.
"""

from __future__ import annotations

from voice_agent.websocket.frames import LENGTH, MASKED, TWO_BYTES

SHORT_HEAD = 2
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Longer than anything a pod sends: a retrieved item with 15 MiB of audio has 20 MiB."""


class BrokenFrame(Exception):
    """What came is no frame of a server."""


class PodFrames:
    """One connection's: `feed` gives the frames that are whole."""

    def __init__(self) -> None:
        self._part = bytearray()
        """Of a frame that is not whole."""
        self._size = SHORT_HEAD
        """How long it will be, as far as it is known."""

    def feed(self, data: bytes) -> list[bytes]:
        """All frames that are whole now, each with its head. Raises `BrokenFrame`."""
        if self._part:
            self._part += data
            if len(self._part) < self._size:
                return []
            data = bytes(self._part)
            self._part = bytearray()
        frames: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            size = self._frame_bytes(data, at, end)
            if at + size > end:
                self._part += data[at:]
                self._size = size
                break
            frames.append(data if size == end else data[at : at + size])
            at += size
        return frames

    def _frame_bytes(self, data: bytes, at: int, end: int) -> int:
        """How long the frame is that begins here; less than what would be known with more of it, but more than is."""
        if end - at < SHORT_HEAD:
            return SHORT_HEAD
        size = data[at + 1]
        if size < TWO_BYTES:
            return SHORT_HEAD + size
        if size & MASKED:
            raise BrokenFrame("the frame of a server is masked")
        head = 4 if size & LENGTH == TWO_BYTES else 10
        if end - at < head:
            return head
        size = int.from_bytes(data[at + SHORT_HEAD : at + head], "big") + head
        if size > MAX_FRAME_BYTES:
            raise BrokenFrame(f"a frame has {size} bytes")
        return size
