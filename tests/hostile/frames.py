"""Legal frames in numbers and sizes that nobody needs."""

from __future__ import annotations

import asyncio
import base64
import contextlib

from tests.hostile.wire import CONTINUATION, PING, PONG, TEXT, RefusedByServer, Target, event, frame

MIB = 1024 * 1024
BURST_BYTES = 1_000_000
MESSAGE_BYTES = 21 * MIB
"""The longest message that a pod takes by default."""
HALVES = 60
UNREAD_FRAMES = 2000
UNREAD_S = 10.0
SETTLED_S = 2.0
REST_S = 1.0
"""Between two bursts: what matters is what one of them does."""


async def _bursts(target: Target, one: bytes, before: bytes = b"") -> None:
    async with await target.call() as call:
        await call.send(before)
        while True:
            await call.send(one * (BURST_BYTES // len(one)))
            await call.over(REST_S)


async def ping(target: Target) -> None:
    """A megabyte of empty pings at once, again and again."""
    await _bursts(target, frame(b"", PING))


async def pong(target: Target) -> None:
    """A megabyte of pongs that nobody asked for."""
    await _bursts(target, frame(b"", PONG))


async def empty_fragments(target: Target) -> None:
    """A message in fragments of nothing, without an end."""
    await _bursts(target, frame(b"", CONTINUATION, final=False), frame(b"", TEXT, final=False))


async def one_byte_fragments(target: Target) -> None:
    """A message in fragments of one byte, without an end."""
    await _bursts(target, frame(b" ", CONTINUATION, final=False), frame(b" ", TEXT, final=False))


async def half_messages(target: Target) -> None:
    """Sockets that each hold half of the longest message."""
    half = frame(bytes(MESSAGE_BYTES - 1))[: MESSAGE_BYTES // 2]

    async def held() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, RefusedByServer):
                async with await target.call() as call:
                    for start in range(0, len(half), MIB):
                        await call.send(half[start : start + MIB])
                    await call.over(3600)
            await asyncio.sleep(REST_S)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(HALVES):
            tasks.create_task(held())


async def not_reading(target: Target) -> None:
    """A caller who talks and never reads what comes back, until it is cut off."""
    spoken = event("input_audio_buffer.append", audio=base64.b64encode(bytes(9600)).decode())
    async with await target.call("model=loopback", read=False) as call:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(UNREAD_S):
                for _ in range(UNREAD_FRAMES):
                    await call.send(spoken)
        await call.over(SETTLED_S)
