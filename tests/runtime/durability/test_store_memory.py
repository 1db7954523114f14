"""A store that is nearly full: what the pod knows of it, and whom it still takes."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock, StoppedClock
from tests.runtime.faulty import until
from tests.runtime.rig import TYPED, CountingObserver, rig
from voice_agent.errors import ConnectionRefused, StoreUnavailable
from voice_agent.runtime.durability import store_memory
from voice_agent.runtime.durability.store_memory import (
    AMPLE_FOR_S,
    LOOK_SHARE,
    MIN_ROUND_BYTES,
    ROUND_SHARE,
    StoreMemoryWatch,
)
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.base import DrainRequest, PodHeartbeat, StoreMemory
from voice_agent.stores.memory import MemoryStore

LIMIT_BYTES = 64 * 1024 * 1024


class MeasuredStore(MemoryStore):
    """Says that a share of its memory is used."""

    share = 0.0
    looks = 0

    async def memory(self) -> StoreMemory | None:
        self.looks += 1
        return StoreMemory(int(self.share * LIMIT_BYTES), LIMIT_BYTES)


async def look(pod: Pod, store: MeasuredStore, share: float) -> None:
    """A heartbeat, when so much is used."""
    store.share = share
    await pod.heartbeat.heartbeat()


async def test_new_calls_are_refused_by_name_and_calls_that_come_back_are_taken() -> None:
    """From 95 % on and until 90; health stays as it is, for what is under way goes on."""
    store = MeasuredStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await look(pod, store, 0.96)
        with pytest.raises(ConnectionRefused, match="hardly any memory left") as refused:
            await its.start(pod)
        assert (refused.value.status, refused.value.code) == (503, "store_nearly_full")
        await caller.gone()
        again = await its.resume(pod, caller.call_id)
        await again.greeting()
        assert pod.status().status == "ok"
        await look(pod, store, 0.91)
        with pytest.raises(ConnectionRefused):
            await its.start(pod)
        await look(pod, store, 0.89)
        await its.start(pod)


async def test_while_the_store_is_away_nobody_is_refused_for_how_full_it_was() -> None:
    """In an outage new calls go on from memory, whatever was known before it."""

    class AwayStore(MeasuredStore):
        is_away = False

        async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
            if self.is_away:
                raise StoreUnavailable("away")
            return await super().heartbeat(heartbeat, ttl_s=ttl_s)

    store = AwayStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod()
        await look(pod, store, 0.96)
        store.is_away = True
        await look(pod, store, 0.96)
        await its.start(pod)
        store.is_away = False
        await look(pod, store, 0.96)
        with pytest.raises(ConnectionRefused):
            await its.start(pod)


async def test_calls_are_spared_from_80_percent_on_and_until_there_is_memory_for_a_while() -> None:
    """Also those that are silent; told once, however often it is looked at."""
    store, clock = MeasuredStore(ttl_s=60), LeapingClock()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        live.call.outbox.emit({"type": "heavy"}, bytes(400_000))
        live.call.outbox.emit({"type": "heavy"}, bytes(400_000))
        await pod.committer.flush(live.writer)
        for share in (0.81, 0.75, 0.81, 0.79):
            await look(pod, store, share)
        clock.leap(2.0)

        async def is_cut() -> bool:
            held = await store.load(caller.call_id)
            assert held is not None
            return len(held.outbox) == 1

        await until(is_cut)
        assert pod.observer.counts["limit_reached", "store_memory"] == 1  # type: ignore[attr-defined]
        await look(pod, store, 0.6)
        assert pod.committer.memory.is_scarce
        clock.leap(AMPLE_FOR_S)
        await look(pod, store, 0.6)
        assert not pod.committer.memory.is_scarce


async def test_a_pod_that_writes_much_looks_sooner_than_with_its_next_heartbeat() -> None:
    """And a round trip carries less to a server that is small."""
    store = MeasuredStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await pod.heartbeat.heartbeat()
        before = store.looks
        store.share = 0.85
        live.call.outbox.emit({"type": "heavy"}, bytes(LIMIT_BYTES // LOOK_SHARE))
        await pod.committer.flush(live.writer)
        assert store.looks == before + 1
        assert pod.committer.memory.is_scarce
        assert pod.committer.memory.round_bytes(MAX_ROUND_BYTES) < MAX_ROUND_BYTES
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")


async def test_a_store_that_cannot_say_or_has_no_limit_is_never_nearly_full() -> None:
    """As the memory store."""
    async with rig() as its:
        pod = await its.pod()
        await pod.heartbeat.heartbeat()
        assert not pod.committer.memory.is_scarce
        assert pod.committer.memory.round_bytes(MAX_ROUND_BYTES) == MAX_ROUND_BYTES


class SaidStore(MemoryStore):
    """Says of its memory what the test says; `None`: it cannot."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.said: StoreMemory | Exception | None = None
        self.looks = 0

    async def memory(self) -> StoreMemory | None:
        self.looks += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


