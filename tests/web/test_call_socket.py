"""The connection past ASGI: back-pressure both ways, dead peers, faults."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from websockets.frames import Frame, Opcode

from app.runtime.ports import Listener
from app.web.call_socket import AT_ONCE, MAX_UNWRITTEN_BYTES, CallSocket
from app.web.frames import PING, PONG, FrameReader
from tests.waiting import PATIENCE_S


class Taker(Listener):
    """Takes messages while it is told to."""

    def __init__(self) -> None:
        self.taken: list[str | bytes] = []
        self.willing = asyncio.Event()
        self.refused = asyncio.Event()
        self.fault: Exception | None = None

    def take(self, message: str | bytes) -> bool:
        if self.fault is not None:
            raise self.fault
        if not self.willing.is_set():
            self.refused.set()
            return False
        self.taken.append(message)
        return True

    async def ready(self) -> None:
        await self.willing.wait()


class Peer:
    """The other end, on a plain socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, opcode: int, payload: bytes) -> None:
        self.writer.write(Frame(Opcode(opcode), payload).serialize(mask=True))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame from the server."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[CallSocket, Peer, set[Any]]]:
    """A socket as after an upgrade, its peer, and the server's set of connections."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[CallSocket] = loop.create_future()
    connections: set[Any] = set()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            given = {"max_message_bytes": 1_000_000, **options}
            made.set_result(CallSocket(cast("asyncio.Transport", transport), connections, **given))

    server = await loop.create_server(Accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield await made, Peer(reader, writer), connections
    finally:
        writer.close()
        server.close()


async def test_what_cannot_be_taken_waits_and_stops_the_peer() -> None:
    """Nothing is lost or reordered, and no more than the read buffers are filled meanwhile."""
    async with connected() as (socket, peer, _):
        taker = Taker()
        over = asyncio.create_task(socket.deliver(taker))
        for n in range(3000):
            peer.say(1, b"%d " % n + b"x" * 10_000)
        await taker.refused.wait()
        stuck = asyncio.create_task(peer.writer.drain())
        done, _ = await asyncio.wait({stuck}, timeout=0.2)
        assert not done
        assert len(socket._held) < 500
        taker.willing.set()
        await stuck
        peer.say(8, struct.pack("!H", 1000))
        assert await over == 1000
        assert [str(text).partition(" ")[0] for text in taker.taken] == [str(n) for n in range(3000)]


async def test_a_burst_lets_others_have_their_turn() -> None:
    """However much one peer sends in one piece, the event loop turns in between; and nothing changes places."""
    async with connected() as (socket, peer, _):
        taker = Taker()
        taker.willing.set()
        turns: list[int] = []

        async def count_turns() -> None:
            while len(taker.taken) < 2000:
                turns.append(len(taker.taken))
                await asyncio.sleep(0)

        over = asyncio.create_task(socket.deliver(taker))
        counting = asyncio.create_task(count_turns())
        peer.writer.write(b"".join(Frame(Opcode.TEXT, b"%d" % n).serialize(mask=True) for n in range(2000)))
        peer.say(8, b"")
        await asyncio.gather(over, counting)
        assert taker.taken == [str(n) for n in range(2000)]
        assert max(after - before for before, after in pairwise(turns)) <= 2 * AT_ONCE


async def test_a_listener_that_stops_in_the_middle_gets_the_rest_later() -> None:
    """The first message it refuses comes again, before those behind it."""
    async with connected() as (socket, peer, _):
        taker = Taker()
        taker.willing.set()
        over = asyncio.create_task(socket.deliver(taker))
        peer.say(1, b"a")
        while not taker.taken:
            await asyncio.sleep(0)
        taker.willing.clear()
        peer.say(1, b"b")
        peer.say(2, b"c")
        peer.say(8, b"")
        await taker.refused.wait()
        taker.willing.set()
        assert await over == 1005
        assert taker.taken == ["a", "b", b"c"]


async def test_a_peer_that_does_not_read_is_waited_for() -> None:
    """`write` says no, `send` waits, and once it reads again all comes in order."""
    async with connected() as (socket, peer, _):
        written = 0
        while socket.write(b"%d" % written + b"x" * 50_000):
            written += 1
            await asyncio.sleep(0)
        waiting = asyncio.create_task(socket.send(b"last"))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        came = [await peer.frame() for _ in range(written)]
        assert [int(payload.partition(b"x")[0]) for _, payload in came] == list(range(written))
        await waiting
        assert await peer.frame() == (1, b"last")
        assert socket.write(b"more")


async def test_pings_of_a_peer_that_does_not_read_pile_up_nowhere() -> None:
    """The newest is answered when there is room; else a flood of them would fill the memory."""
    async with connected() as (socket, peer, _):
        while socket.write(b"x" * 50_000):
            await asyncio.sleep(0)
        for n in range(20_000):
            peer.say(PING, b"%d" % n)
        await peer.writer.drain()
        while socket._unanswered != b"19999":
            await asyncio.sleep(0)
        assert socket._transport.get_write_buffer_size() < MAX_UNWRITTEN_BYTES + 100_000
        while (frame := await peer.frame())[0] != PONG:
            pass
        assert frame == (PONG, b"19999")


async def test_a_peer_that_answers_no_ping_is_let_go() -> None:
    """It is told why, and the call learns of it."""
    async with connected(ping_s=0.05) as (socket, peer, connections):
        assert await socket.receive() == 1011
        assert await peer.frame() == (PING, b"")
        assert await peer.frame() == (8, struct.pack("!H", 1011) + b"keepalive ping timeout")
        while connections:
            await asyncio.sleep(0.01)


async def test_a_peer_that_answers_pings_stays() -> None:
    """However silent it is otherwise."""
    async with connected(ping_s=0.05) as (socket, peer, _):
        for _ in range(5):
            assert await peer.frame() == (PING, b"")
            peer.say(PONG, b"")
        peer.say(1, b"here")
        assert await socket.receive() == "here"


async def test_a_fault_of_the_listener_is_raised_where_it_is_served() -> None:
    """Not in the event loop's callback, where nobody would close the connection."""
    async with connected() as (socket, peer, _):
        taker = Taker()
        taker.fault = ValueError("ours")
        over = asyncio.create_task(socket.deliver(taker))
        await asyncio.sleep(0)
        peer.say(1, b"a")
        with pytest.raises(ValueError, match="ours"):
            await over


