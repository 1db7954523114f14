"""Time in a test's hands."""

from __future__ import annotations

import asyncio

from voice_agent.runtime.clock import SystemClock


class LeapingClock(SystemClock):
    """The system's clock, but for the leaps it takes: whoever sleeps past the end of one wakes at once."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._sleeping: dict[asyncio.Event, float] = {}

    def wall_ms(self) -> int:
        return super().wall_ms() + round(self._ahead_s * 1000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleeping[woken] = self.monotonic_s() + seconds
        timer = asyncio.get_running_loop().call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()
            del self._sleeping[woken]

    def leap(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds
        for woken, due_s in self._sleeping.items():
            if due_s <= self.monotonic_s():
                woken.set()


class StoppedClock(SystemClock):
    """Stands still; whoever sleeps puts it forward, and the others have a turn."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)
