"""The machine's clocks."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """`ports.Clock` on the operating system's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
