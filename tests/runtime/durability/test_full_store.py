"""A store that is full: one pause at most, no stutter, no call lost, and take-overs work."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore, until
from tests.runtime.rig import TYPED, CountingObserver, rig
from voice_agent.errors import ConnectionRefused, StoreRefused, StoreUnavailable
from voice_agent.runtime.durability.write_back import ASK_S, MAX_PROBE_S, PROBE_S
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.base import Claim, Claimed


def state(pod: Pod) -> str:
    """What health says of the store."""
    return pod.status().store


async def test_a_store_that_says_that_it_is_full_is_taken_at_its_word() -> None:
    """Asked once and not waited for; the events go out from memory, and later ones do not ask it at all."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=LeapingClock())
        caller = await its.start(pod)
        await caller.greeting()
        store.is_full = True
        for number in range(1, 10):
            caller.transport.say(TYPED)
            await caller.transport.event("conversation.item.done", number)
        assert (pod.status().status, state(pod)) == ("degraded", "memory:full")
        assert len(store.found_full) == 1
        assert pod.observer.counts["limit_reached", "store_full"] == 1  # type: ignore[attr-defined]
        store.is_full = False
        await until(lambda: state(pod) == "memory:ok")
        held = await store.load(caller.call_id)
        assert held is not None
        assert [f"evt_{entry.n}" for entry in held.outbox] == caller.transport.ids


async def test_it_counts_as_back_only_after_a_write_that_needs_memory() -> None:
    """Answers to a ping, to questions and to ends of calls prove nothing. Tried with pauses that grow, told twice."""
    store, clock = FaultyStore(), LeapingClock()
    with capture_logs() as logs:
        async with rig(store) as its:
            pod = await its.pod(clock=clock)
            callers = [await its.start(pod) for _ in range(2)]
            store.is_full = True
            for caller in callers:
                caller.transport.say(TYPED)
            await until(lambda: state(pod) == "memory:full")
            await callers[0].gone(1000)
            pauses = await _pauses(pod, store, clock)
            assert pauses == sorted(pauses)
            assert pauses[-1] == MAX_PROBE_S
            held = await store.load(callers[0].call_id)
            assert held is not None
            assert held.fields["status"] == b"ended"
            assert state(pod) == "memory:full"
            store.is_full = False
            clock.leap(MAX_PROBE_S)
            await until(lambda: state(pod) == "memory:ok")
    told = [line["event"] for line in logs if line["event"].startswith("store ")]
    assert told == ["store given up for now", "store is back; every call is written"]


async def _pauses(pod: Pod, store: FaultyStore, clock: LeapingClock) -> list[float]:
    """Between tries of a write, each found by letting just that much time pass."""
    back, pauses = pod.committer.write_back, []
    for _ in range(6):
        before = len(store.found_full)
        due_s: float = back._next_probe_s
        clock.leap(max(0.0, due_s - clock.monotonic_s()) + PROBE_S)
        await until(lambda: back._next_probe_s > due_s)  # noqa: B023 - waited for within the loop
        assert len(store.found_full) == before + 1
        pauses.append(back._probe_s)
    return pauses


async def test_a_pod_without_calls_learns_that_there_is_room_again() -> None:
    """Nobody writes, so the store is asked how full it is."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=LeapingClock())
        caller = await its.start(pod)
        store.is_full = True
        caller.transport.say(TYPED)
        await until(lambda: state(pod) == "memory:full")
        await caller.gone(1000)
        store.is_full = False
        await until(lambda: state(pod) == "memory:ok")


async def test_a_full_store_hands_calls_over_and_the_owner_before_learns_of_it() -> None:
    """It takes claims and erasures; a pod that goes on from memory must not speak on a call that is not its own."""
    store = FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue", clock=LeapingClock()), await its.pod("green", color="green")
        callers = [await its.start(blue) for _ in range(2)]
        store.is_full = True
        for caller in callers:
            caller.transport.say(TYPED)
            await caller.transport.event("conversation.item.done")
        blue.committer.write_back._next_probe_s = float("inf")  # It learns by asking, not by trying to write.
        moved = await its.resume(green, callers[0].call_id, 0)
        await callers[0].transport.until(lambda it: it.closed)
        assert callers[0].transport.closed is not None
        assert callers[0].transport.closed[0] == 4409
        assert await green.erase(callers[1].call_id)
        await callers[1].transport.until(lambda it: it.closed)
        assert callers[1].transport.closed is not None
        assert callers[1].transport.closed[0] == 4410
        assert moved.transport.closed is None


async def test_a_new_call_begins_and_ends_while_the_store_is_full() -> None:
    """From memory, as in an outage; its end is kept once there is room."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=LeapingClock())
        store.is_full = True
        caller = await its.start(pod)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        await caller.gone(1000)
        store.is_full = False
        await until(lambda: state(pod) == "memory:ok")
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, caller.call_id)
        assert refused.value.status == 410


async def test_one_call_whose_write_is_rejected_is_that_calls_trouble_alone() -> None:
    """It goes on from memory; the store is not given up for the others, and the call is written once it can be."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        callers = [await its.start(pod) for _ in range(2)]
        store.rejects.add(callers[0].call_id)
        for caller in callers:
            caller.transport.say(TYPED)
            await caller.transport.event("conversation.item.done")
        assert not pod.committer.degraded
        assert state(pod) == "memory:degraded"
        assert await _items(store, callers[1].call_id) == 1
        assert await _items(store, callers[0].call_id) == 0
        store.rejects.clear()
        await until(lambda: state(pod) == "memory:ok")
        assert await _items(store, callers[0].call_id) == 1


async def test_a_call_whose_write_is_rejected_is_not_tried_with_whatever_comes_next() -> None:
    """All of it would be sent again and again; meanwhile its owner learns all the same that another pod has it."""
    store, clock = FaultyStore(), LeapingClock()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        store.rejects.add(caller.call_id)
        said = 0

        async def talk() -> None:
            nonlocal said
            for _ in range(10):
                said += 1
                caller.transport.say(TYPED)
                await caller.transport.event("conversation.item.done", said)

        await talk()
        assert isinstance(pod.observer, CountingObserver)
        tries = pod.observer.counts["store_failed", "commit"]
        assert tries < 5
        for pauses in range(1, 8):
            clock.leap(MAX_PROBE_S + 0.1)
            await until(lambda at=tries + pauses: pod.observer.counts["store_failed", "commit"] >= at)
            await talk()
        assert pod.observer.counts["store_failed", "commit"] == tries + 7
        store.rejects.clear()
        taken = await store.claim(Claim(caller.call_id, "pod-b", "green", 5, name="other"))
        assert isinstance(taken, Claimed)
        clock.leap(ASK_S)
        assert (await caller.transport.until(lambda it: it.closed))[0] == 4409


async def _items(store: FaultyStore, call_id: str) -> int:
    held: Any = await store.load(call_id)
    return len(held.items)


async def test_a_store_that_refuses_this_pod_is_told_apart_and_taken_at_its_word() -> None:
    """A wrong password is no outage that passes by itself; whoever is on duty must see which of them it is."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=LeapingClock())
        caller = await its.start(pod)
        for failure, told in (
            (StoreRefused("no permission"), "refused (no permission)"),
            (StoreUnavailable("gone"), "unreachable"),
        ):
            store.failure, store.is_away = failure, True
            caller.transport.say(TYPED)
            await until(lambda told=told: state(pod) == f"memory:{told}")
            store.is_away = False
            await until(lambda: state(pod) == "memory:ok")
