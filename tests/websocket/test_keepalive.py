"""Whether the peer is still there."""

from __future__ import annotations

import asyncio
import struct
from functools import partial

import pytest

from tests.waiting import until
from tests.websocket.rig import RecordingListener, connected
from voice_agent.websocket.frames import PING, PONG
from voice_agent.websocket.keepalive import MAX_ASKED


async def test_a_peer_that_is_not_read_is_not_taken_for_dead() -> None:
    """Its pong may stand behind a message that the listener cannot take."""
    async with connected(ping_s=0.01) as (socket, peer, _):
        listener = RecordingListener()
        over = asyncio.create_task(socket.deliver(listener))
        peer.say(1, b"x")
        await listener.refused.wait()
        for _ in range(4):
            assert await peer.frame() == (PING, b"")
        peer.say(PONG, b"")
        listener.willing.set()
        while not listener.taken:
            await asyncio.sleep(0)
        assert socket._receiver.close_code is None
        over.cancel()


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


async def test_a_sign_of_life_comes_behind_what_was_sent_before_it() -> None:
    """Only the answer to that ping is one."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        seen: list[list[str | bytes]] = []
        answered = asyncio.Event()

        def note() -> None:
            seen.append(list(listener.taken))
            answered.set()

        socket.probe(note)
        kind, content = await peer.frame()
        assert kind == PING
        peer.say(PONG, b"another")
        peer.say(1, b"said before")
        peer.say(PONG, content)
        await answered.wait()
        assert seen == [["said before"]]
        over.cancel()


async def test_who_asks_is_told_of_an_answer_to_a_later_ping_only() -> None:
    """One is awaited at a time: the next goes out once it has come, for those who have asked meanwhile.

    Of too many the newest: an edge asks for each pod that it finds, and waits for the last one's answer.
    """
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        told: list[int] = []
        for number in range(MAX_ASKED + 3):
            socket.probe(partial(told.append, number))
        _, content = await peer.frame()
        peer.say(PONG, content)
        assert await peer.frame() == (PING, content)
        assert told == [0]
        peer.say(PONG, content)
        peer.say(1, b"behind it")
        await until(lambda: listener.taken == ["behind it"])
        assert told == [0, *range(3, MAX_ASKED + 3)]
        peer.say(PONG, content)
        socket.probe(partial(told.append, -1))
        assert await peer.frame() == (PING, content)
        peer.say(PONG, content)
        peer.say(1, b"at last")
        await until(lambda: listener.taken == ["behind it", "at last"])
        assert told == [0, *range(3, MAX_ASKED + 3), -1]
        over.cancel()


async def test_a_sign_of_life_that_breaks_the_listener_breaks_the_connection() -> None:
    """As a message does on which the listener fails."""
    async with connected() as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(RecordingListener()))

        def fail() -> None:
            raise ZeroDivisionError

        socket.probe(fail)
        _, content = await peer.frame()
        peer.say(PONG, content)
        with pytest.raises(ZeroDivisionError):
            await over
