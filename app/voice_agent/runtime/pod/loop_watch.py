"""Measures how late the event loop is; one that is too late for new calls takes none."""

from __future__ import annotations

import structlog

from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.overload import SAMPLE_S, OverloadDetector

log = structlog.get_logger(__name__)


class LoopWatch:
    """One pod's; `run` is a task for as long as the pod lives."""

    def __init__(self, ports: PodPorts, admission: Admission, *, overload_lag_s: float) -> None:
        """`overload_lag_s`: with a later loop no new calls are taken; 0: however late it is."""
        self.next_turn = ports.next_turn
        """Waits as long as a caller's message does that comes now."""
        self._ports = ports
        self._admission = admission
        self._overload_lag_s = overload_lag_s

    async def run(self) -> None:
        """Measure until cancelled.

        Late is also what a message of a caller would wait for its turn: where the work of each turn is bounded, a timer
        alone is on time however much is left undone.
        """
        clock, observer, admission = self._ports.clock, self._ports.observer, self._admission
        detector = OverloadDetector(clock.monotonic_s(), enter_s=self._overload_lag_s)
        while True:
            due_s = clock.monotonic_s() + SAMPLE_S
            await clock.sleep(SAMPLE_S)
            await self.next_turn()
            now_s = clock.monotonic_s()
            lag_s = max(0.0, now_s - due_s)
            observer.loop_lag(lag_s)
            if detector.sample(now_s, lag_s):
                if detector.overloaded and not admission.overloaded:
                    observer.limit_reached("overload")
                    log.warning("overloaded: no new calls", active_calls=admission.active)
                elif admission.overloaded and not detector.overloaded:
                    log.info("no longer overloaded", active_calls=admission.active)
                admission.second_is_over(late=detector.late, overloaded=detector.overloaded, lag_s=detector.lag_s)
