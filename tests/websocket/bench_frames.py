"""What frames cost in CPU time, beside the `websockets` library: ``python -m tests.websocket.bench_frames``.

Compare two versions by running both in turn on one machine; the least of many rounds is printed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from voice_agent.protocol.realtime import parse
from voice_agent.runtime.ports import Listener
from voice_agent.web.call_socket import CallSocket
from voice_agent.websocket.frames import LONG_BYTES, PING, SHORT_BYTES, TEXT, only_text, text_frame

AUDIO = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * 1280 + b'"}'
MIB = 1024 * 1024
MESSAGE_BYTES = 20 * MIB
READ_BYTES = 256_000
"""What uvloop reads at once."""
ROUNDS = 300
TIMES = 500


class RecordingListener(Listener):
    """Takes everything, reading it or not."""

    def __init__(self, read: Callable[[str | bytes], object]) -> None:
        self._read = read
        self.taken = 0

    def take(self, message: str | bytes) -> bool:
        self._read(message)
        self.taken += 1
        return True

    async def ready(self) -> None:
        raise AssertionError

    def reserve(self, size_bytes: int) -> None:
        """Anything may be held."""

    def limit_reached(self, limit: str) -> None:
        raise AssertionError(limit)


class Sink(asyncio.Transport):
    """Takes what is written to nowhere."""

    def set_protocol(self, protocol: object) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: object) -> None:
        pass


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    long = b"\xfe" + size.to_bytes(2, "big") if size < LONG_BYTES else b"\xff" + size.to_bytes(8, "big")
    return (
        bytes((0x80 * final | opcode,)) + (bytes((0x80 | size,)) if size < SHORT_BYTES else long) + bytes(4) + payload
    )


async def least_us(run: Callable[[], object]) -> float:
    """Microseconds of CPU time of one run."""
    best = float("inf")
    for _ in range(ROUNDS):
        await asyncio.sleep(0)  # Else a round would be more than is done in one turn of the loop.
        begun = time.process_time_ns()
        for _ in range(TIMES):
            run()
        best = min(best, (time.process_time_ns() - begun) / TIMES / 1000)
    return best


async def served(listener: RecordingListener) -> CallSocket:
    """A connection whose messages the taker gets."""
    socket = CallSocket(cast("asyncio.Transport", Sink()), set(), max_message_bytes=MESSAGE_BYTES * 2)
    asyncio.get_running_loop().create_task(socket.deliver(listener))
    await asyncio.sleep(0)
    return socket


async def burst_us(data: bytes, listener: RecordingListener) -> tuple[float, float]:
    """Microseconds of all callbacks that work on the data, read as uvloop does, and of the longest turn."""
    socket = await served(listener)
    begun = turn = time.process_time_ns()
    longest = 0
    for at in range(0, len(data), READ_BYTES):
        socket.data_received(data[at : at + READ_BYTES])
        while True:
            await asyncio.sleep(0)
            now = time.process_time_ns()
            longest, turn = max(longest, now - turn), now
            if not socket._receiver.is_waiting:
                break
    return (turn - begun) / 1000, longest / 1000


async def main() -> None:
    """Print the table."""
    one = masked(TEXT, AUDIO)
    print(f"only_text               {await least_us(lambda: only_text(one)):8.2f} µs")
    print(f"text_frame              {await least_us(lambda: text_frame(AUDIO)):8.2f} µs")
    theirs = ServerProtocol(state=OPEN, max_size=MESSAGE_BYTES)

    def receive() -> None:
        theirs.receive_data(one)
        theirs.events_received()

    def send() -> None:
        theirs.send_text(AUDIO)
        theirs.data_to_send()

    print(f"websockets, in and out  {await least_us(receive):8.2f} µs {await least_us(send):8.2f} µs")
    pings, begun = masked(PING, b"") * (MIB // 6), time.process_time_ns()
    theirs.receive_data(pings)
    print(f"websockets, 1 MiB of empty pings in one turn {(time.process_time_ns() - begun) / 1_000_000:8.2f} ms")
    for name, read in (("taken", lambda message: None), ("parsed", parse)):
        socket = await served(RecordingListener(read))
        print(f"one frame, {name:7s}      {await least_us(partial(socket.data_received, one)):8.2f} µs")
    for name, data, count in (
        ("frame of audio", one * 1000, 1000),
        ("empty ping", masked(PING, b"") * 40_000, 40_000),
        ("empty fragment", masked(TEXT, b"", final=False) + masked(0, b"", final=False) * 40_000, 40_000),
        ("byte in a fragment", masked(TEXT, b"", final=False) + masked(0, b"x", final=False) * 40_000, 40_000),
        ("20 MB of ASCII", masked(TEXT, b"x" * MESSAGE_BYTES), 1),
        ("20 MB, an emoji first", masked(TEXT, "\U0001f600".encode() + b"x" * MESSAGE_BYTES), 1),
        ("20 MB of emoji", masked(TEXT, "\U0001f600".encode() * (MESSAGE_BYTES // 4)), 1),
        ("20 MB of noise", masked(2, os.urandom(MESSAGE_BYTES)), 1),
    ):
        runs = [await burst_us(data, RecordingListener(lambda message: None)) for _ in range(3)]
        total, longest = min(runs)[0], min(turn for _, turn in runs)
        print(f"{name:22s}  {total / count:9.2f} µs each, longest turn {longest / 1000:6.2f} ms")


if __name__ == "__main__":
    uvloop.run(main())
