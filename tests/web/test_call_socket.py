"""The connection past ASGI: back-pressure both ways, dead peers, faults."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from websockets.frames import Frame, Opcode

from tests.waiting import PATIENCE_S
from voice_agent.runtime.ports import Listener
from voice_agent.web.call_socket import CallSocket
from voice_agent.websocket import websocket
from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frame_writer import MAX_UNWRITTEN_BYTES
from voice_agent.websocket.frames import PING, PONG
from voice_agent.websocket.loop_scheduler import RUN_S, SHARE_S, WINDOW_S, LoopScheduler
from voice_agent.websocket.message_receiver import MESSAGE_PROGRESS_BYTES, PONGS


class Taker(Listener):
    """Takes messages while it is told to."""

    def __init__(self) -> None:
        self.taken: list[str | bytes] = []
        self.willing = asyncio.Event()
        self.refused = asyncio.Event()
        self.fault: Exception | None = None
        self.reserved_bytes = 10_000_000
        self.held_bytes = 0
        self.limits: list[str] = []

    def take(self, message: str | bytes) -> bool:
        if self.fault is not None:
            raise self.fault
        if not self.willing.is_set():
            self.refused.set()
            return False
        self.taken.append(message)
        return True

    def reserve(self, size_bytes: int) -> str | None:
        self.held_bytes = size_bytes
        return "no room" if size_bytes > self.reserved_bytes else None

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)

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
async def connected(*, is_paused: bool = False, **options: Any) -> AsyncIterator[tuple[CallSocket, Peer, set[Any]]]:
    """A socket as after an upgrade, its peer, and the server's set of connections."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[CallSocket] = loop.create_future()
    connections: set[Any] = set()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            given = {"max_message_bytes": 1_000_000, **options}
            connection = cast("asyncio.Transport", transport)
            if is_paused:
                connection.pause_reading()
            made.set_result(CallSocket(connection, connections, **given))

    server = await loop.create_server(Accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield await made, Peer(reader, writer), connections
    finally:
        (await made).abort()
        writer.close()
        server.close()


async def test_what_cannot_be_taken_waits_and_stops_the_peer() -> None:
    """Nothing is lost or reordered, and no more than the read buffers are filled meanwhile."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        over = asyncio.create_task(socket.deliver(ready_pod))
        for n in range(3000):
            peer.say(1, b"%d " % n + b"x" * 10_000)
        await ready_pod.refused.wait()
        stuck = asyncio.create_task(peer.writer.drain())
        done, _ = await asyncio.wait({stuck}, timeout=0.2)
        assert not done
        ready_pod.willing.set()
        await stuck
        peer.say(8, struct.pack("!H", 1000))
        assert await over == 1000
        assert [str(text).partition(" ")[0] for text in ready_pod.taken] == [str(n) for n in range(3000)]


class Ticking:
    """A clock that goes on by as much as a frame may cost whenever somebody looks."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += FRAME_S
        return self.now_s


TURN_S = 2 * WINDOW_S + RUN_S
FRAME_S = 0.0001
END = Frame(Opcode.CLOSE, struct.pack("!H", 1000)).serialize(mask=True)


def flood(opcode: int, payload: bytes, *, fin: bool = True, first: bytes = b"", last: bytes = b"") -> bytes:
    """Four thousand frames in one piece, then a close."""
    return first + Frame(Opcode(opcode), payload, fin=fin).serialize(mask=True) * 4000 + last + END


BEGIN = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
FINISH = Frame(Opcode.CONT, b"").serialize(mask=True)
FLOODS = {
    "texts": flood(1, b"x" * 200),
    "binaries": flood(2, b""),
    "pings": flood(9, b""),
    "pongs": flood(10, b""),
    "empty fragments": flood(0, b"", fin=False, first=BEGIN, last=FINISH),
    "fragments of a byte": flood(0, b"x", fin=False, first=BEGIN, last=FINISH),
}


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS.keys())
async def test_a_burst_lets_others_have_their_turn(data: bytes) -> None:
    """However much a peer sends in one piece, of whatever kind: turns stay short, others are served, all is read."""
    clock = Ticking()
    scheduler = LoopScheduler(asyncio.get_running_loop(), clock)
    async with (
        connected(scheduler=scheduler) as (socket, peer, _),
        connected(scheduler=scheduler) as (neighbour, other, _),
    ):
        crowd, modest = Taker(), Taker()
        crowd.willing.set()
        modest.willing.set()
        longest_s = 0.0
        quiet = asyncio.create_task(neighbour.deliver(modest))
        over = asyncio.create_task(socket.deliver(crowd))
        peer.writer.write(data)
        while not over.done():
            if socket._receiver.is_waiting and not modest.taken:
                other.say(1, b"y" * 200)
                modest.taken.append("asked")
            before_s = clock.now_s
            await asyncio.sleep(0)
            longest_s = max(longest_s, clock.now_s - before_s)
        assert over.result() == 1000
        assert longest_s <= TURN_S + FRAME_S
        assert modest.taken == ["asked", "y" * 200]
        assert len(crowd.taken) in {0, 1, 4000}
        quiet.cancel()


