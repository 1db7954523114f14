"""A cutover as JSON, one object a line, for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

import orjson

from voice_agent.operate.plan import CutoverProgress, Exit
from voice_agent.operate.ports import Numbers
from voice_agent.runtime.ports import Clock


class CutoverLines:
    """`context.Reporter`: each line has `event` (begun, step, look, said, over) and `at_ms`, milliseconds since 1970.

    The last one, `over`, has `exit` (the command's exit status), `ok` (it is 0), `reason`, and `lost` and `why_lost`.
    """

    def __init__(self, out: TextIO, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._last: CutoverProgress | None = None
        """The record as it was last told."""

    def _write(self, event: str, **more: Any) -> None:
        line = {"event": event, "at_ms": self._clock.wall_ms(), **more}
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()

    def begun(self, progress: CutoverProgress, *, again: bool) -> None:
        """Who goes where."""
        self._last = progress
        names = {"old": progress.old, "new": progress.new, "router": progress.router, "cutover_id": progress.cutover_id}
        self._write("begun", again=again, weights=dict(progress.before.weights), **names)

    def step(self, progress: CutoverProgress) -> None:
        """A step, and the weights it wants."""
        self._last = progress
        self._write("step", step=progress.step.value, weights=dict(progress.routing.weights), reason=progress.reason)

    def looked(self, progress: CutoverProgress, numbers: Mapping[str, Numbers] | None, waits_for: str) -> None:
        """Both colors' numbers; null for what is not known."""
        self._last = progress
        found = numbers or {}
        colors = (progress.old, progress.new)
        counts = {
            name: {color: getattr(found.get(color), name, None) for color in colors}
            for name in ("active_calls", "resumes", "failed", "dropped")
        }
        weights = dict(progress.routing.weights)
        self._write("look", step=progress.step.value, weights=weights, **counts, waits_for=waits_for)

    def said(self, text: str) -> None:
        """A remark."""
        self._write("said", text=text)

    def over(self, progress: CutoverProgress) -> None:
        """How it ended."""
        self._write(
            "over",
            ok=progress.exit == Exit.NO_CALLER_LOST,
            exit=progress.exit,
            lost=progress.lost,
            why_lost=progress.why_lost,
            step=progress.step.value,
            weights=dict(progress.routing.weights),
            reason=progress.reason,
            drain_seconds=progress.drain.seconds,
            seconds=(self._clock.wall_ms() - progress.started_at_ms) / 1000,
            remarks=list(progress.remarks),
        )

    def stopped(self, reason: str, status: int) -> None:
        """It ended before its end, or there was nothing to do."""
        lost, why_lost = (0, ()) if self._last is None else (self._last.lost, self._last.why_lost)
        ok = status == Exit.NO_CALLER_LOST
        self._write("over", ok=ok, exit=status, lost=lost, why_lost=why_lost, step=None, reason=reason)
