"""Whatever bytes a peer sends, a connection gives messages or a close code, in turns that end."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from tests.waiting import PATIENCE_S
from voice_agent.runtime.ports import Listener
from voice_agent.web.call_socket import CallSocket
from voice_agent.websocket.frames import BINARY, CLOSE, PING, PONG, TEXT
from voice_agent.websocket.loop_scheduler import RUN_S, WINDOW_S, LoopScheduler

FRAME_S = 0.0001
MAX_MESSAGE_BYTES = 100_000
READ_BYTES = 256 * 1024
"""The most that the event loop reads at once."""


def masked(opcode: int, payload: bytes, *, final: bool) -> bytes:
    """A client's frame of less than 64 kB, whether or not it may be sent; masked with zeros."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((0x80 * final | opcode,)) + length + bytes(4) + payload


PIECES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda opcode, payload, final, times: masked(opcode, payload, final=final) * times,
        st.sampled_from([0, TEXT, BINARY, CLOSE, PING, PONG]),
        st.one_of(st.binary(max_size=20), st.binary(min_size=126, max_size=300), st.text(max_size=30).map(str.encode)),
        st.booleans(),
        st.sampled_from([1, 1, 3, 400]),
    ),
)


class Clock:
    """Goes on by what a frame may cost whenever somebody looks."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += FRAME_S
        return self.now_s


class RecordingTransport:
    """Keeps what is written; bytes come only while it is read."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_read = True
        self.closed = False

    def set_protocol(self, protocol: object) -> None: ...

    def set_write_buffer_limits(self, *, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data

    def is_reading(self) -> bool:
        return self.is_read

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.is_read
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.is_read
        self.is_read = True

    def close(self) -> None:
        self.closed = True

    abort = close


class Fickle(Listener):
    """Takes a message the second time it is offered, every third one."""

    def __init__(self) -> None:
        self.taken: list[str | bytes] = []
        self._offers = 0

    def take(self, message: str | bytes) -> bool:
        self._offers += 1
        if self._offers % 3 == 0:
            return False
        self.taken.append(message)
        return True

    async def ready(self) -> None:
        await asyncio.sleep(0)

    def reserve(self, size_bytes: int) -> str | None:
        """What is refused depends on the cut; so nothing is, and it is never more than a read and a message."""
        assert size_bytes <= READ_BYTES + MAX_MESSAGE_BYTES
        return None

    def limit_reached(self, limit: str) -> None: ...


async def result_of(pieces: list[bytes], *, waits: bool) -> tuple[list[str | bytes], int]:
    """Feed the pieces as the loop would, then lose the connection: what was taken, and the close code.

    `waits`: the connection is lost when all has been read, else in the middle.
    """
    clock, transport, listener = Clock(), RecordingTransport(), Fickle()
    scheduler = LoopScheduler(asyncio.get_running_loop(), clock)
    made = cast("asyncio.Transport", transport)
    socket = CallSocket(made, set[Any](), max_message_bytes=MAX_MESSAGE_BYTES, scheduler=scheduler)
    over = asyncio.create_task(socket.deliver(listener))
    await asyncio.sleep(0)
    for piece in (part[at : at + READ_BYTES] for part in pieces for at in range(0, len(part), READ_BYTES)):
        while not transport.is_read and not over.done():
            before_s = clock.now_s
            await asyncio.sleep(0)
            assert clock.now_s - before_s <= 2 * WINDOW_S + RUN_S + FRAME_S
        if over.done():
            break
        before_s = clock.now_s
        socket.data_received(piece)
        assert clock.now_s - before_s <= WINDOW_S + 2 * FRAME_S
    while waits and not transport.is_read and not over.done():
        await asyncio.sleep(0)
    socket.connection_lost(None)
    async with asyncio.timeout(PATIENCE_S):
        code = await over
    assert 1000 <= code < 5000
    return listener.taken, code


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 5000), max_size=6))
@example([masked(PING, b"", final=True) * 400, b"\xff\x80"], [])
@example([masked(BINARY, bytes(300), final=True) * 400] * 3, [274])
def test_any_bytes_give_the_same_messages_and_code_however_they_are_cut(pieces: list[bytes], cuts: list[int]) -> None:
    """Nothing raises, nothing is stuck, no turn is too long."""
    data = b"".join(pieces)
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    cut = [data[begin:end] for begin, end in pairwise(at)]
    whole = asyncio.run(result_of([data], waits=True))
    assert asyncio.run(result_of(cut, waits=True)) == whole
    assert asyncio.run(result_of([data], waits=False))[0] == whole[0]