async def test_pings_of_a_burst_are_answered_by_the_newest() -> None:
    """A few are answered one by one; of thousands the last is, and some in between."""
    async with connected() as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(Taker()))
        peer.writer.write(b"".join(Frame(Opcode.PING, b"%d" % n).serialize(mask=True) for n in range(5000)))
        pongs = [await peer.frame()]
        while pongs[-1] != (PONG, b"4999"):
            pongs.append(await peer.frame())
        assert pongs[: PONGS - 1] == [(PONG, b"%d" % n) for n in range(PONGS - 1)]
        assert len(pongs) < 2500
        numbers = [int(payload) for _, payload in pongs]
        assert numbers == sorted(set(numbers))
        over.cancel()


async def test_what_came_before_the_connection_broke_is_delivered() -> None:
    """Even what the listener was not ready for, and what was not read yet."""
    async with connected() as (socket, peer, connections):
        ready_pod = Taker()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.writer.write(b"".join(Frame(Opcode.TEXT, b"%d" % n).serialize(mask=True) for n in range(100)))
        await ready_pod.refused.wait()
        socket.abort()
        while connections:
            await asyncio.sleep(0)
        assert not over.done()
        ready_pod.willing.set()
        assert await over == 1006
        assert ready_pod.taken == [str(n) for n in range(100)]


async def test_half_a_message_is_charged_until_it_is_whole() -> None:
    """The listener knows how much is held for it, and that it is held no longer."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.willing.set()
        over = asyncio.create_task(socket.deliver(ready_pod))
        data = Frame(Opcode.BINARY, bytes(900_000)).serialize(mask=True)
        peer.writer.write(data[:-1])
        while ready_pod.held_bytes < 900_000 - 1:
            await asyncio.sleep(0)
        peer.writer.write(data[-1:])
        while not ready_pod.taken:
            await asyncio.sleep(0)
        assert ready_pod.held_bytes == 0
        over.cancel()


async def test_a_message_that_is_not_taken_yet_is_charged() -> None:
    """As long as the listener works on it, in several turns, it is held."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.say(2, bytes(900_000))
        await ready_pod.refused.wait()
        while ready_pod.held_bytes != 900_000:
            await asyncio.sleep(0)
        ready_pod.willing.set()
        while not ready_pod.taken:
            await asyncio.sleep(0)
        assert ready_pod.held_bytes == 0
        over.cancel()


async def test_long_messages_are_worked_on_in_shares() -> None:
    """Of many that each take many turns no more is done in a turn than there is time for."""
    clock = Ticking()
    scheduler = LoopScheduler(asyncio.get_running_loop(), clock)

    class Slicing(Taker):
        """Needs 20 turns, each as long as a share."""

        left = 20

        def take(self, message: str | bytes) -> bool:
            clock.now_s += SHARE_S
            self.left -= 1
            return self.left <= 0

        async def ready(self) -> None:
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        overs = []
        ready_pods = [Slicing() for _ in range(12)]
        for ready_pod in ready_pods:
            socket, peer, _ = await stack.enter_async_context(connected(scheduler=scheduler))
            overs.append(asyncio.create_task(socket.deliver(ready_pod)))
            peer.say(1, b"x" * 10)
        longest_s = 0.0
        while any(ready_pod.left > 0 for ready_pod in ready_pods):
            before_s = clock.now_s
            await asyncio.sleep(0)
            longest_s = max(longest_s, clock.now_s - before_s)
        assert longest_s <= TURN_S + SHARE_S
        for over in overs:
            over.cancel()


