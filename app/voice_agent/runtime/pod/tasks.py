"""The work that goes on beside a pod's calls for as long as it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

Work = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger(__name__)


class PodTasks:
    """One task for each work, by name. None ends by itself: one that does is a fault of the pod."""

    def __init__(self, works: Mapping[str, Work]) -> None:
        self.running: list[asyncio.Task[None]] = []
        """All that were started, those that crashed included."""
        self._works = works

    def start(self, *names: str) -> None:
        """Begin these works."""
        for name in names:
            task = asyncio.create_task(self._works[name](), name=name)
            task.add_done_callback(_report_crash)
            self.running.append(task)

    @property
    def has_failed(self) -> bool:
        """Whether one has ended."""
        return any(task.done() for task in self.running)

    async def stop(self) -> None:
        """Cancel all, and return once they have ended."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("pod task crashed", task=task.get_name(), exc_info=task.exception())
