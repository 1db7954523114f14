"""An incomplete message that does not grow is given up."""

from __future__ import annotations

import asyncio
import struct

from websockets.frames import Frame, Opcode

from tests.websocket.rig import RecordingListener, connected
from voice_agent.websocket.message_progress import MESSAGE_PROGRESS_BYTES


async def test_a_message_that_never_ends_is_given_up() -> None:
    """Closed with 1008 and a reason that names the bound, unless it grows by enough."""
    async with connected(message_s=3600) as (socket, peer, _):
        listener = RecordingListener()
        over = asyncio.create_task(socket.deliver(listener))
        peer.writer.write(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True))
        while not socket._receiver._progress.is_watched:
            await asyncio.sleep(0)
        peer.writer.write(Frame(Opcode.CONT, bytes(MESSAGE_PROGRESS_BYTES), fin=False).serialize(mask=True))
        while socket._reader.held_bytes < MESSAGE_PROGRESS_BYTES:
            await asyncio.sleep(0)
        socket._receiver._progress.look()
        assert not listener.limits
        peer.writer.write(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True))
        socket._receiver._progress.look()
        assert listener.limits == ["message_progress"]
        assert not socket._receiver._progress.is_watched
        assert await over == 1008
        code, reason = (await peer.frame())[1][:2], b"message_progress: an incomplete message must grow"
        assert code == struct.pack("!H", 1008)
        assert reason in b"message_progress: an incomplete message must grow by 32768 bytes in 3600 s"


async def test_a_slow_message_of_its_own_time_is_no_message_that_never_ends() -> None:
    """Each look finds another one begun, or none."""
    async with connected(message_s=3600) as (socket, peer, _):
        listener = RecordingListener()
        listener.willing.set()
        over = asyncio.create_task(socket.deliver(listener))
        for n in range(3):
            peer.writer.write(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True))
            while not socket._receiver._progress.is_watched or socket._reader.begun != n + 1:
                await asyncio.sleep(0)
            if n:
                socket._receiver._progress.look()
            peer.say(0, b"b")
            while len(listener.taken) <= n:
                await asyncio.sleep(0)
        socket._receiver._progress.look()
        assert not socket._receiver._progress.is_watched
        assert listener.limits == []
        over.cancel()


async def test_a_message_whose_connection_is_closed_is_looked_at_no_more() -> None:
    """Whatever is incomplete then, nothing waits for the rest of it."""
    async with connected(message_s=3600) as (socket, peer, _):
        over = asyncio.create_task(socket.deliver(RecordingListener()))
        peer.writer.write(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True))
        while not socket._receiver._progress.is_watched:
            await asyncio.sleep(0)
        await socket.close(1000, "")
        assert not socket._receiver._progress.is_watched
        assert await over == 1000