async def test_from_which_share_on_memory_is_scarce_and_until_when() -> None:
    """Above 80 %, until it was not above 70 for half a minute; nearly full above 95 %, until it is not above 90.

    Each end is told once. A store without a limit, or that cannot say, has memory enough.
    """
    store, clock, observer = SaidStore(), StoppedClock(), CountingObserver()
    watch = StoreMemoryWatch(store, clock, observer)
    assert (watch.is_scarce, watch.is_nearly_full) == (False, False)
    steps = [
        (0, 80, False, False),
        (60, 81, True, False),
        (60, 81, True, False),
        (29, 70, True, False),
        (1, 70, False, False),
        (0, 81, True, False),
        (29, 71, True, False),
        (29, 0, True, False),
        (1, 0, False, False),
        (60, 0, False, False),
        (0, 95, True, False),
        (0, 96, True, True),
        (0, 91, True, True),
        (0, 90, True, False),
        (0, 96, True, True),
        (30, None, False, False),
    ]
    assert AMPLE_FOR_S == 30
    with capture_logs() as lines:
        for later_s, percent, is_scarce, is_nearly_full in steps:
            clock.now_s += later_s
            store.said = None if percent is None else StoreMemory(percent, 100)
            await watch.look()
            assert (watch.is_scarce, watch.is_nearly_full) == (is_scarce, is_nearly_full), (later_s, percent)
    assert [line["log_level"] for line in lines] == ["warning", "info"] * 3
    assert observer.counts["limit_reached", "store_memory"] == 3
    store.said = StoreMemory(10**9, 0)
    await watch.look()
    assert (watch.is_scarce, watch.is_nearly_full) == (False, False)


async def test_what_is_known_of_a_stores_memory_stays_while_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails in whatever way, or is silent for too long."""
    monkeypatch.setattr(store_memory, "ANSWER_S", 0.001)
    store = SaidStore()
    watch = StoreMemoryWatch(store, StoppedClock(), CountingObserver())
    store.said = StoreMemory(96, 100)
    await watch.look()
    for failure in (StoreUnavailable("away"), ValueError("odd")):
        store.said = failure
        await watch.look()
        assert (watch.is_scarce, watch.is_nearly_full) == (True, True)
    monkeypatch.setattr(store, "memory", asyncio.Event().wait)
    await watch.look()
    assert watch.is_nearly_full


async def test_a_share_of_the_limit_is_written_between_two_looks_and_carried_in_a_round() -> None:
    """Where no limit is known, nobody looks for what was written, and a round carries the most."""
    store = SaidStore()
    watch = StoreMemoryWatch(store, StoppedClock(), CountingObserver())
    most = MAX_ROUND_BYTES
    for said in (None, StoreMemory(10, 0)):
        await watch.wrote(10**12)
        assert watch.round_bytes(most) == most
        assert store.looks == 0
        store.said = said
        await watch.look()
        store.looks = 0
    store.said = StoreMemory(0, LIMIT_BYTES)
    await watch.look()
    for looks in (1, 2, 3):
        await watch.wrote(LIMIT_BYTES // LOOK_SHARE - 1)
        assert store.looks == looks
        await watch.wrote(1)
    assert store.looks == 4
    assert watch.round_bytes(most) == LIMIT_BYTES // ROUND_SHARE < most
    assert watch.round_bytes(7) == 7
    store.said = StoreMemory(0, 1000)
    await watch.look()
    assert watch.round_bytes(most) == MIN_ROUND_BYTES
