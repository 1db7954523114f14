"""What an agent does with the event loop: each of its steps is timed, and an agent that blocks the loop is named.

A step is what runs between two waits. It is the time on the clock that counts, whether the agent computes, sleeps or
waits for an answer without `await`: all calls of the pod stand still meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

import structlog

from app.runtime.ports import Clock, Observer

BLOCKED_S = 0.2
"""A step that takes so long is heard by every caller of the pod; a busy machine alone makes none so long."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class StepWatch:
    """Watches what one agent does for one reply or transcription; tells of it once, and counts every time."""

    def __init__(self, agent_name: str, call_id: str, clock: Clock, observer: Observer) -> None:
        self.clock = clock
        self._agent_name = agent_name
        self._call_id = call_id
        self._observer = observer
        self._is_told = False

    def took(self, step_s: float) -> None:
        """A step is over."""
        if step_s < BLOCKED_S:
            return
        self._observer.agent_fault("blocked")
        if not self._is_told:
            self._is_told = True
            log.warning(
                "agent blocks the event loop: all calls of this pod stood still",
                agent=self._agent_name,
                call_id=self._call_id,
                seconds=round(step_s, 3),
            )


class Watched(Generic[Result]):
    """`await Watched(work, watch)` is `await work`, with every step timed."""

    def __init__(self, work: Awaitable[Result], watch: StepWatch) -> None:
        self._work = work
        self._watch = watch

    def __await__(self) -> Generator[Any, Any, Result]:
        watch, steps = self._watch, self._work.__await__()
        resume: Any = steps.send
        value: Any = None
        while True:
            began_s = watch.clock.monotonic_s()
            try:
                waits_for = resume(value)
            except StopIteration as over:
                result: Result = over.value
                return result
            finally:
                watch.took(watch.clock.monotonic_s() - began_s)
            try:
                value = yield waits_for
                resume = steps.send
            except BaseException as error:  # noqa: BLE001 whatever is thrown in here is the work's, a cancellation too
                resume, value = steps.throw, error