@pytest.mark.parametrize("is_willing", [True, False])
async def test_a_message_for_which_there_is_no_room_closes_the_connection(is_willing: bool) -> None:
    """With 1013, for later or elsewhere there may be room; nothing of it is held, and nothing after it is read."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.reserved_bytes = 500_000
        if is_willing:
            ready_pod.willing.set()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.say(2, bytes(900_000))
        peer.say(1, b"after")
        assert await peer.frame() == (8, struct.pack("!H", 1013) + b"no room")
        assert await over == 1013
        assert ready_pod.held_bytes == 0
        assert socket._reader.held_bytes == 0
        assert ready_pod.taken == []


async def test_a_message_that_never_ends_is_given_up() -> None:
    """Closed with 1008 and a reason that names the bound, unless it grows by enough."""
    async with connected(message_s=3600) as (socket, peer, _):
        ready_pod = Taker()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.writer.write(BEGIN)
        while socket._receiver._watch is None:
            await asyncio.sleep(0)
        peer.writer.write(Frame(Opcode.CONT, bytes(MESSAGE_PROGRESS_BYTES), fin=False).serialize(mask=True))
        while socket._reader.held_bytes < MESSAGE_PROGRESS_BYTES:
            await asyncio.sleep(0)
        socket._receiver._look_at_progress()
        assert not ready_pod.limits
        peer.writer.write(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True))
        socket._receiver._look_at_progress()
        assert ready_pod.limits == ["message_progress"]
        assert await over == 1008
        code, reason = (await peer.frame())[1][:2], b"message_progress: an incomplete message must grow"
        assert code == struct.pack("!H", 1008)
        assert reason in b"message_progress: an incomplete message must grow by 32768 bytes in 3600 s"


async def test_a_slow_message_of_its_own_time_is_no_message_that_never_ends() -> None:
    """Each look finds another one begun, or none."""
    async with connected(message_s=3600) as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.willing.set()
        over = asyncio.create_task(socket.deliver(ready_pod))
        for n in range(3):
            peer.writer.write(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True))
            while socket._receiver._watch is None or socket._reader.begun != n + 1:
                await asyncio.sleep(0)
            if n:
                socket._receiver._look_at_progress()
            peer.say(0, b"b")
            while len(ready_pod.taken) <= n:
                await asyncio.sleep(0)
        socket._receiver._look_at_progress()
        assert socket._receiver._watch is None
        assert ready_pod.limits == []
        over.cancel()


async def test_a_connection_that_was_not_read_when_it_was_taken_over_is_read() -> None:
    """The handshake pauses it when much comes early."""
    async with connected(is_paused=True) as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.willing.set()
        peer.say(1, b"early")
        over = asyncio.create_task(socket.deliver(ready_pod))
        while not ready_pod.taken:
            await asyncio.sleep(0)
        over.cancel()


async def test_a_peer_that_is_not_read_is_not_taken_for_dead() -> None:
    """Its pong may stand behind a message that the listener cannot take."""
    async with connected(ping_s=0.01) as (socket, peer, _):
        ready_pod = Taker()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.say(1, b"x")
        await ready_pod.refused.wait()
        for _ in range(4):
            assert await peer.frame() == (PING, b"")
        peer.say(PONG, b"")
        ready_pod.willing.set()
        while not ready_pod.taken:
            await asyncio.sleep(0)
        assert socket._receiver.close_code is None
        over.cancel()


async def test_a_listener_that_stops_in_the_middle_gets_the_rest_later() -> None:
    """The first message it refuses comes again, before those behind it."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.willing.set()
        over = asyncio.create_task(socket.deliver(ready_pod))
        peer.say(1, b"a")
        while not ready_pod.taken:
            await asyncio.sleep(0)
        ready_pod.willing.clear()
        peer.say(1, b"b")
        peer.say(2, b"c")
        peer.say(8, b"")
        await ready_pod.refused.wait()
        ready_pod.willing.set()
        assert await over == 1005
        assert ready_pod.taken == ["a", "b", b"c"]


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
        while socket._writer._unanswered != b"19999":
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
    async with connected(ping_s=0.2) as (socket, peer, _):
        for _ in range(3):
            assert await peer.frame() == (PING, b"")
            peer.say(PONG, b"")
        peer.say(1, b"here")
        assert await socket.receive() == "here"


