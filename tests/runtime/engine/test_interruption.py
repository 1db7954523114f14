"""`SpeechInterrupted` is raised wherever a handler waits, and a cancellation stays one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.runtime.rig import CountingObserver
from tests.waiting import until
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.engine.agent_steps import StepWatch
from voice_agent.runtime.engine.interruption import InterruptibleSteps, Interruption, is_interruption


class Handler:
    """Waits, and notes what is raised there."""

    def __init__(self, wait: Callable[[], Awaitable[Any]]) -> None:
        self.interruption = Interruption()
        self.raised: list[BaseException] = []
        self.waits = 0
        watch = StepWatch("handler", "call_1", SystemClock(), CountingObserver())
        self.task = asyncio.create_task(self._steps(InterruptibleSteps(self._run(wait), watch, self.interruption)))

    async def _steps(self, steps: InterruptibleSteps[None]) -> None:
        await steps

    async def _run(self, wait: Callable[[], Awaitable[Any]]) -> None:
        while len(self.raised) < 2:
            self.waits += 1
            try:
                await wait()
            except BaseException as error:
                self.raised.append(error)
                if not is_interruption(error):
                    raise

    async def waits_again(self, times: int) -> None:
        """It has come to wait so many times."""
        await until(lambda: self.waits == times)
        await asyncio.sleep(0)


async def forever() -> None:
    """Waits for what never comes."""
    await asyncio.Event().wait()


async def in_a_group() -> None:
    """Waits for tasks of its own."""
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())
        await forever()


async def with_a_limit() -> None:
    """Waits no longer than an hour."""
    async with asyncio.timeout(3600):
        await forever()


@pytest.mark.parametrize(
    "wait",
    # Nobody waits so long: it is interrupted.
    [forever, in_a_group, with_a_limit, lambda: asyncio.gather(forever(), forever()), lambda: asyncio.sleep(3600)],
)
async def test_a_handler_is_interrupted_wherever_it_waits(wait: Callable[[], Awaitable[Any]]) -> None:
    """And may be again; nothing of it looks cancelled afterwards."""
    handler = Handler(wait)
    for times in (1, 2):
        await handler.waits_again(times)
        handler.interruption.raise_in(handler.task)
        await until(lambda times=times: len(handler.raised) == times)
    assert all(map(is_interruption, handler.raised))
    await handler.task
    assert not handler.task.cancelling()


async def test_who_cancels_the_task_cancels_it() -> None:
    """A handler sees a cancellation and no interruption."""
    handler = Handler(forever)
    await handler.waits_again(1)
    handler.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler.task
    assert [type(error) for error in handler.raised] == [asyncio.CancelledError]


async def test_who_is_interrupted_and_cancelled_at_once_is_cancelled() -> None:
    """A call that moves on comes before a caller who speaks."""
    handler = Handler(forever)
    await handler.waits_again(1)
    handler.interruption.raise_in(handler.task)
    handler.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler.task
    assert [type(error) for error in handler.raised] == [asyncio.CancelledError]


async def test_an_error_that_comes_before_an_interruption_is_raised_as_it_is() -> None:
    """Only the cancellation that is its own is taken back."""
    interruption, task = Interruption(), asyncio.create_task(forever())
    interruption.raise_in(task)
    error = ValueError()
    assert interruption.converted(error) is error
    assert is_interruption(interruption.converted(asyncio.CancelledError()))


def test_a_group_of_other_errors_is_no_interruption() -> None:
    """Nor is one in which another error is among them."""
    assert is_interruption(ExceptionGroup("", [SpeechInterrupted(), ExceptionGroup("", [SpeechInterrupted()])]))
    assert not is_interruption(ExceptionGroup("", [SpeechInterrupted(), ValueError()]))
