"""Work that is done to its end, one piece after another, also when whoever asked for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class WholeTasks:
    """Of one owner."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[Any]] = set()
        self._one_by_one = asyncio.Lock()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it once what was asked for before is done. Raises what it raises."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have it done once what was asked for before is done."""

        async def done() -> T:
            async with self._one_by_one:
                return await work

        return self.keep(done())

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it beside all else."""
        task = asyncio.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever asked was told, if they still wait.