async def test_a_server_that_leaves_says_1012() -> None:
    """uvicorn asks every connection to shut down; a second close changes nothing."""
    async with connected() as (socket, peer, connections):
        socket.shutdown()
        await socket.close(1000, "too late")
        assert await peer.frame() == (8, struct.pack("!H", 1012))
        assert await socket.receive() == 1012
        while connections:
            await asyncio.sleep(0.01)


async def test_closing_waits_for_the_peers_answer_and_drops_what_comes_before_it() -> None:
    """A socket closed on unread audio would be reset, and the code lost."""
    async with connected() as (socket, peer, connections):
        await socket.close(1012, "service restart")
        assert socket.is_closing
        peer.say(1, b"still talking")
        assert (await peer.frame())[1] == struct.pack("!H", 1012) + b"service restart"
        peer.say(8, struct.pack("!H", 1012))
        assert await peer.reader.read() == b""
        assert await socket.receive() == 1012
        while connections:
            await asyncio.sleep(0.01)
        assert not socket.is_closing


def test_the_reader_forgets_nothing_it_was_not_given() -> None:
    """A reader that was told of a mistake stays silent."""
    reader = FrameReader(10)
    assert reader.feed(b"\xff\x00") == []
    assert reader.mistake is not None
    assert reader.feed(Frame(Opcode.TEXT, b"x").serialize(mask=True)) == []
