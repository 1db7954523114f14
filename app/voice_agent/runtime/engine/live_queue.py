"""What happens in a call as it happens, for who reads it: from now on, never again, and bounded."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LiveQueue(Generic[Item]):
    """What waits for one reader. Of what is not read in time the oldest is dropped, for what comes next is wanted."""

    def __init__(self, *, max_items: int, max_size: int) -> None:
        """`max_size`: of all items together, each as large as `put` says."""
        self._waiting: deque[tuple[Item, int]] = deque()
        self._waiting_size = 0
        self._max_items = max_items
        self._max_size = max_size
        self._came = asyncio.Event()
        self._is_over = False

    @property
    def newest(self) -> Item | None:
        """What came last, if it was not read yet."""
        return self._waiting[-1][0] if self._waiting else None

    def put(self, item: Item, size: int) -> None:
        """One came."""
        self._waiting.append((item, size))
        self._waiting_size += size
        while self._waiting_size > self._max_size or len(self._waiting) > self._max_items:
            self._waiting_size -= self._waiting.popleft()[1]
        self._came.set()

    def replace_newest(self, item: Item, size: int) -> None:
        """One came that says all that the one before it did, which was not read yet."""
        self._waiting_size -= self._waiting.pop()[1]
        self.put(item, size)

    def end(self) -> None:
        """No more comes."""
        self._is_over = True
        self._came.set()

    async def get(self) -> Item:
        """The next one. Raises `StopAsyncIteration`."""
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        item, size = self._waiting.popleft()
        self._waiting_size -= size
        return item


class LiveReader(Generic[Item]):
    """What an agent reads one with. It is among `queues` until it is over, or nobody has the reader."""

    def __init__(self, queues: list[LiveQueue[Item]], queue: LiveQueue[Item]) -> None:
        self._queue = queue
        queues.append(queue)
        weakref.finalize(self, _remove, queues, queue).atexit = False

    def __aiter__(self) -> LiveReader[Item]:
        return self

    async def __anext__(self) -> Item:
        return await self._queue.get()


def _remove(queues: list[LiveQueue[Item]], queue: LiveQueue[Item]) -> None:
    with suppress(ValueError):
        queues.remove(queue)


def end_all(queues: list[LiveQueue[Item]]) -> None:
    """No more comes to any of them."""
    for queue in queues:
        queue.end()
    queues.clear()
