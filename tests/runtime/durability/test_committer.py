"""Writing rounds: what becomes of calls while the store is away, and when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from unittest.mock import patch

import pytest

from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import TYPED, Caller, CountingObserver, rig
from tests.runtime.writers import OneCall
from tests.waiting import until
from voice_agent.call import machine
from voice_agent.call.changes import CallWrite
from voice_agent.call.codec import SAID
from voice_agent.call.writes import take_write
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability import write_back
from voice_agent.runtime.durability.committer import LONGEST_TICK_S, SPREAD, TICK_S, Committer
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore


@asynccontextmanager
async def talking(
    count: int = 1, store: FaultyStore | None = None
) -> AsyncIterator[tuple[FaultyStore, Pod, list[Caller]]]:
    """A pod on a store that fails when it is told to, and so many callers who have been greeted."""
    store = store or FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        callers = [await its.start(pod) for _ in range(count)]
        await asyncio.gather(*(caller.greeting() for caller in callers))
        yield store, pod, callers


async def test_a_call_that_ended_in_an_outage_is_written_as_ended() -> None:
    """Nobody has it in a list any more; resumed later, it would go on after its caller had hung up."""
    async with talking() as (store, pod, [caller]):
        store.is_away = True
        caller.transport.say(TYPED)
        await until(lambda: pod.committer.degraded)
        await caller.gone(1000)
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["status"] == b"ended"
        assert len(held.items) == 2
        assert SAID in held.items


async def test_a_store_that_answers_and_takes_no_writes_is_not_back() -> None:
    """After a failover a master may refuse writes for a while: until it takes one, calls go on from memory."""
    async with talking() as (store, pod, [caller]):
        store.is_locked = True
        for number in range(1, 4):
            caller.transport.say(TYPED)
            await caller.transport.event("conversation.item.done", number)
        await until(lambda: pod.committer.degraded)
        with patch.object(store, "ping", wraps=store.ping) as ping:
            caller.transport.say(TYPED)
            await caller.transport.event("conversation.item.done", 4)
            assert pod.status().status == "degraded"
            assert not ping.called
        store.is_locked = False
        await until(lambda: not pod.committer.write_back.is_behind)
        assert pod.status().status == "ok"
        held = await store.load(caller.call_id)
        assert held is not None
        assert [f"evt_{entry.n}" for entry in held.outbox] == caller.transport.ids


async def test_health_says_degraded_until_the_last_call_is_written_back() -> None:
    """Whoever waits for a healthy pod before he kills one must not be told so while something is in memory alone."""
    async with talking(12) as (store, pod, callers):
        for caller in callers:
            live = pod.owned.by_id[caller.call_id]
            live.call.outbox.emit({"type": "heavy"}, bytes(900_000))
            await live.writer.wait_durable()
        store.is_away = True
        callers[0].transport.say(TYPED)
        await until(lambda: pod.committer.degraded)
        store.rounds.clear()
        store.is_away = False
        await until(lambda: pod.status().status == "ok")
        for caller in callers:
            held = await store.load(caller.call_id)
            assert held is not None
            assert held.outbox[-1].n == pod.owned.by_id[caller.call_id].call.outbox.seq
        most = max(store.rounds)
        assert most <= MAX_ROUND_BYTES // 900_000 + 1


async def test_an_outage_costs_no_work_for_what_is_never_written() -> None:
    """A write of a whole long call for each of its events would stall the pod just when it has enough to do."""
    async with talking() as (store, pod, [caller]):
        store.is_away = True
        caller.transport.say(TYPED)
        await until(lambda: pod.committer.degraded)
        with (
            patch("voice_agent.call.durability.take_write", wraps=take_write) as made,
            patch.object(pod.committer.write_back, "write_some", return_value=False),
        ):
            for number in range(2, 30):
                caller.transport.say(TYPED)
                await caller.transport.event("conversation.item.done", number)
            assert not made.called


async def test_a_store_that_fails_in_a_way_of_its_own_is_away() -> None:
    """A client library may raise anything; the pod's one writer must not end with it."""
    async with talking() as (store, pod, [caller]):
        store.failure = RuntimeError("the handler is closed")
        store.is_away = True
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert pod.status().status == "degraded"
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
        assert await store.load(caller.call_id) is not None


async def test_what_is_waited_for_is_not_put_off_by_the_weight_of_others() -> None:
    """`flush` promises that the call is written: handoffs and side effects rely on it while a pod writes all back."""
    async with talking(12) as (store, pod, callers):
        store.gate.clear()
        for caller in callers[:-1]:
            live = pod.owned.by_id[caller.call_id]
            live.call.outbox.emit({"type": "heavy"}, bytes(900_000))
            pod.committer.mark(live.writer)
        last = pod.owned.by_id[callers[-1].call_id]
        last.call.outbox.emit({"type": "light"})
        store.gate.set()
        await pod.committer.flush(last.writer)
        held = await store.load(last.call.call_id)
        assert held is not None
        assert held.outbox[-1].n == last.call.outbox.seq


