"""Conversations with a real pod."""

from __future__ import annotations

import pytest

from loadtest.peers.contenders import TALK, chosen
from loadtest.peers.environment import opened
from loadtest.peers.talking import run_talk


@pytest.mark.slow
async def test_every_turn_is_answered_by_its_own_audio() -> None:
    """With turn detection, a store and all that is the default; the CPU of both is seen."""
    contender = next(one for one in chosen([TALK]) if one.name == TALK)
    async with opened() as environment:
        server = await environment.start(contender)
        seen = await run_talk(server, environment.store, 4, 4.0)
    assert (seen.wrong, seen.missing, seen.lost) == (0, 0, 0)
    assert seen.replies >= 1
    assert seen.us_per_frame > 1
    assert seen.store_us is not None
    assert seen.events > 40
