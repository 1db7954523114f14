"""What a pod tells operators of its calls."""

from __future__ import annotations

from typing import Any

from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import lost, rig

LONG_S = 1_000_000
"""Longer than anything takes, by so much that a thousandth of it shows."""
AT_LEISURE: dict[str, Any] = {"resume_window_s": 100 * LONG_S, "max_call_s": 100 * LONG_S}


async def test_the_oldest_attached_call_is_told() -> None:
    """Parked ones do not count; of none it is 0."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        callers, began_ms = [], []
        for _ in range(3):
            callers.append(await its.start(pod))
            began_ms.append(pod.owned.by_id[callers[-1].call_id].call.identity.created_at_ms)
            clock.leap(10)
        for caller, at_ms in zip(callers, began_ms, strict=True):
            assert pod.view.oldest_call_at_ms() == at_ms
            await lost(caller)
        assert pod.view.oldest_call_at_ms() == 0
