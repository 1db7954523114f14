"""What parked calls may keep in memory and in the store."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from tests.runtime.calls.test_long_messages import DrivenCall, append, driven_call, update
from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import CountingObserver, Rig, parking_of, rig
from tests.waiting import until
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.status import Status
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.call_writer import PAUSED
from voice_agent.runtime.pod.parking import MEMORY_SHARE
from voice_agent.runtime.pod.pod import Pod

MIB = 1024 * 1024


async def left(pod: Pod, size_bytes: int, **request: str) -> DrivenCall:
    """A call that was left with so much said."""
    caller = await driven_call(pod, resumable=True, **request)
    await caller.say(update(detects=False))
    if size_bytes:
        await caller.say(append(bytes(size_bytes)))
    await caller.attachment.abandon()
    return caller


def ended(*callers: DrivenCall) -> list[int]:
    """Which of them have ended."""
    return [number for number, caller in enumerate(callers) if caller.live.call.lifecycle.status is Status.ENDED]


async def test_the_largest_parked_call_of_a_key_ends_when_they_take_too_much() -> None:
    """Its resume is answered with 410; the others, and those of another key, can be resumed."""
    async with rig() as its:
        pod = await its.pod()
        callers = [await left(pod, size) for size in (2 * MIB, 3 * MIB, 2 * MIB)]
        other = await left(pod, 3 * MIB, api_key_hash="other")
        await parking_of(pod, stored_bytes=5 * MIB).enforce()
        assert ended(*callers, other) == [1]
        assert callers[1].live.call.lifecycle.outcome == "abandoned"
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "parked_bytes"] == 1
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, callers[1].attachment.call_id, 0)
        assert refused.value.status == 410
        await its.resume(pod, callers[0].attachment.call_id, 0)


async def test_small_parked_calls_never_end_for_their_number() -> None:
    """A network that fails parks many at once."""
    async with rig() as its:
        pod = await its.pod()
        callers = [await left(pod, FLOOR_BYTES // 2) for _ in range(20)]
        await parking_of(pod, stored_bytes=MIB).enforce()
        assert ended(*callers) == []


async def test_what_was_unloaded_still_counts() -> None:
    """Else a caller could fill the store with calls that the pod has let go of; when its TTL is over, no more."""
    async with rig() as its:
        clock = LeapingClock()
        pod = await its.pod(clock=clock, ttl_s=100)
        parking = parking_of(pod, stored_bytes=5 * MIB)
        first = await left(pod, 3 * MIB)
        pod.owned.budget.limit_bytes = 0
        await parking.enforce()
        assert first.attachment.call_id not in pod.owned.by_id
        pod.owned.budget.limit_bytes = 256 * MIB
        second = await left(pod, 3 * MIB)
        await parking.enforce()
        assert ended(second) == [0]
        clock.leap(101)
        third = await left(pod, 3 * MIB)
        await parking.enforce()
        assert ended(third) == []


async def test_one_that_came_back_counts_no_more() -> None:
    """It is attached, and nobody's parked call ends for it."""
    async with rig() as its:
        pod = await its.pod()
        parking = parking_of(pod, stored_bytes=5 * MIB)
        first = await left(pod, 3 * MIB)
        pod.owned.budget.limit_bytes = 0
        await parking.enforce()
        pod.owned.budget.limit_bytes = 256 * MIB
        await its.resume(pod, first.attachment.call_id, 0)
        second = await left(pod, 3 * MIB)
        await parking.enforce()
        assert ended(second) == []


async def test_parked_calls_take_a_quarter_of_the_budget_the_largest_go_first() -> None:
    """They leave the memory, not the store: each can be resumed."""
    async with rig() as its:
        pod = await its.pod()
        small, large, middle = [await left(pod, size) for size in (MIB, 3 * MIB, 2 * MIB)]
        pod.owned.budget.limit_bytes = 16 * MIB
        await parking_of(pod).enforce()
        calls = pod.owned.by_id
        assert [caller.attachment.call_id in calls for caller in (small, large, middle)] == [True, False, True]
        assert large.live.memory.holder.size_bytes == 0
        await _resumes(its, pod, large)


