"""Sending to a peer that does not read."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.websocket.rig import connected
from voice_agent.websocket import websocket
from voice_agent.websocket.frame_writer import MAX_UNWRITTEN_BYTES
from voice_agent.websocket.frames import PING, PONG


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