async def test_events_made_while_a_lost_call_is_written_again_are_sent() -> None:
    """The store lost the call; what happened between the refused write and the whole one goes out with it."""
    async with talking() as (store, pod, [caller]):
        live = pod.owned.by_id[caller.call_id]
        store.gate.clear()
        live.call.outbox.emit({"type": "first"})
        pod.committer.mark(live.writer)
        await until(lambda: pod.committer.has_pending(live.writer) and not live.call.outbox.unsaved)
        store._calls.clear()
        live.call.outbox.emit({"type": "second"})
        pod.committer.mark(live.writer)
        store.gate.set()
        await caller.transport.event("second")
        assert caller.transport.ids == ["evt_1", "evt_2"]
        assert machine.is_saved(live.call)


async def test_events_keep_their_order_while_a_write_back_is_tried() -> None:
    """What waited for it goes out before what comes meanwhile."""
    async with talking() as (store, pod, [caller]):
        store.is_away = True
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "first"})
        pod.committer.mark(live.writer)
        await until(lambda: pod.committer.degraded)
        live.call.outbox.emit({"type": "second"})
        store.is_away = False
        store.gate.clear()
        await until(lambda: pod.committer.under_way)
        live.call.outbox.emit({"type": "third"})
        pod.committer.mark(live.writer)
        await caller.transport.event("third")
        assert caller.transport.ids == ["evt_1", "evt_2", "evt_3"]
        store.gate.set()
        await until(lambda: not pod.committer.write_back.is_behind)
        held = await store.load(caller.call_id)
        assert held is not None
        assert [entry.n for entry in held.outbox] == [1, 2, 3]


async def test_a_round_trip_is_bounded_in_bytes_however_many_wait_for_theirs() -> None:
    """Each `flush` returns once its own call is durable, in whichever round that is."""
    async with talking(12) as (store, pod, callers):
        lives = [pod.owned.by_id[caller.call_id] for caller in callers]
        store.round_bytes.clear()

        async def flush(live: LiveCall) -> None:
            live.call.outbox.emit({"type": "heavy"}, bytes(900_000))
            await pod.committer.flush(live.writer)
            held = await store.load(live.call.call_id)
            assert held is not None
            assert held.outbox[-1].n == live.call.outbox.seq

        await asyncio.gather(*map(flush, lives))
        assert len(store.round_bytes) >= 3
        assert max(store.round_bytes) <= MAX_ROUND_BYTES


async def test_a_call_to_be_written_again_loses_nothing_where_the_store_is_full() -> None:
    """In one round the store knows a call no more and has no memory for another: the events of both are let out."""

    class FullForOne(FaultyStore):
        """Answers one round so."""

        outcomes: ClassVar[list[list[WriteOutcome]]] = []

        async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
            if self.outcomes and len(writes) == len(self.outcomes[0]):
                return self.outcomes.pop()
            return await super().commit(writes)

    store = FullForOne()
    async with talking(2, store) as (_, pod, callers):
        lives = [pod.owned.by_id[caller.call_id] for caller in callers]
        await until(lambda: not any(pod.committer.has_pending(live.writer) for live in lives))
        store.outcomes.append([WriteOutcome.FULL, WriteOutcome.UNKNOWN])
        for live in lives:
            live.call.outbox.emit({"type": "spoken"})
            pod.committer.mark(live.writer)
        for caller in callers:
            await caller.transport.event("spoken")
            assert caller.transport.ids == ["evt_1"]
        assert not store.outcomes
        await until(lambda: not pod.committer.write_back.is_behind)


async def test_those_who_wait_keep_no_other_call_waiting() -> None:
    """The call that has been marked for longest is in each round, however much others want written at once."""
    async with talking(13) as (store, pod, callers):
        patient, *urgent = lives = [pod.owned.by_id[caller.call_id] for caller in callers]
        await until(lambda: not any(pod.committer.has_pending(live.writer) for live in lives))
        store.rounds.clear()
        patient.call.outbox.emit({"type": "light"})
        pod.committer.mark(patient.writer)
        for live in urgent:
            live.call.outbox.emit({"type": "heavy"}, bytes(900_000))
        waiting = [asyncio.create_task(pod.committer.flush(live.writer)) for live in urgent]
        await until(lambda: store.rounds)
        held = await store.load(patient.call.call_id)
        assert held is not None
        assert held.outbox[-1].n == patient.call.outbox.seq
        assert not all(task.done() for task in waiting)
        await asyncio.gather(*waiting)


