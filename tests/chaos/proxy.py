"""A TCP proxy that can be made to behave badly.

One stands between one pod and one server of the store, so that a pod can be cut off alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET


class Weather(Enum):
    """What a proxy does with its connections."""

    FINE = "fine"
    REFUSED = "refused"
    """Connections are reset, new ones too."""
    SILENT = "silent"
    """Connections stand, and nothing passes."""
    NO_ANSWERS = "no answers"
    """Questions pass, answers do not: what was asked takes effect, and nobody learns of it."""
    SLOW = "slow"
    """Every piece waits for `SLOW_S`."""


SLOW_S = 0.2


class Proxy:
    """Use `open` first, `close` last; `weather` may be changed at any time with `become`."""

    def __init__(self, port: int, target_port: int, *, renamed_ports: Mapping[int, int] | None = None) -> None:
        """`renamed_ports`: port numbers of five digits that answers name, and what is put in their place.

        So a pod that asks a sentinel for the master is sent to the master's proxy.
        """
        self.port = port
        self.weather = Weather.FINE
        self._target_port = target_port
        self._renamed = {
            b"\r\n%d\r\n" % real: b"\r\n%d\r\n" % proxied for real, proxied in (renamed_ports or {}).items()
        }
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._fine = asyncio.Event()
        self._fine.set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Reset everything and stop listening."""
        self.weather = Weather.REFUSED
        self._fine.set()
        self.cut()
        if self._server is not None:
            self._server.close()

    def become(self, weather: Weather) -> None:
        """Behave so from now on."""
        self.weather = weather
        if weather is Weather.REFUSED:
            self.cut()
        if weather in (Weather.FINE, Weather.SLOW):
            self._fine.set()
            # What was held back may not go on as if nothing had been: its asker has given up.
        else:
            self._fine.clear()

    def cut(self) -> None:
        """Reset every connection."""
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather is Weather.REFUSED:
            _reset(writer)
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        pair = (writer, back_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._carry(reader, back_writer, answers=False), self._carry(back_reader, writer, answers=True)
            )
        finally:
            self._pairs.discard(pair)
            for one in pair:
                _reset(one)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if self.weather is Weather.SLOW:
                    await asyncio.sleep(SLOW_S)
                while self.weather is Weather.SILENT or (answers and self.weather is Weather.NO_ANSWERS):
                    await self._fine.wait()
                if answers:
                    for real, proxied in self._renamed.items():
                        data = data.replace(real, proxied)
                sink.write(data)
                await sink.drain()
        _reset(sink)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a host does that knows nothing of the connection any more."""
    endpoint = writer.get_extra_info("socket")
    if endpoint is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            endpoint.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
