"""A cutover over machines whose clocks differ by hours, the tool's own included.

Tests of `sources.fleet`, too.
"""

from __future__ import annotations

from tests.operate.simulated import RecordingReporter, SimRouter
from tests.runtime.pod.test_mixed_clocks import HOURS_MS, wrong
from tests.runtime.rig import rig
from voice_agent.operate.context import Context
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.plan import Options, Step
from voice_agent.operate.runner import Runner
from voice_agent.operate.sources.fleet import FleetWatch
from voice_agent.runtime.clock import SystemClock
from voice_agent.stores.redis import RedisStore

OPTIONS = Options(hold_s=0.5, buffer_s=1, drain_deadline_s=20, watch_deadline_s=60)


class WrongClock(SystemClock):
    """Of a tool's machine that is an hour behind."""

    def wall_ms(self) -> int:
        return super().wall_ms() - HOURS_MS


async def test_clocks_that_are_wrong_stop_no_cutover_and_lose_no_caller(redis_url: str) -> None:
    """Blue is two hours behind and green two ahead: every pod is seen, blue's caller is handed off, nobody is lost."""
    store = RedisStore(redis_url, ttl_s=60)
    await store.open()
    try:
        async with rig(store) as its:
            blue = await its.pod("blue-1", "blue", clock=wrong(-2 * HOURS_MS))
            await its.pod("green-1", "green", clock=wrong(2 * HOURS_MS))
            caller = await its.start(blue, resumable=True)
            clock, reporter = WrongClock(), RecordingReporter()

            async def smoke(color: str) -> str:
                return f"{color} answers"

            context = Context(SimRouter(), FleetWatch(store, clock), store, smoke, clock, reporter)
            progress = await Runner(context, OPTIONS, ErrorBudget()).run("green")
            assert (progress.step, progress.exit, progress.reason) == (Step.DONE, 0, "")
            assert "blue has 1 call: all can resume" in reporter.said_lines
            await caller.task
            assert caller.transport.closed is not None
            assert caller.transport.closed[0] == 1012
    finally:
        await store.close()