async def test_a_fault_of_the_listener_is_raised_where_it_is_served() -> None:
    """Not in the event loop's callback, where nobody would close the connection."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.fault = ValueError("ours")
        over = asyncio.create_task(socket.deliver(ready_pod))
        await asyncio.sleep(0)
        peer.say(1, b"a")
        with pytest.raises(ValueError, match="ours"):
            await over
        peer.say(1, b"dropped")
        await socket.close(1011, "internal error")
        assert await peer.frame() == (8, struct.pack("!H", 1011) + b"internal error")


async def test_a_peer_that_closes_and_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """While bytes wait for it, closing the transport never ends, and no ping finds out."""
    monkeypatch.setattr(websocket, "CLOSING_S", 0.01)
    async with connected(ping_s=3600) as (socket, peer, connections):
        while socket.write(b"x" * 50_000):
            await asyncio.sleep(0)
        peer.say(8, struct.pack("!H", 1000))
        assert await socket.receive() == 1000
        while connections:
            await asyncio.sleep(0.01)


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


async def test_an_answer_to_a_close_is_no_hang_up() -> None:
    """Some clients answer every close with 1000; a hang-up is what was sent before it."""
    async with connected() as (socket, peer, _):
        await socket.close(1012, "")
        assert await peer.frame() == (8, struct.pack("!H", 1012))
        peer.say(8, struct.pack("!H", 1000))
        assert await peer.reader.read() == b""
        assert await socket.deliver(Taker()) == 1012
    async with connected() as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(Taker()))
        peer.say(8, struct.pack("!H", 1000))
        assert await peer.frame() == (8, struct.pack("!H", 1000))
        await socket.close(1012, "")
        assert await over == 1000


def test_the_reader_forgets_nothing_it_was_not_given() -> None:
    """A reader that was told of a mistake stays silent."""
    reader = FrameReader(10)
    reader.feed(b"\xff\x00")
    assert reader.read() is None
    assert reader.peer_error is not None
    reader.feed(Frame(Opcode.TEXT, b"x").serialize(mask=True))
    assert reader.read() is None


async def test_a_sign_of_life_comes_behind_what_was_sent_before_it() -> None:
    """Only the answer to that ping is one; while it is waited for, no other is asked for."""
    async with connected() as (socket, peer, _):
        ready_pod = Taker()
        ready_pod.willing.set()
        over = asyncio.create_task(socket.deliver(ready_pod))
        seen: list[list[str | bytes]] = []
        answered = asyncio.Event()

        def note() -> None:
            seen.append(list(ready_pod.taken))
            answered.set()

        socket.probe(note)
        socket.probe(lambda: seen.append([]))
        kind, content = await peer.frame()
        assert kind == PING
        peer.say(PONG, b"another")
        peer.say(1, b"said before")
        peer.say(PONG, content)
        await answered.wait()
        assert seen == [["said before"]]
        socket.probe(note)
        assert await peer.frame() == (PING, content)
        over.cancel()


async def test_a_sign_of_life_that_breaks_the_listener_breaks_the_connection() -> None:
    """As a message does on which the listener fails."""
    async with connected() as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(Taker()))

        def fail() -> None:
            raise ZeroDivisionError

        socket.probe(fail)
        _, content = await peer.frame()
        peer.say(PONG, content)
        with pytest.raises(ZeroDivisionError):
            await over
