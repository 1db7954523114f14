"""The clock of these tests."""

from __future__ import annotations

import asyncio

from tests.runtime.clocks import LeapingClock


async def test_a_leap_wakes_whoever_slept_until_then_and_nobody_else() -> None:
    """Both clocks are ahead afterwards, and a longer sleep goes on."""
    clock = LeapingClock()
    wall_ms, monotonic_s = clock.wall_ms(), clock.monotonic_s()
    short, long = asyncio.create_task(clock.sleep(50)), asyncio.create_task(clock.sleep(70))
    await asyncio.sleep(0)
    clock.leap(60)
    await short
    assert not long.done()
    assert 60_000 <= clock.wall_ms() - wall_ms < 65_000
    assert 60 <= clock.monotonic_s() - monotonic_s < 65
    clock.leap(60)
    await long
    await clock.sleep(0.001)
