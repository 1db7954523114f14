"""How long the next of a model's answer is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST_WORDS_S = 20.0
"""So long the caller may wait for the next words: less than an agent may do nothing while a reply is due."""


class OutOfPatience(Exception):
    """Nothing came in time."""


class Patience:
    """One answer's: without end as long as the caller has something to hear."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limit: asyncio.Timeout | None = None
        self._pause_s: float | None = None
        """So long nothing may come while the caller has nothing to hear; None: as long as `FIRST_WORDS_S`."""
        self._starved_at_s: float | None = loop.time()
        """Since when the caller has nothing to hear."""
        self._ends_at_s: float | None = None
        """When all is over, whatever still comes."""

    @property
    def is_over(self) -> bool:
        """Whether the caller has waited too long."""
        return self._starved_at_s is not None and self._loop.time() >= self._starved_at_s + FIRST_WORDS_S

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """What is done in this context is cancelled, and `OutOfPatience` raised, when it has taken too long."""
        self._pause_s = None
        limit = self._limit = asyncio.timeout(None)
        try:
            async with limit:
                self.came()
                yield
        except TimeoutError:
            if limit.expired():
                raise OutOfPatience from None
            raise
        finally:
            self._limit = None

    def shorten(self, pause_s: float) -> None:
        """From now on no longer pause is waited through."""
        self._pause_s = pause_s
        self.came()

    def end_within(self, seconds: float) -> None:
        """All is there, but for what nobody waits for."""
        self._ends_at_s = self._loop.time() + seconds
        self.came()

    def fed(self) -> None:
        """There is something to hear."""
        self._starved_at_s = None

    def starved(self) -> None:
        """There is not."""
        self._starved_at_s = self._loop.time()
        self.came()

    def came(self) -> None:
        """From now on the next is waited for."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(self._until_s())

    def _until_s(self) -> float | None:
        if self._ends_at_s is not None or self._starved_at_s is None:
            return self._ends_at_s
        last_s = self._starved_at_s + FIRST_WORDS_S
        return last_s if self._pause_s is None else min(last_s, self._loop.time() + self._pause_s)