async def test_the_ends_of_calls_are_remembered_through_an_outage_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of calls that ended in it the latest; those that live are written in any case."""
    store = FaultyStore()
    monkeypatch.setattr(write_back, "MAX_UNSAVED_CALLS", 3)
    async with rig(store) as its:
        pod = await its.pod()
        lasting = await its.start(pod)
        await lasting.greeting()
        store.is_away = True
        lasting.transport.say(TYPED)
        await until(lambda: pod.committer.degraded)
        ended = []
        for _ in range(5):
            caller = await its.start(pod)
            await caller.greeting()
            await caller.gone(1000)
            ended.append(caller.call_id)
            assert len(pod.committer.write_back.unsaved) <= 3 + len(pod.owned.by_id)
        store.is_away = False
        await until(lambda: not pod.committer.write_back.is_behind)
        held = [await store.load(call_id) for call_id in ended]
        assert held[0] is held[1] is None
        assert held[3] is not None
        assert held[4] is not None
        kept = await store.load(lasting.call_id)
        assert kept is not None
        assert [f"evt_{entry.n}" for entry in kept.outbox] == lasting.transport.ids


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_what_is_waited_for_does_not_wait_for_the_pause_between_rounds(is_awaited: bool) -> None:
    """Other changes do, so that rounds gather what comes from many calls."""
    clock = StoppedClock()

    class Slow(MemoryStore):
        """Takes a moment to answer; notes when it was asked."""

        asked_at_s: ClassVar[list[float]] = []

        async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
            self.asked_at_s.append(clock.now_s)
            clock.now_s += LONGEST_TICK_S / SPREAD
            return [WriteOutcome.COMMITTED] * len(writes)

    store, call = Slow(ttl_s=60), OneCall()
    committer = Committer(store, clock, CountingObserver(), lambda: [call])
    running = asyncio.create_task(committer.run())
    committer.mark(call)
    await until(lambda: store.asked_at_s)
    if is_awaited:
        await committer.flush(call)
    else:
        committer.mark(call)
        await until(lambda: len(store.asked_at_s) == 2)
    began_s, again_s = store.asked_at_s
    pause_s = again_s - began_s - LONGEST_TICK_S / SPREAD
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert pause_s <= TICK_S + 1e-6 if is_awaited else pause_s >= LONGEST_TICK_S * (1 - 1 / SPREAD) - 1e-6


async def test_who_stops_waiting_for_a_write_harms_nobody() -> None:
    """A cancelled `flush` leaves the write to be done, and those who wait for the same call are told."""
    async with talking() as (store, pod, [caller]):
        live = pod.owned.by_id[caller.call_id]
        store.gate.clear()
        live.call.outbox.emit({"type": "light"})
        impatient, patient = (asyncio.create_task(pod.committer.flush(live.writer)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        store.gate.set()
        await patient
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.outbox[-1].n == live.call.outbox.seq


async def test_a_round_carries_all_that_is_marked() -> None:
    """One round trip for many calls, whoever waits for one of them; none is left for whatever wakes the writer next."""
    async with talking(4) as (store, pod, callers):
        lives = [pod.owned.by_id[caller.call_id] for caller in callers]
        await until(lambda: not any(pod.committer.has_pending(live.writer) for live in lives))
        store.rounds.clear()
        for live in lives:
            live.call.outbox.emit({"type": "light"})
            pod.committer.mark(live.writer)
        await pod.committer.flush(lives[2].writer)
        assert store.rounds == [4]
        assert not any(pod.committer.has_pending(live.writer) for live in lives)


async def test_nobody_waits_for_a_committer_that_has_ended() -> None:
    """What is under way then stays so for ever."""
    call, clock = OneCall(), StoppedClock()
    committer = Committer(MemoryStore(ttl_s=60), clock, CountingObserver(), lambda: [call])
    running = asyncio.create_task(committer.run())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(committer.flush(call))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    committer.under_way.add(call)
    await committer.settle(call)
    await committer.flush(call)
    await waiting


async def test_a_call_that_is_spared_keeps_no_other_from_its_round() -> None:
    """Its write was rejected not long ago and is tried later; those marked behind it are written now."""
    rejected, other, another = OneCall(), OneCall(), OneCall()
    committer = Committer(MemoryStore(ttl_s=60), StoppedClock(), CountingObserver(), list)
    assert committer.write_back.reject(rejected)
    for call in (rejected, other, another):
        committer.mark(call)
    assert [call for call, *_ in committer._gather()] == [other, another]
    assert not committer.has_pending(rejected)
