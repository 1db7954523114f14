"""When a client was heard from last."""

from __future__ import annotations

from tests.runtime.alone import alone


async def test_who_has_said_nothing() -> None:
    """Since the upgrade, whether somebody has looked meanwhile or not."""
    async with alone() as its:
        its.attach()
        assert its.live.activity.has_sent_nothing
        its.live.activity.has_sent = True
        assert not its.live.activity.has_sent_nothing
        its.live.activity.has_sent = False
        its.live.activity.heard_at_s += 1
        assert not its.live.activity.has_sent_nothing
