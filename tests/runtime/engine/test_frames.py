"""The caller's frames for an agent: in order, bounded, and ending with the call."""

from __future__ import annotations

import asyncio

from voice_agent.call.audio import PCM
from voice_agent.runtime.engine.frames import MAX_WAITING_BYTES, FrameQueue


async def test_frames_come_in_order_and_end() -> None:
    """A reader that waits is woken."""
    queue = FrameQueue()
    reader = asyncio.create_task(_read(queue))
    for number in range(3):
        queue.put(bytes([number, 0]), PCM)
        await asyncio.sleep(0)
    queue.end()
    assert await reader == [b"\x00\x00", b"\x01\x00", b"\x02\x00"]


async def test_what_nobody_reads_is_dropped_oldest_first() -> None:
    """The bound is in bytes."""
    queue, size = FrameQueue(), MAX_WAITING_BYTES // 4
    for number in range(6):
        queue.put(bytes([number]) * size, PCM)
    queue.end()
    assert [frame[0] for frame in await _read(queue)] == [2, 3, 4, 5]


async def _read(queue: FrameQueue) -> list[bytes]:
    return [frame.audio async for frame in queue]
