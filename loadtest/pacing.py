"""The clock of a profile: every caller says a frame each 20 ms, spread evenly.

It sleeps between ticks, unlike the one of `peers.load`: here not the server's CPU is measured but what callers see,
and the store, which shares the generator's core, must not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from loadtest.latencies import Latencies
from loadtest.peers.caller import FRAME_S

TICKS = 20


class Talker(Protocol):
    """Whoever says a frame when told."""

    def say(self, due_s: float) -> None:
        """The next frame, due at a time of `perf_counter`."""


class Pace:
    """Holds the callers of a run; they may come and go while it goes on."""

    def __init__(self) -> None:
        self.lag = Latencies()
        """How late each tick was: the generator's own fault."""
        self._groups: list[list[Talker]] = [[] for _ in range(TICKS)]
        self._tick = 0

    def add(self, talkers: Sequence[Talker]) -> None:
        """Have them talk from now on; each goes to the group that is smallest."""
        for talker in talkers:
            min(self._groups, key=len).append(talker)

    def remove(self, talker: Talker) -> None:
        """Let one be silent; who is not there stays so."""
        for group in self._groups:
            if talker in group:
                group.remove(talker)

    async def keep(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Go on for so long, or until a condition holds."""
        begin_s = perf_counter()
        tick_s = FRAME_S / TICKS
        for number in range(round(seconds / tick_s)):
            due_s = begin_s + number * tick_s
            while (early_s := due_s - perf_counter()) > 0:  # noqa: ASYNC110 - this is the clock
                await asyncio.sleep(early_s)
            self.lag.add(perf_counter() - due_s)
            for talker in self._groups[self._tick % TICKS]:
                talker.say(due_s)
            self._tick += 1
            if until():
                return
