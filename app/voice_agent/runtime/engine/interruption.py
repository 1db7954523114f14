"""How a handler is interrupted: `SpeechInterrupted` is raised wherever it waits.

Cancelling its task ends what it waits for, as asyncio does it; the `CancelledError` that would come of that is taken
back on the way in, and `SpeechInterrupted` is thrown in its place. It is a `CancelledError`, too: locks, queues and
groups of tasks, which tidy up when they are cancelled, do so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.runtime.engine.agent_steps import StepWatch, Watched

Result = TypeVar("Result")


class InterruptedWait(SpeechInterrupted, asyncio.CancelledError):
    """What is raised where a handler waits."""


class Interruption:
    """One task's."""

    def __init__(self) -> None:
        self._is_due = False

    def raise_in(self, task: asyncio.Task[None]) -> None:
        """Have `SpeechInterrupted` raised in it, at once; while one is due that was not raised yet, nothing more."""
        if not self._is_due:
            self._is_due = True
            task.cancel()

    def converted(self, error: BaseException) -> BaseException:
        """What is to be raised in place of an error that is about to be thrown into the task's work."""
        if not self._is_due or not isinstance(error, asyncio.CancelledError):
            return error
        self._is_due = False
        task = asyncio.current_task()
        # Cancelled a second time, by who wants it to stop: that comes first.
        return error if task is None or task.uncancel() else InterruptedWait()


class InterruptibleSteps(Watched[Result]):
    """`Watched` work of a task that an `Interruption` may reach."""

    def __init__(self, work: Awaitable[Result], watch: StepWatch, interruption: Interruption) -> None:
        super().__init__(work, watch)
        self._interruption = interruption

    def thrown(self, error: BaseException) -> BaseException:
        """See `Watched.thrown`."""
        return self._interruption.converted(error)


def is_interruption(error: BaseException) -> bool:
    """Whether it is `SpeechInterrupted`, or a group of nothing else, as a task group makes of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_interruption, error.exceptions))
    return isinstance(error, SpeechInterrupted)
