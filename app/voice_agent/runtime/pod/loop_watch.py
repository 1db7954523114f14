"""Measures how late the event loop is; one that is too late for new calls takes none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from voice_agent.runtime.pod.overload import SAMPLE_S, OverloadDetector
from voice_agent.runtime.ports import Clock

log = structlog.get_logger(__name__)


class Gate(Protocol):
    """What takes new calls, or does not."""

    active: int
    overloaded: bool

    def second_is_over(self, *, late: bool, overloaded: bool, lag_s: float) -> None:
        """Told each second how late the event loop was in it, and whether that is an overload by now."""


class LagObserver(Protocol):
    """Told what is seen."""

    def loop_lag(self, seconds: float) -> None:
        """How late one timer ran."""

    def limit_reached(self, limit: str) -> None:
        """``overload``: from now on no new calls are taken."""


class LoopWatch:
    """One process'; `run` is a task for as long as it lives."""

    def __init__(
        self,
        clock: Clock,
        observer: LagObserver,
        gate: Gate,
        *,
        next_turn: Callable[[], Awaitable[None]],
        overload_lag_s: float,
    ) -> None:
        """`next_turn` waits as long as a caller's message does that comes now.

        `overload_lag_s`: with a later loop no new calls are taken; 0: however late it is.
        """
        self._clock = clock
        self._observer = observer
        self._gate = gate
        self._next_turn = next_turn
        self._overload_lag_s = overload_lag_s

    async def run(self) -> None:
        """Measure until cancelled.

        Late is also what a message of a caller would wait for its turn: where the work of each turn is bounded, a timer
        alone is on time however much is left undone.
        """
        clock, observer, gate = self._clock, self._observer, self._gate
        detector = OverloadDetector(clock.monotonic_s(), enter_s=self._overload_lag_s)
        while True:
            due_s = clock.monotonic_s() + SAMPLE_S
            await clock.sleep(SAMPLE_S)
            await self._next_turn()
            now_s = clock.monotonic_s()
            lag_s = max(0.0, now_s - due_s)
            observer.loop_lag(lag_s)
            if detector.sample(now_s, lag_s):
                if detector.overloaded and not gate.overloaded:
                    observer.limit_reached("overload")
                    log.warning("overloaded: no new calls", active_calls=gate.active)
                elif gate.overloaded and not detector.overloaded:
                    log.info("no longer overloaded", active_calls=gate.active)
                gate.second_is_over(late=detector.late, overloaded=detector.overloaded, lag_s=detector.lag_s)
