"""Sending like a real caller: one frame every 20 ms, on a schedule that does not drift."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

FRAME_MS = 20

Sleep = Callable[[float], Awaitable[None]]


class Metronome:
    """Ticks every `period_ms`; a late tick does not delay those after it."""

    def __init__(
        self, period_ms: float = FRAME_MS, *, now_s: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.worst_lag_s = 0.0
        """How late the latest tick has been: beyond some ms, this machine's measurements mean little."""
        self._period_s = period_ms / 1000
        self._now_s = now_s
        self._sleep = sleep
        self._began_s: float | None = None
        self._ticks = 0

    async def tick(self) -> None:
        """Wait for the next tick. One that is overdue still lets other tasks run first."""
        now_s = self._now_s()
        if self._began_s is None:
            self._began_s = now_s
        self._ticks += 1
        due_s = self._began_s + self._ticks * self._period_s
        await self._sleep(max(0.0, due_s - now_s))
        self.worst_lag_s = max(self.worst_lag_s, self._now_s() - due_s)
