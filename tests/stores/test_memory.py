"""The store in memory, by a clock of the test's."""

from __future__ import annotations

import pytest

from app.stores.base import PodBeat
from app.stores.memory import MemoryStore


@pytest.mark.parametrize(("now_s", "is_there"), [(6.99, True), (7.0, False)])
async def test_a_heartbeat_lasts_so_long_and_no_longer(now_s: float, is_there: bool) -> None:
    """A pod whose time is over is none."""
    clock = [0.0]
    store = MemoryStore(ttl_s=60, now_s=lambda: clock[0])
    beat = PodBeat("a", "blue", "1", "ok", 0, 0, 1, started_at_ms=0, beat_at_ms=0)
    await store.beat(beat, ttl_s=7)
    clock[0] = now_s
    await store.beat(PodBeat("b", "blue", "1", "ok", 0, 0, 1, started_at_ms=0, beat_at_ms=0), ttl_s=7)
    assert [pod.name for pod in await store.pods()] == (["a", "b"] if is_there else ["b"])
