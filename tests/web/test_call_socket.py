"""The connection as the runtime and uvicorn use it: faults, closing, leaving. Tests of `served_socket`, too."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.websocket.rig import RecordingListener, connected


async def test_a_fault_of_the_listener_is_raised_where_it_is_served() -> None:
    """Not in the event loop's callback, where nobody would close the connection."""
    async with connected() as (socket, peer, _):
        listener = RecordingListener()
        listener.fault = ValueError("ours")
        over = asyncio.create_task(socket.deliver(listener))
        await asyncio.sleep(0)
        peer.say(1, b"a")
        with pytest.raises(ValueError, match="ours"):
            await over
        peer.say(1, b"dropped")
        await socket.close(1011, "internal error")
        assert await peer.frame() == (8, struct.pack("!H", 1011) + b"internal error")


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
        assert await socket.deliver(RecordingListener()) == 1012
    async with connected() as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(RecordingListener()))
        peer.say(8, struct.pack("!H", 1000))
        assert await peer.frame() == (8, struct.pack("!H", 1000))
        await socket.close(1012, "")
        assert await over == 1000
