"""The machine's clocks, and the one that a pod's calls live by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

SLEW = 0.1
"""How much of the time that passed the clock may be led by: of two minutes in which a caller may come back, twelve
seconds at most are gained or lost while two clocks come together."""


class SystemClock:
    """`ports.Clock` on the operating system's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def follow(self, wall_ms: float, *, leaps: bool) -> None:
        """Take no notice: this is the machine's own time."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait."""
        return asyncio.sleep(seconds)


_SINCE_BOOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


_since_boot_ns = partial(time.clock_gettime_ns, _SINCE_BOOT)
"""Never goes back and, where the system can say, goes on while the machine sleeps."""


class SteadyClock(SystemClock):
    """Wall time that does not leap, and that all pods of a store agree on.

    How long a call has been parked is the difference of two wall times, taken perhaps by two pods. A machine's clock
    that is set, or is wrong, would end calls. So the wall clock is read once; from then on the time since boot counts,
    and `follow` leads it to the store's clock: at once while the pod has no call, and once only; else by `SLEW`.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, since_boot_ns: Callable[[], int] = _since_boot_ns
    ) -> None:
        self._since_boot_ns = since_boot_ns
        self._followed_ns = since_boot_ns()
        self._ahead_ns = wall_ns() - self._followed_ns
        self._has_leapt = False

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return (self._since_boot_ns() + self._ahead_ns) // 1_000_000

    def follow(self, wall_ms: float, *, leaps: bool) -> None:
        """See `ports.FleetClock`. A second leap would part this pod from others that are led to the same clock."""
        now_ns = self._since_boot_ns()
        behind_ns = int(wall_ms * 1_000_000) - now_ns - self._ahead_ns
        if leaps and not self._has_leapt:
            self._has_leapt = True
        else:
            most_ns = int(SLEW * (now_ns - self._followed_ns))
            behind_ns = max(-most_ns, min(most_ns, behind_ns))
        self._ahead_ns += behind_ns
        self._followed_ns = now_ns
