"""One paced call on a bare socket: sends ready frames, checks each echo, notes how long it took.

No event loop is in between, which is why it is not `loadtest.resuming`'s caller: a call that takes 20 µs of the
server's CPU a frame would be hard to load with a caller that takes as much. What a frame costs here, in and out, is 7
to 10 µs, most of it the kernel's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

from loadtest.peers.dialects import DIFFERENT, Dialect
from loadtest.peers.frames import CLOSE_OPCODE, PING_OPCODE, PONG, read_frames
from loadtest.peers.holding import CLOSE, Refused

FRAME_S = 0.02
READ_BYTES = 16 * 1024
"""Enough for ten echoes that came at once."""
LONGEST_HEAD_BYTES = 16 * 1024


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

    def forget_times(self) -> None:
        """Of the warm-up; counts of faults stay."""
        self.latencies_s = array("d")


class Caller:
    """Frame n is due at `first_due_s` + n × 20 ms, and so echo n's latency is known without a note on the way."""

    def __init__(self, connection: socket.socket, rest: bytes, speech: Dialect, tally: Tally) -> None:
        self.connection = connection
        self._dialect = speech
        self._tally = tally
        self._unread = rest
        self._unsent = b""
        self.first_due_s = 0.0
        """By `perf_counter`; set before the first `say`."""
        self.sent = 0
        self.heard = 0
        self.cut_off = False

    def say(self) -> None:
        """Send the next frame; what the socket does not take goes ahead of the one after it."""
        frame = self._dialect.frames[self.sent % DIFFERENT]
        self.sent += 1
        if not self.cut_off:
            self._send(self._unsent + frame if self._unsent else frame)

    def listen(self) -> None:
        """Read what is there; take what is whole and keep the rest."""
        try:
            data = self.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.cut_off = True
            self._tally.lost += 1
            return
        if self._unread:
            data = self._unread + data
        read = self._take_mirrored(data) if self._dialect.mirrored else read_frames(data, self._take_frame)
        self._unread = data[read:]

    def hang_up(self) -> None:
        """Close as a caller does who is done."""
        with contextlib.suppress(OSError):
            self.connection.send(CLOSE)
        self.connection.close()

    def _send(self, data: bytes) -> None:
        try:
            taken = self.connection.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            return  # `listen` finds out and counts it
        self._unsent = data[taken:]

    def _take_mirrored(self, data: bytes) -> int:
        size = len(self._dialect.frames[0])
        start = 0
        while len(data) - start >= size:
            self._hear(data, start)
            start += size
        return start

    def _take_frame(self, first: int, data: bytes, start: int, end: int) -> None:
        if first < CLOSE_OPCODE:
            self._take_message(data, start, end)
        elif first == PING_OPCODE:
            self._send(self._unsent + PONG)

    def _take_message(self, data: bytes, start: int, end: int) -> None:
        mark = data.find(self._dialect.mark, start, end)
        if mark >= 0:
            self._hear(data, mark + len(self._dialect.mark))

    def _hear(self, data: bytes, start: int) -> None:
        tally = self._tally
        wanted = self._dialect.echoes[self.heard % DIFFERENT]
        if not data.startswith(wanted, start):
            tally.wrong += 1
        tally.latencies_s.append(perf_counter() - self.first_due_s - self.heard * FRAME_S)
        tally.received += 1
        self.heard += 1


AnyCaller = TypeVar("AnyCaller", bound=Caller)


async def connected(
    address: tuple[str, int], request: bytes, make: Callable[[socket.socket, bytes], AnyCaller]
) -> AnyCaller:
    """A caller whose upgrade was granted, made of its socket and what came behind that. Raises `Refused`, `OSError`."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await loop.sock_connect(connection, address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_sendall(connection, request)
        head, end, rest = b"", b"", b""
        while not end:
            data = await loop.sock_recv(connection, READ_BYTES)
            head, end, rest = (head + data).partition(b"\r\n\r\n")
            if not end and (not data or len(head) > LONGEST_HEAD_BYTES):
                raise Refused("the server closed the connection during the handshake")
        status = head.partition(b"\r\n")[0].decode(errors="replace")
        if " 101 " not in f"{status} ":
            raise Refused(f"a call was refused: {status}")
    except BaseException:
        connection.close()
        raise
    return make(connection, rest)
