"""What a peer sends is given away in order, in shares, and bounded while it is held.

Tests of `websocket`, too.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack

import pytest
from websockets.frames import Frame, Opcode

from tests.websocket.rig import RecordingListener, connected
from voice_agent.websocket.frames import PONG
from voice_agent.websocket.loop_scheduler import RUN_S, SHARE_S, WINDOW_S, LoopScheduler
from voice_agent.websocket.message_receiver import PONGS


async def test_what_cannot_be_taken_waits_and_stops_the_peer() -> None:
    """Nothing is lost or reordered, and no more than the read buffers are filled meanwhile."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        over = asyncio.create_task(socket.deliver(listener))
        for n in range(3000):
            peer.say(1, b"%d " % n + b"x" * 10_000)
        await listener.refused.wait()
        stuck = asyncio.create_task(peer.writer.drain())
        done, _ = await asyncio.wait({stuck}, timeout=0.2)
        assert not done
        listener.willing.set()
        await stuck
        peer.say(8, struct.pack("!H", 1000))
        assert await over == 1000
        assert [str(text).partition(" ")[0] for text in listener.taken] == [str(n) for n in range(3000)]


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
        crowd, modest = RecordingListener(), RecordingListener()
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
        over = asyncio.create_task(socket.deliver(RecordingListener()))
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
        listener = RecordingListener()
        over = asyncio.create_task(socket.deliver(listener))
        peer.writer.write(b"".join(Frame(Opcode.TEXT, b"%d" % n).serialize(mask=True) for n in range(100)))
        await listener.refused.wait()
        socket.abort()
        while connections:
            await asyncio.sleep(0)
        assert not over.done()
        listener.willing.set()
        assert await over == 1006
        assert listener.taken == [str(n) for n in range(100)]


async def test_half_a_message_is_charged_until_it_is_whole() -> None:
    """The listener knows how much is held for it, and that it is held no longer."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        data = Frame(Opcode.BINARY, bytes(900_000)).serialize(mask=True)
        peer.writer.write(data[:-1])
        while listener.held_bytes < 900_000 - 1:
            await asyncio.sleep(0)
        peer.writer.write(data[-1:])
        while not listener.taken:
            await asyncio.sleep(0)
        assert listener.held_bytes == 0
        over.cancel()


async def test_a_message_that_is_not_taken_yet_is_charged() -> None:
    """As long as the listener works on it, in several turns, it is held."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        over = asyncio.create_task(socket.deliver(listener))
        peer.say(2, bytes(900_000))
        await listener.refused.wait()
        while listener.held_bytes != 900_000:
            await asyncio.sleep(0)
        listener.willing.set()
        while not listener.taken:
            await asyncio.sleep(0)
        assert listener.held_bytes == 0
        over.cancel()


async def test_long_messages_are_worked_on_in_shares() -> None:
    """Of many that each take many turns no more is done in a turn than there is time for."""
    clock = Ticking()
    scheduler = LoopScheduler(asyncio.get_running_loop(), clock)

    class Slicing(RecordingListener):
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
        listeners = [Slicing() for _ in range(12)]
        for listener in listeners:
            socket, peer, _ = await stack.enter_async_context(connected(scheduler=scheduler))
            overs.append(asyncio.create_task(socket.deliver(listener)))
            peer.say(1, b"x" * 10)
        longest_s = 0.0
        while any(listener.left > 0 for listener in listeners):
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
        listener = RecordingListener()
        listener.reserved_bytes = 500_000
        if is_willing:
            listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        peer.say(2, bytes(900_000))
        peer.say(1, b"after")
        assert await peer.frame() == (8, struct.pack("!H", 1013) + b"no room")
        assert await over == 1013
        assert listener.held_bytes == 0
        assert socket._reader.held_bytes == 0
        assert listener.taken == []


async def test_a_connection_that_was_not_read_when_it_was_taken_over_is_read() -> None:
    """The handshake pauses it when much comes early."""
    async with connected(is_paused=True) as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        peer.say(1, b"early")
        over = asyncio.create_task(socket.deliver(listener))
        while not listener.taken:
            await asyncio.sleep(0)
        over.cancel()


async def test_a_listener_that_stops_in_the_middle_gets_the_rest_later() -> None:
    """The first message it refuses comes again, before those behind it."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        peer.say(1, b"a")
        while not listener.taken:
            await asyncio.sleep(0)
        listener.willing.clear()
        peer.say(1, b"b")
        peer.say(2, b"c")
        peer.say(8, b"")
        await listener.refused.wait()
        listener.willing.set()
        assert await over == 1005
        assert listener.taken == ["a", "b", b"c"]
