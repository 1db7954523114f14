"""What happens as it happens: in order, bounded, and ending with the run."""

from __future__ import annotations

import asyncio
import gc

from voice_agent.runtime.engine.live_queue import LiveQueue, LiveReader, end_all


def queue(*, max_items: int = 3, max_size: int = 100) -> LiveQueue[str]:
    """A small one."""
    return LiveQueue(max_items=max_items, max_size=max_size)


async def test_what_comes_is_read_in_order_and_ends() -> None:
    """A reader that waits is woken."""
    queues: list[LiveQueue[str]] = []
    one = queue()
    reader = asyncio.create_task(_read(LiveReader(queues, one)))
    for item in "abcde":
        one.put(item, 1)
        await asyncio.sleep(0)
    end_all(queues)
    assert await reader == ["a", "b", "c", "d", "e"]


async def test_what_nobody_reads_is_dropped_oldest_first() -> None:
    """By number, and by size."""
    queues: list[LiveQueue[str]] = []
    many, large = LiveReader(queues, queue()), LiveReader(queues, queue(max_items=100))
    for item in "abcde":
        for one in queues:
            one.put(item, 40)
    end_all(queues)
    assert await _read(many) == ["d", "e"]
    assert await _read(large) == ["d", "e"]


async def test_what_was_read_takes_no_room() -> None:
    """However much that was."""
    queues: list[LiveQueue[str]] = []
    one = queue()
    reader = LiveReader(queues, one)
    for _ in range(5):
        one.put("read", 40)
        assert one.newest == "read"
        await one.get()
    one.put("a", 40)
    one.put("b", 60)
    end_all(queues)
    assert await _read(reader) == ["a", "b"]


async def test_one_that_says_all_that_the_last_one_did_takes_its_place() -> None:
    """And its size."""
    queues: list[LiveQueue[str]] = []
    one = queue()
    reader = LiveReader(queues, one)
    one.put("a", 10)
    for size in range(90):
        one.replace_newest(f"a{size}", size + 1)
    assert one.newest == "a89"
    one.put("b", 10)
    end_all(queues)
    assert await _read(reader) == ["a89", "b"]
    assert one.newest is None


async def test_a_queue_that_nobody_can_read_is_not_filled() -> None:
    """Its reader is gone."""
    queues: list[LiveQueue[str]] = []
    reader = LiveReader(queues, queue())
    assert len(queues) == 1
    del reader
    gc.collect()
    assert queues == []


async def _read(reader: LiveReader[str]) -> list[str]:
    return [item async for item in reader]
