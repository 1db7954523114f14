"""What the contracts of ears and voices try them with: made anew, timed step by step, cancelled where they wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from importlib import import_module
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.engine.agent_steps import BLOCKED_S, StepWatch, Watched

ENDS_WITHIN_S = 5.0
"""So long what is cancelled or closed may take to end."""
LASTS_AT_MOST_S = 60.0
"""So long anything may take: opening, an utterance, a sentence."""
MOST_WAITS = 40
"""At so many places at most a piece of work is cancelled; each is a trial of its own."""
TRIES = 3
"""A busy machine alone makes a step long; it does not do so each time."""

Provider = TypeVar("Provider", bound=Ear | Voice)
Result = TypeVar("Result")


def made_by(place: str) -> Any:
    """What the callable at ``package.module:name`` gives, as an entry point names it."""
    module, _, name = place.partition(":")
    return attrgetter(name)(import_module(module))()


@asynccontextmanager
async def opened(provider: Provider) -> AsyncIterator[Provider]:
    """Opened and ready; closed at the end."""
    async with asyncio.timeout(LASTS_AT_MOST_S):
        await provider.open()
        await provider.ready()
    try:
        yield provider
    finally:
        async with asyncio.timeout(LASTS_AT_MOST_S):
            await provider.close()


class StepTimes(StepWatch):
    """How long the longest step took."""

    def __init__(self) -> None:
        super().__init__("", "", SystemClock(), cast("Any", None))
        self.longest_s = 0.0

    def took(self, step_s: float) -> None:
        """A step is over."""
        self.longest_s = max(self.longest_s, step_s)


async def never_blocks(work: Callable[[], Awaitable[object]]) -> None:
    """Raise `AssertionError` if a step of the work keeps the event loop for too long, each time it is done."""
    took_s = []
    for _ in range(TRIES):
        times = StepTimes()
        await Watched(work(), times)
        took_s.append(times.longest_s)
        if times.longest_s < BLOCKED_S:
            return
    raise AssertionError(f"it keeps the event loop for {min(took_s):.2f} s: every call of the pod stands still")


class _CancelledAt(Generic[Result]):
    """`await _CancelledAt(work, number)` is `await work`, cancelled at the place where it waits that often."""

    def __init__(self, work: Awaitable[Result], number: int) -> None:
        self._work = work
        self._number = number
        self._waits = 0
        self.cancelled = asyncio.Event()

    def __await__(self) -> Generator[Any, Any, Result]:
        steps = self._work.__await__()
        resume: Any = steps.send
        value: Any = None
        while True:
            try:
                waits_for = resume(value)
            except StopIteration as over:
                result: Result = over.value
                return result
            self._waits += 1
            if self._waits == self._number:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                self.cancelled.set()
            try:
                value = yield waits_for
                resume = steps.send
            except BaseException as error:  # noqa: BLE001 whatever is thrown in here is the work's, a cancellation too
                resume, value = steps.throw, error


async def _awaited(work: Awaitable[Result]) -> Result:
    return await work


async def cancelled_wherever_it_waits(
    work: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[None]]
) -> None:
    """Cancel the work at each place where it waits, and do `after` each time.

    Raises `AssertionError` where it goes on for more than `ENDS_WITHIN_S`, or ends as if nothing had been.
    """
    for number in range(1, MOST_WAITS + 1):
        steps = _CancelledAt(work(), number)
        task = asyncio.create_task(_awaited(steps))
        cancelled = asyncio.create_task(steps.cancelled.wait())
        try:
            await asyncio.wait([task, cancelled], timeout=LASTS_AT_MOST_S, return_when=asyncio.FIRST_COMPLETED)
            if not steps.cancelled.is_set():
                assert task.done(), f"it takes longer than {LASTS_AT_MOST_S:g} s"
                await task
                return
            done, _ = await asyncio.wait([task], timeout=ENDS_WITHIN_S)
            assert done, f"cancelled at wait {number}, it does not end within {ENDS_WITHIN_S:g} s"
            assert task.cancelled(), f"cancelled at wait {number}, it ended with {task.exception() or task.result()!r}"
        finally:
            cancelled.cancel()
            task.cancel()
            await asyncio.wait([task, cancelled], timeout=ENDS_WITHIN_S)
        await after()
