"""A transport over a plain non-blocking socket, whose queue is its own.

An event loop's transport hides what it has not sent, and closes its socket when it goes. Here both can be had: the
bytes that the kernel did not take, and a descriptor that another process may hold as well. All that is written is
counted, so that with `unacknowledged_bytes` it is known which byte the peer has.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import socket
import termios
from typing import Any

READ_BYTES = 64 * 1024
"""Taken in one turn of the loop at most; what else there is waits in the kernel for the next."""
WRITE_BYTES = 256 * 1024
"""Given to the kernel in one turn at most."""
HIGH_BYTES = 64 * 1024


def unacknowledged_bytes(sock: socket.socket) -> int:
    """What the kernel took and the peer's kernel has not acknowledged (`SIOCOUTQ`, tcp(7))."""
    unacknowledged = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unacknowledged)
    return unacknowledged[0]


class RawTransport(asyncio.Transport):
    """Takes a connected socket over. `set_protocol` comes first, then `resume_reading`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        super().__init__()
        sock.setblocking(False)
        self.queued_bytes = 0
        """All that was ever given to `write`."""
        self._loop = loop
        self._socket = sock
        self._peername = sock.getpeername()
        self._protocol: asyncio.Protocol
        self._unsent = bytearray()
        """Sent pieces are cut off its front, which moves nothing."""
        self._high_bytes, self._low_bytes = HIGH_BYTES, HIGH_BYTES // 4
        self._is_reading = False
        self._is_writing_paused = False
        self._is_closing = False
        self._is_lost = False

    # --- asyncio.BaseTransport --------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whom bytes are given to."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The one that was set last."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket`` and ``peername``."""
        return {"socket": self._socket, "peername": self._peername}.get(name, default)

    def is_closing(self) -> bool:
        """Whether it was closed, or the connection was lost."""
        return self._is_closing

    def close(self) -> None:
        """Read no more, and close once all is sent."""
        if self._is_closing:
            return
        self._is_closing = True
        self.pause_reading()
        if not self._unsent:
            self._lose(None)

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        self._lose(None)

    # --- asyncio.ReadTransport --------------------------------------------------

    def is_reading(self) -> bool:
        """Whether what comes is given to the protocol."""
        return self._is_reading

    def pause_reading(self) -> None:
        """Leave what comes to the kernel."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket)

    def resume_reading(self) -> None:
        """Give what comes to the protocol."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._socket, self._read)

    # --- asyncio.WriteTransport -------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, at once as far as the kernel takes it."""
        if self._is_closing:
            return
        self.queued_bytes += len(data)
        if self._unsent:
            self._unsent += data
        else:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._socket, self._write)
            self._unsent += memoryview(data)[sent:]
        if len(self._unsent) > self._high_bytes and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause and to resume writing, in bytes."""
        self._high_bytes = HIGH_BYTES if high is None else high
        self._low_bytes = self._high_bytes // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        """A WebSocket closes both directions."""
        return False

    # --- inside -----------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
            return
        self.pause_reading()
        self._protocol.eof_received()
        self.close()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            with memoryview(unsent)[:WRITE_BYTES] as piece:
                sent = self._socket.send(piece)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        del unsent[:sent]
        if not unsent:
            self._loop.remove_writer(self._socket)
            if self._is_closing:
                self._lose(None)
                return
        if self._is_writing_paused and len(unsent) <= self._low_bytes:
            self._is_writing_paused = False
            self._protocol.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self.pause_reading()
        if self._unsent:
            self._loop.remove_writer(self._socket)
            self._unsent.clear()
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()


def taken_from(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> RawTransport | None:
    """The connection of a transport of the event loop, which is given up. None: it has bytes to send, or is over.

    What it has read is with its protocol; from the kernel nothing more is read until `resume_reading`.
    """
    if transport.get_write_buffer_size() or transport.is_closing():
        return None
    transport.pause_reading()
    raw = RawTransport(loop, socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())))
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    return raw
