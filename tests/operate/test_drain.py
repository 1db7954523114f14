"""What a look at the fleet proves about a drain, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from voice_agent.call.drain import DrainMode
from voice_agent.errors import StoreUnavailable
from voice_agent.operate.drain import GONE_S, LOOK_S, ColorDrain, DrainWatch, drain_color
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.stores.base import DrainRequest, PodHeartbeat
from voice_agent.stores.memory import MemoryStore

HEARTBEAT_MS = 2000


class SteppedClock:
    """Sleeping moves it; `meanwhile` is called after each sleep, with how many there were."""

    def __init__(self, meanwhile: Callable[[int], None] = lambda sleeps: None) -> None:
        self.now_s = 100.0
        self.sleeps = 0
        self.meanwhile = meanwhile

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now_s += seconds
        self.sleeps += 1
        self.meanwhile(self.sleeps)


class ShownStore(MemoryStore):
    """Shows the heartbeats that a test says, or fails."""

    def __init__(self, *heartbeats: PodHeartbeat) -> None:
        super().__init__(ttl_s=60)
        self.heartbeats = list(heartbeats)
        self.silent = False

    async def pods(self) -> list[PodHeartbeat]:
        if self.silent:
            raise StoreUnavailable("no answer")
        return self.heartbeats


def heartbeat(name: str, active: int = 0, *, status: str = "ok", color: str = "blue", at_ms: int = 0) -> PodHeartbeat:
    return PodHeartbeat(name, color, "1", status, active, 0, 10, 0, at_ms)


def obeying(pod: PodHeartbeat, active: int = 0) -> PodHeartbeat:
    """Its next heartbeat."""
    return replace(pod, status="draining", active_calls=active, heartbeat_at_ms=pod.heartbeat_at_ms + HEARTBEAT_MS)


def test_a_color_is_drained_when_its_last_pod_says_so() -> None:
    """One pod without calls is not enough, nor is another color's."""
    one, two = heartbeat("one", 1), heartbeat("two", 2)
    watch = DrainWatch("blue", Fleet([one, two, heartbeat("other", 5, color="green")]))
    assert (watch.drained, watch.active_calls) == (False, 3)
    watch.look(Fleet([obeying(one), obeying(two, 1)]), 1)
    assert (watch.drained, watch.active_calls) == (False, 1)
    watch.look(Fleet([obeying(one), obeying(obeying(two))]), 2)
    assert (watch.drained, watch.active_calls, watch.gone) == (True, 0, [])


def test_a_heartbeat_from_before_the_request_proves_nothing() -> None:
    """It may still show a drain that was cancelled since; a pod without calls that takes new ones is not drained."""
    stale = heartbeat("one", status="draining")
    watch = DrainWatch("blue", Fleet([stale]))
    watch.look(Fleet([stale]), 1)
    assert not watch.drained
    watch.look(Fleet([replace(stale, status="ok", heartbeat_at_ms=HEARTBEAT_MS)]), 2)
    assert not watch.drained
    watch.look(Fleet([obeying(stale)]), 3)
    assert watch.drained


def test_a_pod_that_starts_meanwhile_is_waited_for() -> None:
    """It may have taken calls before it knew of the request."""
    one, late = heartbeat("one"), heartbeat("late", 1, at_ms=500)
    watch = DrainWatch("blue", Fleet([one]))
    watch.look(Fleet([obeying(one), late]), 1)
    assert not watch.drained
    watch.look(Fleet([obeying(one), obeying(late)]), 3)
    assert watch.drained


def test_a_pod_that_left_counts_as_gone_only_after_a_while() -> None:
    """A store that lost its memory shows nobody until each pod's next heartbeat: that is not an empty color."""
    one = heartbeat("one", 3)
    watch = DrainWatch("blue", Fleet([one]))
    watch.look(Fleet([]), 10)
    watch.look(Fleet([]), 10 + GONE_S - 0.1)
    assert not watch.drained
    watch.look(Fleet([obeying(one, 3)]), 10 + GONE_S)
    watch.look(Fleet([]), 20)
    assert not watch.drained
    watch.look_failed()
    watch.look(Fleet([]), 20 + GONE_S)
    assert not watch.drained
    watch.look(Fleet([]), 20 + 2 * GONE_S)
    assert (watch.drained, watch.gone, watch.active_calls) == (True, ["one"], 0)


