"""What an agent does with the event loop: each of its steps is timed, and an agent that blocks the loop is named.

A step is what runs between two waits. It is the time on the clock that counts, whether the agent computes, sleeps or
waits for an answer without `await`: all calls of the pod stand still meanwhile. A step that is over is told by the loop
itself. For one that does not end there is a thread (`StuckSteps`): the loop says nothing then, not even to the probe
that will have the pod killed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from voice_agent.runtime.ports import Clock, Observer

BLOCKED_S = 0.2
"""A step that takes so long is heard by every caller of the pod; a busy machine alone makes none so long."""

STUCK_S = 3.0
"""After so long a step is told of while it goes on: sooner than a liveness probe gives a pod up."""
LOOK_S = 1.0

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Running:
    """The step that the event loop is in: of its process there is one."""

    watch: StepWatch | None = None
    began_s: float = 0.0


RUNNING = Running()


class StepWatch:
    """Watches what one agent does in one call, or its ear or voice; tells of it once, and counts every time."""

    def __init__(self, name: str, call_id: str, clock: Clock, observer: Observer, *, kind: str = "agent") -> None:
        """`kind`: agent, ear or voice."""
        self.clock = clock
        self.name = name
        self.kind = kind
        self.call_id = call_id
        self._observer = observer
        self._is_told = False

    def took(self, step_s: float) -> None:
        """A step is over."""
        if step_s < BLOCKED_S:
            return
        self._observer.agent_fault("blocked")
        if not self._is_told:
            self._is_told = True
            told = f"{self.kind} blocks the event loop: all calls of this pod stood still"
            log.warning(
                told,
                **{self.kind: self.name},
                call_id=self.call_id,
                seconds=round(step_s, 3),
            )


class Watched(Generic[Result]):
    """`await Watched(work, watch)` is `await work`, with every step timed.

    Work that is watched may wait for other work that is: a step counts for the innermost, and what comes behind that
    for the outer one alone.
    """

    def __init__(self, work: Awaitable[Result], watch: StepWatch) -> None:
        self._work = work
        self._watch = watch

    def __await__(self) -> Generator[Any, Any, Result]:
        watch, steps = self._watch, self._work.__await__()
        resume: Any = steps.send
        value: Any = None
        while True:
            outer = RUNNING.watch
            RUNNING.began_s = watch.clock.monotonic_s()
            RUNNING.watch = watch
            try:
                waits_for = resume(value)
            except StopIteration as over:
                result: Result = over.value
                return result
            finally:
                ended_s = watch.clock.monotonic_s()
                watch.took(ended_s - RUNNING.began_s)
                RUNNING.watch, RUNNING.began_s = outer, ended_s
            try:
                value = yield waits_for
                resume = steps.send
            except BaseException as error:  # noqa: BLE001 whatever is thrown in here is the work's, a cancellation too
                resume, value = steps.throw, self.thrown(error)

    def thrown(self, error: BaseException) -> BaseException:
        """What is thrown into the work in place of `error`: the error itself."""
        return error


MAX_CONTEXT = 32
"""Of exceptions that were raised while others were handled: one that is its own context has no end."""


def take_back_group_cancel(error: BaseException) -> bool:
    """If `error` comes from a task group that failed: take back the cancellation that it left on its task.

    A group whose tasks fail while it waits for them at its end cancels the task it is in. Before Python 3.13 it does
    not take that back (gh-116720), and its task looks like one that nobody wants any more. Returns whether it did so.
    """
    task, cause = asyncio.current_task(), error
    if task is None or not task.cancelling():
        return False
    for _ in range(MAX_CONTEXT):
        if isinstance(cause, BaseExceptionGroup):
            task.uncancel()
            return True
        if cause.__context__ is None:
            break
        cause = cause.__context__
    return False


async def result_of(work: Awaitable[Result], watch: StepWatch) -> Result:
    """What the agent's work comes to. `CancelledError` if the task was cancelled, whatever the agent made of that."""
    try:
        return await Watched(work, watch)
    except Exception as error:
        take_back_group_cancel(error)
        raise
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


class StuckSteps:
    """A thread that names an agent whose step does not end, and the line it is in. Make it on the loop's thread."""

    def __init__(self) -> None:
        self._loop_thread = threading.get_ident()
        self._told: StepWatch | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stuck-steps", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self.look()

    def look(self) -> bool:
        """Look at the step under way; whether it was told of, as each is once."""
        watch, began_s = RUNNING.watch, RUNNING.began_s
        if watch is None or watch is self._told:
            return False
        step_s = watch.clock.monotonic_s() - began_s
        if step_s < STUCK_S or watch is not RUNNING.watch:
            return False
        self._told = watch
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 the one way to see another thread
        told = f"{watch.kind} blocks the event loop and does not end: all calls of this pod stand still"
        log.error(
            told,
            **{watch.kind: watch.name},
            call_id=watch.call_id,
            seconds=round(step_s, 3),
            line=f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else None,
        )
        return True
