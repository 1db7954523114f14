"""When callers were last sent to a pod, as it tells the fleet."""

from __future__ import annotations

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import rig
from tests.waiting import PATIENCE_S
from voice_agent.runtime.ports import Arrival
from voice_agent.stores.memory import MemoryStore

LONG_S = 1_000_000
"""Longer than anything takes, by so much that a thousandth of it shows."""


@pytest.mark.parametrize("store_ms", [None, 5e12])
async def test_when_calls_were_taken_is_told_by_the_stores_clock(store_ms: float | None) -> None:
    """Of a store without one by the pod's; never is 0."""

    class DatedStore(MemoryStore):
        def wall_ms(self) -> float | None:
            return store_ms

    clock = LeapingClock()
    async with rig(DatedStore(ttl_s=60)) as its:
        pod = await its.pod(clock=clock)
        assert (pod.connector.arrivals.took_call_at_ms(), pod.connector.arrivals.forwarded_call_at_ms()) == (0, 0)
        await its.start(pod, arrival=Arrival.FORWARDED)
        clock.leap(LONG_S)
        now_ms = store_ms or clock.wall_ms()
        for at_ms in (pod.connector.arrivals.took_call_at_ms(), pod.connector.arrivals.forwarded_call_at_ms()):
            assert 0 <= now_ms - at_ms - 1000 * LONG_S <= 1000 * PATIENCE_S


@pytest.mark.parametrize(
    ("arrival", "took", "forwarded"),
    [(Arrival.ASKED_FOR, False, False), (Arrival.DIRECT, True, False), (Arrival.FORWARDED, True, True)],
)
async def test_a_resume_shows_where_callers_are_sent_as_a_new_call_does(
    arrival: Arrival, took: bool, forwarded: bool
) -> None:
    """Unless it asks for its color; only what a proxy handed on was surely sent."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green")
        caller = await its.start(blue, resumable=True, arrival=arrival)
        await its.resume(green, caller.call_id, 0, arrival=arrival)
        for pod in (blue, green):
            assert (
                pod.connector.arrivals.took_call_at_ms() > 0,
                pod.connector.arrivals.forwarded_call_at_ms() > 0,
            ) == (took, forwarded)
