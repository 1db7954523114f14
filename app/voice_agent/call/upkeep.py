"""When a call ends by itself.

A pod asks `ending` of its calls again and again: a parked call ends with its resume window, an attached one
at the maximum length of a call or when its client has sent nothing for too long.
"""

from __future__ import annotations

from dataclasses import dataclass

from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may last. `idle_s` 0: no limit."""

    resume_window_s: float
    call_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Ending:
    """A call is to be ended."""

    outcome: str
    reason: str = ""
    was_dropped: bool = False
    """A handoff was promised to go on elsewhere, and it did not."""


def ending(call: CallRecord, limits: Limits, *, now_ms: int, silent_s: float) -> Ending | None:
    """Why a call is over, or None. `silent_s`: since the caller last sent anything."""
    if call.lifecycle.status is Status.PARKED:
        if now_ms - call.lifecycle.left_at_ms < limits.resume_window_s * 1000:
            return None
        return Ending("abandoned", was_dropped=call.lifecycle.handed_off)
    if now_ms - call.identity.created_at_ms >= limits.call_s * 1000:
        return Ending("timeout", f"calls last at most {limits.call_s:g} s")
    if limits.idle_s and silent_s >= limits.idle_s:
        return Ending("timeout", f"nothing was sent for {limits.idle_s:g} s")
    return None
