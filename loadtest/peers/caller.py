"""One paced call as an asyncio protocol: sends ready frames, checks each echo, notes how long it took."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field

from loadtest.peers.dialects import DIFFERENT, Dialect
from loadtest.peers.holding import SilentCaller

FRAME_S = 0.02
PONG = b"\x8a\x80\0\0\0\0"
PING_OPCODE = 0x89
CLOSE_OPCODE = 0x88


@dataclass
class Tally:
    """What all callers of a run saw."""

    received: int = 0
    wrong: int = 0
    """Echoes that were not what had to come next."""
    lost: int = 0
    """Connections that the server ended."""
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    """From when a frame was due to be sent to when its echo was there."""


class Caller(SilentCaller):
    """Frame n is due at `first_due_s` + n × 20 ms, and so echo n's latency is known without a note on the way."""

    def __init__(self, request: bytes, dialect: Dialect, tally: Tally) -> None:
        super().__init__(request)
        self._dialect = dialect
        self._tally = tally
        self._buffer = b""
        self._hung_up = False
        self.first_due_s = 0.0
        """By `time.perf_counter`, for uvloop's own clock counts whole milliseconds; set before the first `say`."""
        self.sent = 0
        self.heard = 0

    def say(self) -> None:
        """Send the next frame."""
        assert self._transport is not None
        self._transport.write(self._dialect.frames[self.sent % DIFFERENT])
        self.sent += 1

    def hang_up(self) -> None:
        """Close as a caller does who is done."""
        self._hung_up = True
        super().hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody but the caller ends a call here."""
        super().connection_lost(exc)
        if not self._hung_up:
            self._tally.lost += 1

    def data_received(self, data: bytes) -> None:
        """Take what is whole; keep the rest."""
        if not self.upgraded.done():
            super().data_received(data)
            data = self._head.partition(b"\r\n\r\n")[2] if self.upgraded.done() else b""
        if self._buffer:
            data = self._buffer + data
        self._buffer = data[self._take_mirrored(data) if self._dialect.mirrored else self._take_messages(data) :]

    def _take_mirrored(self, data: bytes) -> int:
        size = len(self._dialect.frames[0])
        start = 0
        while len(data) - start >= size:
            self._hear(data, start)
            start += size
        return start

    def _take_messages(self, data: bytes) -> int:
        """Read a server's frames: unmasked, lengths of 7 or 16 bits (RFC 6455, section 5.2). Returns what was read."""
        start, end = 0, len(data)
        while end - start >= 4:
            size = data[start + 1]
            begin = start + 2
            if size == 126:
                size = data[start + 2] << 8 | data[start + 3]
                begin += 2
            if begin + size > end:
                break
            if data[start] < CLOSE_OPCODE:
                mark = data.find(self._dialect.mark, begin, begin + size)
                if mark >= 0:
                    self._hear(data, mark + len(self._dialect.mark))
            elif data[start] == PING_OPCODE and self._transport is not None:
                self._transport.write(PONG)
            start = begin + size
        return start

    def _hear(self, data: bytes, start: int) -> None:
        tally = self._tally
        wanted = self._dialect.echoes[self.heard % DIFFERENT]
        if data[start : start + len(wanted)] != wanted:
            tally.wrong += 1
        tally.latencies_s.append(time.perf_counter() - self.first_due_s - self.heard * FRAME_S)
        tally.received += 1
        self.heard += 1
