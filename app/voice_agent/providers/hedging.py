"""Asking another one as well when the first does not begin to answer; the first that answers wins.

A generator is begun in a task of its own and read on in its reader's: it must hold no `asyncio.timeout` and no token of
a context variable over a `yield`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from voice_agent.providers.answer_times import AnswerTimes
from voice_agent.providers.errors import ProviderFailed

T = TypeVar("T")

_NOTHING: Any = object()


class NoneAnswered(Exception):
    """All have failed before they gave anything."""

    def __init__(self, failed: dict[int, Exception]) -> None:
        """`failed`: what each raised, by its index, in the order of failing."""
        super().__init__(failed)
        self.failed = failed


class GaveNothing(Exception):
    """It was given up, when there was nobody else to ask."""


@dataclass(frozen=True, slots=True)
class HedgedAnswer(Generic[T]):
    """What the first that answered gives. Read `items` once; what it raises there is the reader's to deal with."""

    index: int
    """Which one it is."""
    items: AsyncGenerator[T, None]
    """All of it, the first item included."""
    overtaken: Mapping[int, float]
    """Those that were asked before it and had not answered, and after how many seconds."""
    failed: Mapping[int, Exception]
    """Those that failed, and what they raised."""


class _Attempt(Generic[T]):
    """One that was asked. Its own of `times` is told how long it took."""

    def __init__(self, index: int, items: AsyncGenerator[T, None], times: Sequence[AnswerTimes], size: float) -> None:
        self.index = index
        self.items = items
        self._times = times[index]
        self._all_times = times
        self._size = size
        self._began_s = asyncio.get_running_loop().time()
        self.first: asyncio.Task[T] = asyncio.create_task(self._first(), name=f"attempt {index}")
        self._closing: asyncio.Task[None] | None = None

    async def _first(self) -> T:
        first = await anext(self.items, _NOTHING)
        self._times.add(self._waited_s, self._size)
        return first

    @property
    def limit_s(self) -> float:
        """After so long it is overdue."""
        return self._times.limit_s(self._size, self._all_times)

    @property
    def last_s(self) -> float:
        """After so long it is given up when there is nobody else to ask."""
        return self._times.last_s(self._size)

    @property
    def _waited_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    def overtaken(self) -> float:
        """Another one was first, after so many seconds of this one."""
        waited_s = self._waited_s
        self._times.overtaken(waited_s, self._size)
        return waited_s

    def close(self) -> asyncio.Task[None]:
        """Give it up, once; the task never raises. In a task: cancelling whoever waits for it stops nothing."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="close attempt")
        return self._closing

    async def _close(self) -> None:
        self.first.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.first
        with suppress(Exception):
            await self.items.aclose()

    async def rest(self) -> AsyncGenerator[T, None]:
        """What it gives from the start, once its first item is there."""
        first = self.first.result()
        if first is not _NOTHING:
            yield first
            async for item in self.items:
                yield item


@asynccontextmanager
async def first_to_answer(
    starts: Sequence[Callable[[], AsyncGenerator[T, None]]],
    times: Sequence[AnswerTimes],
    failures: tuple[type[Exception], ...] = (ProviderFailed,),
    *,
    size: float = 1.0,
    gives_up: bool = False,
) -> AsyncIterator[HedgedAnswer[T]]:
    """Ask the first; whenever the last that was asked is overdue, or one fails, ask the next as well.

    `times`: of each, which learn from this; `size`: of what is asked, see `AnswerTimes`. One that ends without an item
    has answered. The others are closed then, and all of them at the end, cancelled or not. Raises `NoneAnswered` when
    all fail with one of `failures`, and any other error at once. `gives_up`: so has one that gives nothing when
    there is nobody else to ask (`GaveNothing`); one that was alone from the beginning is waited for.
    """
    attempts: list[_Attempt[T]] = []
    try:
        winner, failed = await _race(starts, times, failures, attempts, size, gives_up=gives_up and len(starts) > 1)
        losers = [attempt for attempt in attempts if attempt is not winner]
        for loser in losers:
            loser.close()
        slow = [one for one in losers if one.index < winner.index and one.index not in failed]
        overtaken = {one.index: one.overtaken() for one in slow}
        items = winner.rest()
        try:
            yield HedgedAnswer(winner.index, items, overtaken, failed)
        finally:
            await items.aclose()
    finally:
        if attempts:
            await asyncio.wait([attempt.close() for attempt in attempts])


async def _race(
    starts: Sequence[Callable[[], AsyncGenerator[T, None]]],
    times: Sequence[AnswerTimes],
    failures: tuple[type[Exception], ...],
    attempts: list[_Attempt[T]],
    size: float,
    *,
    gives_up: bool,
) -> tuple[_Attempt[T], dict[int, Exception]]:
    failed: dict[int, Exception] = {}
    running: dict[asyncio.Task[T], _Attempt[T]] = {}
    waiting = list(enumerate(starts))
    while running or waiting:
        if waiting:
            index, start = waiting.pop(0)
            attempts.append(_Attempt(index, start(), times, size))
            running[attempts[-1].first] = attempts[-1]
        some_failed = False
        while running and not some_failed:
            if waiting:
                limit_s: float | None = attempts[-1].limit_s
            else:
                limit_s = max(attempt.last_s for attempt in running.values()) if gives_up else None
            done, _ = await asyncio.wait(running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                attempt = running.pop(task)
                error = _error_of(task)
                if error is None:
                    return attempt, failed
                if not isinstance(error, failures):
                    raise error
                failed[attempt.index] = error
                some_failed = True
            if not done:
                if not waiting:
                    raise NoneAnswered(failed | {one.index: GaveNothing() for one in running.values()})
                break
    raise NoneAnswered(failed)


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
