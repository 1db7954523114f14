"""The caller's frames for an agent: in order, bounded, and ending with the call."""

from __future__ import annotations

import asyncio

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.runtime.engine.frames import MAX_WAITING_BYTES, MAX_WAITING_FRAMES, FrameQueue, frame_queue, put_frame
from voice_agent.runtime.engine.live_queue import LiveReader, end_all


async def test_frames_come_in_order_and_end() -> None:
    """A reader that waits is woken."""
    queue = frame_queue()
    queues: list[FrameQueue] = []
    reader = asyncio.create_task(_read(LiveReader(queues, queue)))
    for number in range(3):
        put_frame(queue, bytes([number, 0]), PCM)
        await asyncio.sleep(0)
    queue.end()
    assert await reader == [b"\x00\x00", b"\x01\x00", b"\x02\x00"]


async def test_what_nobody_reads_is_dropped_oldest_first() -> None:
    """The bound is in bytes."""
    queue = frame_queue()
    queues: list[FrameQueue] = []
    reader, size = LiveReader(queues, queue), MAX_WAITING_BYTES // 4
    for number in range(6):
        put_frame(queue, bytes([number]) * size, PCM)
    end_all(queues)
    assert [frame[0] for frame in await _read(reader)] == [2, 3, 4, 5]


async def test_small_frames_that_nobody_reads_are_bounded_in_number() -> None:
    """Each takes far more in memory than its bytes; an empty one is none, nor is half a sample."""
    queue = frame_queue()
    queues: list[FrameQueue] = []
    reader = LiveReader(queues, queue)
    for _ in range(MAX_WAITING_FRAMES + 10):
        put_frame(queue, b"\x01\x00", PCM)
        put_frame(queue, b"", PCM)
        put_frame(queue, b"\x01", PCM)
    end_all(queues)
    assert await _read(reader) == [b"\x01\x00"] * MAX_WAITING_FRAMES


async def _read(reader: LiveReader[Clip]) -> list[bytes]:
    return [frame.audio async for frame in reader]
