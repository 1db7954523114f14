"""The proxy does to connections what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.chaos.proxy import SLOW_S, Proxy, Weather
from tests.servers import free_port
from tests.waiting import until


class Echo:
    """A server that says everything back, and remembers it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard = bytearray()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
                writer.write(data)
        except OSError:
            pass
        writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def has_heard(self, data: bytes) -> None:
        """Wait until it has."""
        await until(lambda: data in self.heard)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    between = Proxy(free_port(), echo.port, renamed_ports={20001: 20999})
    await between.open()
    yield between
    await between.close()


async def ask(proxy: Proxy, words: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a question under way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(words)
    return reader, writer


async def test_in_fine_weather_everything_passes_and_ports_are_renamed(proxy: Proxy) -> None:
    """A sentinel's answer names the master's proxy instead of the master."""
    reader, writer = await ask(proxy, b"$5\r\n20001\r\n")
    assert await reader.readexactly(11) == b"$5\r\n20999\r\n"
    writer.close()


async def test_refused_resets_old_and_new_connections(proxy: Proxy) -> None:
    """As if the host had gone."""
    reader, writer = await ask(proxy, b"one")
    assert await reader.readexactly(3) == b"one"
    proxy.become(Weather.REFUSED)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()
    with pytest.raises(OSError):
        again, writer = await ask(proxy, b"two")
        await again.readexactly(3)
    writer.close()


async def test_silent_holds_everything_back_until_the_weather_is_fine(proxy: Proxy, echo: Echo) -> None:
    """What was said into the silence arrives late, whoever waits for it."""
    proxy.become(Weather.SILENT)
    reader, writer = await ask(proxy, b"late")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert not echo.heard
    proxy.become(Weather.FINE)
    assert await reader.readexactly(4) == b"late"
    writer.close()


async def test_no_answers_lets_questions_through_and_no_answers(proxy: Proxy, echo: Echo) -> None:
    """What was asked takes effect, and nobody learns of it."""
    proxy.become(Weather.NO_ANSWERS)
    reader, writer = await ask(proxy, b"done")
    await echo.has_heard(b"done")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()


async def test_slow_takes_its_time(proxy: Proxy) -> None:
    """Each way."""
    proxy.become(Weather.SLOW)
    began_s = time.monotonic()
    reader, writer = await ask(proxy, b"slow")
    assert await reader.readexactly(4) == b"slow"
    assert time.monotonic() - began_s >= 2 * SLOW_S
    writer.close()
