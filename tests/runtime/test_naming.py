"""Pods that were given one name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from app.errors import StoreUnavailable
from app.runtime.naming import RESERVED_S, OwnName
from app.stores.base import PodBeat
from app.stores.memory import MemoryStore


def randomness() -> Callable[[int], bytes]:
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def beat(name: str) -> PodBeat:
    return PodBeat(name, "blue", "1", "ok", 0, 0, 10, 0, 0)


async def test_of_two_pods_that_start_at_once_one_gets_another_name() -> None:
    """Before either has shown a heartbeat."""
    store = MemoryStore(ttl_s=60)
    random_bytes = randomness()
    assert await OwnName(store, b"a", random_bytes).choose("node7-1") == "node7-1"
    assert await OwnName(store, b"b", random_bytes).choose("node7-1") == "node7-1-000001"
    assert await OwnName(store, b"c", random_bytes).choose("node7-2") == "node7-2"


async def test_the_name_of_a_living_pod_is_taken() -> None:
    """However long ago that one started."""
    store = MemoryStore(ttl_s=60)
    await store.beat(beat("node7-1"), ttl_s=7)
    assert await OwnName(store, b"b", randomness()).choose("node7-1") == "node7-1-000001"


async def test_a_pod_that_left_leaves_its_name() -> None:
    """A restart under the same name keeps it."""
    store = MemoryStore(ttl_s=60)
    first = OwnName(store, b"a", randomness())
    await first.choose("node7-1")
    await first.give_back()
    assert await OwnName(store, b"b", randomness()).choose("node7-1") == "node7-1"


async def test_a_name_that_was_never_used_is_free_again() -> None:
    """A pod that died while it started keeps its name for ten seconds."""
    now_s = [0.0]
    store = MemoryStore(ttl_s=60, now_s=lambda: now_s[0])
    await OwnName(store, b"a", randomness()).choose("node7-1")
    now_s[0] = RESERVED_S + 0.1
    assert await OwnName(store, b"b", randomness()).choose("node7-1") == "node7-1"


async def test_workers_of_two_hosts_do_not_share_a_name() -> None:
    """One name for all workers of a host, chosen so that each of theirs is free."""
    store = MemoryStore(ttl_s=60)
    await store.beat(beat("host-2"), ttl_s=7)
    name = await OwnName(store, b"a", randomness()).choose("host", lambda name: [f"{name}-1", f"{name}-2"])
    assert name == "host-000001"


async def test_without_a_store_the_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod starts all the same."""
    store = MemoryStore(ttl_s=60)

    async def away() -> list[PodBeat]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "pods", away)
    assert await OwnName(store, b"a", randomness()).choose("node7-1") == "node7-1"