async def test_a_color_without_pods_cannot_be_drained() -> None:
    """Nor is anything requested of it, which would surprise the next pod that starts; the error says who is there."""
    store = ShownStore(heartbeat("one"), heartbeat("two"), heartbeat("three", color="green"))
    words = r"^there is no purple pod to drain; there is: blue \(2 pods\), green \(1 pod\)\.$"
    for wait in (False, True):
        with pytest.raises(FleetError, match=words):
            await drain_color(store, "purple", DrainMode.HANDOFF, 5, SteppedClock(), wait=wait)
    assert await store.drain_request("purple") is None
    with pytest.raises(FleetError, match="no pod at all"):
        await drain_color(ShownStore(), "blue", DrainMode.HANDOFF, 5, SteppedClock(), wait=True)


async def test_asking_is_told_as_asking() -> None:
    """Before a heartbeat nothing is known to drain, in JSON neither."""
    store = ShownStore(heartbeat("one", 2, status="draining"), heartbeat("two"))
    asked = await drain_color(store, "blue", DrainMode.FINISH, 5, SteppedClock())
    assert await store.drain_request("blue") == DrainRequest("finish", 5, 100_000)
    assert (asked.draining, asked.drained, asked.active_calls, asked.asked) == (False, False, 2, ("one", "two"))
    assert str(asked).startswith("asked 2 blue pods to drain: finish, at most 5 s; pods act within 2 s")


async def test_waiting_outlasts_a_silence_of_the_store() -> None:
    """A failover in the middle of a drain ends neither, nor does it make a pod gone that could not be seen."""
    one = heartbeat("one", 1)
    store = ShownStore(one)

    def meanwhile(sleeps: int) -> None:
        store.silent = 2 <= sleeps <= 2 + GONE_S / LOOK_S
        store.heartbeats = [obeying(one)] if sleeps == 5 + GONE_S / LOOK_S else []

    done = await drain_color(store, "blue", DrainMode.HANDOFF, 60, SteppedClock(meanwhile), wait=True)
    assert (done.draining, done.drained, done.active_calls, done.gone) == (True, True, 0, ())
    assert str(done) == "blue is drained."


async def test_a_pod_that_vanishes_during_the_wait_is_named() -> None:
    """Killed or retired, it has no call any more, but whoever reads the result should know."""
    one, two = heartbeat("one", 1), heartbeat("two")
    store = ShownStore(one, two)

    def meanwhile(sleeps: int) -> None:
        store.heartbeats = [obeying(two)]

    clock = SteppedClock(meanwhile)
    done = await drain_color(store, "blue", DrainMode.HANDOFF, 60, clock, wait=True)
    assert (done.drained, done.gone, str(done)) == (True, ("one",), "blue is drained; gone meanwhile: one.")
    assert clock.sleeps >= GONE_S / LOOK_S


async def test_a_pod_that_left_without_a_call_is_drained() -> None:
    """Its last heartbeat says so: it is neither waited for nor told as gone."""
    one = heartbeat("one", 1)
    store = ShownStore(one)

    def meanwhile(sleeps: int) -> None:
        store.heartbeats = (
            [replace(obeying(one), status="left")] if sleeps == 2 else store.heartbeats if sleeps < 2 else []
        )

    done = await drain_color(store, "blue", DrainMode.HANDOFF, 60, SteppedClock(meanwhile), wait=True)
    assert (done.drained, done.gone) == (True, ())


async def test_a_wait_ends_when_the_drain_is_cancelled() -> None:
    """There is nothing left to wait for, and it must not look like success."""
    store = ShownStore(heartbeat("one", 1))
    cancelling: list[asyncio.Task[None]] = []

    def meanwhile(sleeps: int) -> None:
        cancelling.append(asyncio.ensure_future(store.request_drain("blue", None)))

    with pytest.raises(FleetError, match="no longer asked to drain"):
        await drain_color(store, "blue", DrainMode.HANDOFF, 60, SteppedClock(meanwhile), wait=True)
    await asyncio.gather(*cancelling)


def test_a_pods_drain_says_how_many_calls_are_left() -> None:
    """And is drained when there are none, waited for or not."""
    left = ColorDrain("http://pod", "handoff", 600, draining=True, drained=False, active_calls=1)
    assert str(left) == "http://pod is draining: handoff, at most 600 s; 1 call left."
    assert str(replace(left, drained=True, active_calls=0)) == "http://pod is drained."
