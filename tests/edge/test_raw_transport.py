"""A transport over a plain socket keeps asyncio's promises, and tells what the peer has."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.waiting import until
from voice_agent.edge.raw_transport import RawTransport, taken_from, unacknowledged_bytes

MUCH = 8 * 1024 * 1024


class Noting(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


@contextlib.contextmanager
def connected() -> Iterator[tuple[RawTransport, Noting, socket.socket]]:
    """A transport, its protocol, and the other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    transport, protocol = RawTransport(asyncio.get_running_loop(), ours), Noting()
    transport.set_protocol(protocol)
    with peer:
        yield transport, protocol, peer
        transport.abort()


async def read(peer: socket.socket, size: int) -> bytes:
    """So many bytes."""
    peer.setblocking(False)
    found = b""
    while len(found) < size:
        found += await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
    return found


async def test_bytes_go_both_ways() -> None:
    """Nothing is read before it is asked for, and nothing while it is paused."""
    with connected() as (transport, protocol, peer):
        assert not transport.is_reading()
        peer.sendall(b"early")
        transport.resume_reading()
        await until(lambda: protocol.data == b"early")
        transport.pause_reading()
        peer.sendall(b" later")
        transport.write(b"hello")
        assert await read(peer, 5) == b"hello"
        assert protocol.data == b"early"
        transport.resume_reading()
        await until(lambda: protocol.data == b"early later")


async def test_what_the_kernel_does_not_take_waits_in_order() -> None:
    """The protocol is told when it is much, and when it is little again; what the peer has is known to the byte."""
    with connected() as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=1024)
        parts = [bytes([number]) * (MUCH // 8) for number in range(8)]
        for part in parts:
            transport.write(part)
        assert transport.queued_bytes == MUCH
        assert protocol.told == ["pause"]
        assert transport.get_write_buffer_size() > 0
        assert await read(peer, MUCH) == b"".join(parts)
        await until(lambda: protocol.told == ["pause", "resume"])
        assert transport.get_write_buffer_size() == 0
        await until(lambda: unacknowledged_bytes(transport.get_extra_info("socket")) == 0)


async def test_closing_sends_what_waits_and_aborting_does_not() -> None:
    """Either way the protocol is told once, and nothing is written afterwards."""
    for closes in (True, False):
        with connected() as (transport, protocol, peer):
            transport.write(bytes(MUCH))
            if closes:
                transport.close()
            else:
                transport.abort()
            assert transport.is_closing()
            transport.write(b"more")
            got = b""
            peer.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                while piece := await asyncio.get_running_loop().sock_recv(peer, 1 << 20):
                    got += piece
            assert (len(got) == MUCH) is closes
            await until(lambda: protocol.lost == [None])
            transport.abort()
            transport.close()
            await asyncio.sleep(0)
            assert protocol.lost == [None]


async def test_a_peer_that_goes_is_noticed() -> None:
    """By reading, and by writing."""
    with connected() as (transport, protocol, peer):
        transport.resume_reading()
        peer.close()
        await until(lambda: protocol.lost == [None])
        assert protocol.told == ["eof"]
    with connected() as (transport, protocol, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
        transport.resume_reading()
        await until(lambda: len(protocol.lost) == 1)
        assert isinstance(protocol.lost[0], OSError)


async def test_a_connection_is_taken_from_the_loops_transport() -> None:
    """The peer notices nothing; what it sends from then on is ours."""
    loop = asyncio.get_running_loop()
    made: list[asyncio.Transport] = []

    class Giving(Noting):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)  # type: ignore[arg-type]  # of a stream

    server = await loop.create_server(Giving, "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            await until(lambda: bool(made))
            raw = taken_from(loop, made[0])
            assert raw is not None
            protocol = Noting()
            raw.set_protocol(protocol)
            peer.sendall(b"for you")
            raw.resume_reading()
            await until(lambda: protocol.data == b"for you")
            raw.write(b"hello")
            assert await read(peer, 5) == b"hello"
            assert taken_from(loop, made[0]) is None
            raw.abort()


@pytest.mark.parametrize("name", ["peername", "socket", "nothing"])
async def test_what_is_known_of_a_connection(name: str) -> None:
    """As of any transport."""
    with connected() as (transport, protocol, _):
        found = transport.get_extra_info(name, "?")
        assert (found == "?") is (name == "nothing")
        assert transport.get_protocol() is protocol
        assert not transport.can_write_eof()
