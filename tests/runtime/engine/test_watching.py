"""What an agent does in a task of its own is its doing, too. Of `kit.watching`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from tests.runtime.alone import alone
from tests.runtime.engine.agents import Acting
from tests.runtime.engine.crashes import engine_call, settled
from tests.runtime.engine.test_agent_run import begun, when
from voice_agent.agents.tools.running import run_tool
from voice_agent.call.inputs import CreateResponse
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.kit.tools import Tool
from voice_agent.kit.watching import watched
from voice_agent.runtime.engine.agent_steps import BLOCKED_S


async def test_a_tool_that_blocks_the_event_loop_is_told_of_as_its_agents_doing() -> None:
    """Although it runs in a task of its own, so that it can be given up."""
    async with alone(engine_call(), Acting(when(Asked, lambda call: _blocked(call)))) as its:

        class Blocking(Tool):
            async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
                its.clock.now_s += BLOCKED_S
                await asyncio.sleep(0)

        blocking = Blocking(name="blocking", parameters={"type": "object"})

        async def _blocked(call: Call) -> None:
            assert await run_tool(call, blocking, "1", "{}") == "null"
            async with call.speak():
                pass

        await begun(its)
        with capture_logs() as logs:
            its.live.feed(CreateResponse({}))
            await settled(its)
        assert [line["agent"] for line in logs if "blocks the event loop" in line["event"]] == ["acting"]
        assert its.observer.counts["agent_fault", "blocked"] == 1


async def test_where_nobody_watches_the_work_is_the_work() -> None:
    """As in a test of a tool by itself."""
    work = asyncio.sleep(0, "done")
    assert watched(work) is work
    assert await work == "done"
