"""Which of several addresses a caller's pod is asked for at."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from voice_agent.edge.dialing import Answered, Dialer, PodUnreachable, UpgradeRequest

DEAD, ALIVE = "ws://dead:1", "ws://alive:1"
ANSWERED = cast("Answered", object())


class HalfDead(Dialer):
    """One of its addresses does not answer."""

    async def _dial(self, address: str, *_: Any) -> Answered:
        await asyncio.sleep(0)
        if address == DEAD:
            raise PodUnreachable(address)
        return ANSWERED


async def test_callers_at_once_each_find_the_address_that_answers() -> None:
    """Though they take turns, none of them asks the other one twice."""
    dialer = HalfDead((DEAD, ALIVE))
    request = UpgradeRequest("/v1/realtime", [], [])
    found = await asyncio.gather(*(dialer.dial_any(request) for _ in range(8)), return_exceptions=True)
    assert found == [ANSWERED] * 8