async def test_events_for_replay_take_their_part_of_the_quarter() -> None:
    """A caller who says little and is told much, again and again, fills no memory."""
    async with rig() as its:
        pod = await its.pod()
        callers = [await left(pod, 0) for _ in range(8)]
        for caller in callers:
            call = caller.live.call
            call.outbox.add(OutboxEntry(call.outbox.seq, b"", bytes(MIB // 2)))
        pod.owned.budget.limit_bytes = 8 * MIB
        await parking_of(pod).enforce()
        kept = [caller for caller in callers if caller.attachment.call_id in pod.owned.by_id]
        assert len(kept) == 3
        assert ended(*callers) == []


async def _resumes(its: Rig, pod: Pod, caller: DrivenCall) -> None:
    await its.resume(pod, caller.attachment.call_id, 0)
    assert len(pod.owned.by_id[caller.attachment.call_id].call.input_audio.audio) == 3 * MIB


async def test_forty_drops_of_megabytes_leave_no_more_than_the_bound() -> None:
    """Connect, say much, drop: in memory and in the store stays what one key's parked calls may take."""
    async with rig() as its:
        pod = await its.pod()
        parking = parking_of(pod, stored_bytes=4 * MIB)
        for _ in range(40):
            await left(pod, MIB)
            await parking.enforce()
        parked = [live for live in pod.owned.by_id.values() if live.call.lifecycle.status is Status.PARKED]
        assert sum(live.memory.held_bytes for live in parked) <= 4 * MIB
        assert len(parked) == 3


async def test_what_is_just_within_a_bound_stays() -> None:
    """In the store, in memory, and of the places."""
    async with rig() as its:
        pod = await its.pod()
        callers = [await left(pod, MIB) for _ in range(3)]
        held_bytes = sum(caller.live.memory.held_bytes for caller in callers)
        in_memory_bytes = held_bytes + sum(caller.live.call.outbox.size_bytes for caller in callers)
        pod.owned.budget.limit_bytes = MEMORY_SHARE * in_memory_bytes
        for capacity in (3, 4):
            pod.admission.capacity = capacity
            await parking_of(pod, stored_bytes=held_bytes).enforce()
        assert ended(*callers) == []
        assert list(pod.owned.by_id.values()) == [caller.live for caller in callers]


async def test_as_many_parked_calls_as_there_are_places_stay_in_memory() -> None:
    """Of more, those go whose callers have been away for longest."""
    async with rig() as its:
        pod = await its.pod(capacity=5)
        callers = [await left(pod, 0) for _ in range(5)]
        for number, caller in enumerate(callers):
            caller.live.call.lifecycle.left_at_ms += number
        pod.admission.capacity = 3
        await parking_of(pod).enforce()
        assert list(pod.owned.by_id.values()) == [caller.live for caller in callers[2:]]


async def test_a_call_that_is_being_taken_up_does_not_end() -> None:
    """Neither one that is waited for from the start, nor one whose caller comes back while another one ends.

    Nor does another one end for what it keeps.
    """
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        first, second, third, fourth = [await left(pod, size * MIB) for size in (6, 5, 4, 3)]
        store.claim_gate.clear()
        resumes = [asyncio.create_task(its.resume(pod, first.attachment.call_id, 0))]
        await until(lambda: first.live.writer.writes_paused)
        await parking_of(pod, stored_bytes=13 * MIB).enforce()
        assert ended(first, second, third, fourth) == []
        store.gate.clear()
        enforcing = asyncio.create_task(parking_of(pod, stored_bytes=0).enforce())
        await until(lambda: ended(second))
        third.live.call.lifecycle.status = Status.ATTACHED
        fourth.live.writer.state = PAUSED
        store.gate.set()
        await enforcing
        assert ended(first, second, third, fourth) == [1]
        fourth.live.writer.resume_writes()
        store.claim_gate.set()
        await asyncio.gather(*resumes)


async def test_small_calls_that_were_unloaded_do_not_count() -> None:
    """As those in memory: a network that fails parks many at once."""
    async with rig() as its:
        pod = await its.pod()
        parking = parking_of(pod, stored_bytes=3 * MIB)
        for _ in range(20):
            await left(pod, FLOOR_BYTES // 2)
        pod.owned.budget.limit_bytes = 0
        await parking.enforce()
        assert pod.owned.by_id == {}
        pod.owned.budget.limit_bytes = 256 * MIB
        large = await left(pod, 2 * MIB)
        await parking.enforce()
        assert ended(large) == []


async def test_a_call_that_stayed_in_memory_after_all_is_not_counted_as_unloaded() -> None:
    """Its caller came back just then and hung up: what it kept is gone."""
    async with rig() as its:
        pod = await its.pod()
        parking = parking_of(pod, stored_bytes=5 * MIB)
        first = await left(pod, 3 * MIB)
        pod.owned.budget.limit_bytes = 0
        with patch.object(pod.owned, "unload"):
            await parking.enforce()
        pod.owned.budget.limit_bytes = 256 * MIB
        first.live.finish("hangup")
        second = await left(pod, 3 * MIB)
        await parking.enforce()
        assert ended(second) == []


async def test_calls_that_shrink_while_others_are_unloaded_do_no_harm() -> None:
    """A client may acknowledge, and a write cut the outbox, at any moment."""
    async with rig() as its:
        pod = await its.pod()
        callers = [await left(pod, 0) for _ in range(2)]
        for caller in callers:
            caller.live.call.outbox.add(OutboxEntry(1, b"", bytes(MIB // 2)))
        unload, unloaded = pod.owned.unload, list[LiveCall]()

        async def unload_and_shrink(live: LiveCall) -> None:
            await unload(live)
            unloaded.append(live)
            for caller in callers:
                caller.live.call.outbox.clear()

        pod.owned.budget.limit_bytes = 0
        with patch.object(pod.owned, "unload", unload_and_shrink):
            await parking_of(pod).enforce()
        assert {live.call.call_id for live in unloaded} == {caller.attachment.call_id for caller in callers}
