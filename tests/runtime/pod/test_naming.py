"""Pods that were given one name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import pytest
from structlog.testing import capture_logs

from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.naming import LONGEST_WAIT_S, RESERVED_S, OwnName
from voice_agent.stores.base import PodHeartbeat
from voice_agent.stores.memory import MemoryStore


def randomness() -> Callable[[int], bytes]:
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def heartbeat(name: str, at_ms: int = 0) -> PodHeartbeat:
    return PodHeartbeat(name, "blue", "1", "ok", 0, 0, 10, 0, at_ms)


class StoppedClock(SystemClock):
    """Time that passes while somebody sleeps, and what happens then."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.happens: Callable[[], Awaitable[object]] | None = None

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.happens is not None:
            await self.happens()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(clock: StoppedClock) -> MemoryStore:
    return MemoryStore(ttl_s=60, now_s=clock.monotonic_s)


async def test_of_two_pods_that_start_at_once_one_gets_another_name(store: MemoryStore, clock: StoppedClock) -> None:
    """As soon as the first has shown a heartbeat."""
    random_bytes = randomness()
    assert await OwnName(store, b"a", random_bytes, clock).choose("node7-1") == "node7-1"
    clock.happens = lambda: store.heartbeat(heartbeat("node7-1"), ttl_s=7)
    assert await OwnName(store, b"b", random_bytes, clock).choose("node7-1") == "node7-1-000001"
    assert clock.now_s < 1
    assert await OwnName(store, b"c", random_bytes, clock).choose("node7-2") == "node7-2"


async def test_the_name_of_a_living_pod_is_taken(store: MemoryStore, clock: StoppedClock) -> None:
    """However long ago that one started: its next heartbeat says so."""
    await store.heartbeat(heartbeat("node7-1"), ttl_s=7)
    clock.happens = lambda: store.heartbeat(heartbeat("node7-1", int(clock.now_s)), ttl_s=7)
    assert await OwnName(store, b"b", randomness(), clock).choose("node7-1") == "node7-1-000001"
    assert clock.now_s < 3


async def test_a_pod_that_was_killed_gets_its_name_again(store: MemoryStore, clock: StoppedClock) -> None:
    """Once its former heartbeat has run out, also if it had just been started."""
    assert await OwnName(store, b"a", randomness(), clock).choose("node7-1") == "node7-1"
    await store.heartbeat(heartbeat("node7-1"), ttl_s=7)
    assert await OwnName(store, b"b", randomness(), clock).choose("node7-1") == "node7-1"
    assert clock.now_s <= RESERVED_S + 1


async def test_a_pod_that_left_leaves_its_name(store: MemoryStore, clock: StoppedClock) -> None:
    """A restart under the same name keeps it, at once."""
    first = OwnName(store, b"a", randomness(), clock)
    await first.choose("node7-1")
    await store.heartbeat(replace(heartbeat("node7-1"), status="left"), ttl_s=5)
    await first.give_back()
    assert await OwnName(store, b"b", randomness(), clock).choose("node7-1") == "node7-1"
    assert clock.now_s == 0


async def test_workers_of_two_hosts_do_not_share_a_name(store: MemoryStore, clock: StoppedClock) -> None:
    """One name for all workers of a host, chosen so that each of theirs is free."""
    clock.happens = lambda: store.heartbeat(heartbeat("host-2", int(clock.now_s * 4)), ttl_s=7)
    await clock.happens()
    name = await OwnName(store, b"a", randomness(), clock).choose("host", lambda name: [f"{name}-1", f"{name}-2"])
    assert name == "host-000001"


async def test_without_a_store_the_name_stays(
    store: MemoryStore, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod starts all the same."""

    async def away() -> list[PodHeartbeat]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "pods", away)
    assert await OwnName(store, b"a", randomness(), clock).choose("node7-1") == "node7-1"


async def test_a_name_that_was_made_up_is_kept_for_its_pod_and_told(store: MemoryStore, clock: StoppedClock) -> None:
    """Until that has shown a heartbeat, or has left; nothing is said of a pod that got the name it wanted."""
    await store.heartbeat(heartbeat("node7-1"), ttl_s=7)
    clock.happens = lambda: store.heartbeat(heartbeat("node7-1", int(clock.now_s * 4)), ttl_s=7)
    second = OwnName(store, b"b", randomness(), clock)
    with capture_logs() as lines:
        assert await second.choose("node7-1") == "node7-1-000001"
        assert await OwnName(store, b"c", randomness(), clock).choose("node7-2") == "node7-2"
    assert [(line["wanted"], line["taken"]) for line in lines] == [("node7-1", "node7-1-000001")]
    assert await store.get("name:node7-1-000001") == b"b"
    await second.give_back()
    assert await store.get("name:node7-1-000001") is None


async def test_a_pod_waits_so_long_for_a_name_and_no_longer(store: MemoryStore, clock: StoppedClock) -> None:
    """Its holder gives no sign of life, and yet its heartbeat does not run out: it is not this pod's to take."""
    await store.heartbeat(heartbeat("node7-1"), ttl_s=3600)
    assert await OwnName(store, b"b", randomness(), clock).choose("node7-1") == "node7-1-000001"
    assert clock.now_s == LONGEST_WAIT_S


async def test_one_worker_that_lives_is_enough(store: MemoryStore, clock: StoppedClock) -> None:
    """Of two whose heartbeats are there, one was killed: the names are taken as soon as the other one sends its own."""
    for number in (1, 2):
        await store.heartbeat(heartbeat(f"host-{number}"), ttl_s=60)
    clock.happens = lambda: store.heartbeat(heartbeat("host-2", int(clock.now_s * 4)), ttl_s=60)
    name = await OwnName(store, b"a", randomness(), clock).choose("host", lambda name: [f"{name}-1", f"{name}-2"])
    assert name == "host-000001"
    assert clock.now_s < 1


async def test_a_name_that_cannot_be_given_back_runs_out(
    store: MemoryStore, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod leaves all the same."""

    async def away(name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        raise StoreUnavailable("away")

    own = OwnName(store, b"a", randomness(), clock)
    assert await own.choose("node7-1") == "node7-1"
    with monkeypatch.context() as patched:
        patched.setattr(store, "compare_and_set", away)
        await own.give_back()
    assert await store.get("name:node7-1") == b"a"
    clock.now_s += RESERVED_S
    assert await store.get("name:node7-1") is None
