"""When a store that was given up is tried again, and what makes it count as back; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.call.changes import CallWrite
from app.errors import StoreUnavailable
from app.runtime.committer import Committer
from app.runtime.ports import StoreState
from app.runtime.write_back import MAX_PROBE_S, PROBE_S
from app.stores.base import StoreMemory, WriteOutcome
from app.stores.memory import MemoryStore
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from tests.runtime.writers import OneCall
from tests.waiting import until


class Probed(MemoryStore):
    """Answers as it is told, and notes when it was asked to write something."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__(ttl_s=60)
        self.clock = clock
        self.outcome = WriteOutcome.FULL
        self.told: StoreMemory | Exception | None = None
        self.pings: list[float] = []
        self.answers = True
        self.tried_at_s: list[float] = []

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        if writes:
            self.tried_at_s.append(self.clock.now_s)
        return [self.outcome] * len(writes)

    async def memory(self) -> StoreMemory | None:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told

    async def ping(self) -> None:
        self.pings.append(self.clock.now_s)
        if not self.answers:
            raise StoreUnavailable("away")


@asynccontextmanager
async def given_up(why: StoreState, *calls: OneCall) -> AsyncIterator[tuple[Probed, Committer]]:
    """A committer that has just given up a store; the tries go on beside the test."""
    clock = StoppedClock()
    store = Probed(clock)
    committer = Committer(store, clock, CountingObserver(), lambda: list(calls))
    committer.write_back.give_up(why)
    committer.write_back.let_go_on(calls)
    committer.write_back.tell()
    trying = asyncio.create_task(committer.write_back.run())
    try:
        yield store, committer
    finally:
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)


async def test_a_full_store_is_tried_with_pauses_that_grow_to_a_bound() -> None:
    """Each try sends whole calls to a server that is in need."""
    async with given_up(StoreState.FULL, OneCall()) as (store, committer):
        await until(lambda: len(store.tried_at_s) >= 8)
        pauses = [round(b - a, 6) for a, b in zip(store.tried_at_s, store.tried_at_s[1:], strict=False)]
        assert pauses[:5] == [2 * PROBE_S, 4 * PROBE_S, 8 * PROBE_S, MAX_PROBE_S, MAX_PROBE_S]
        assert committer.state is StoreState.FULL


async def test_a_store_that_was_full_again_after_some_writes_is_tried_later() -> None:
    """And one that was back for good is tried soon again when it is full another time."""
    async with given_up(StoreState.FULL, OneCall()) as (store, committer):
        for _ in range(2):
            committer.write_back.give_up(StoreState.FULL)
        began_s = store.clock.now_s
        store.tried_at_s.clear()
        await until(lambda: store.tried_at_s)
        assert store.tried_at_s[0] - began_s >= 4 * PROBE_S
        store.outcome = WriteOutcome.COMMITTED
        await until(lambda: committer.state is StoreState.OK)
        committer.write_back.tell()
        store.outcome = WriteOutcome.FULL
        began_s = store.clock.now_s
        store.tried_at_s.clear()
        committer.write_back.give_up(StoreState.FULL)
        committer.write_back.let_go_on([OneCall()])
        await until(lambda: store.tried_at_s)
        assert store.tried_at_s[0] - began_s <= 2 * PROBE_S


@pytest.mark.parametrize("why", [StoreState.UNREACHABLE, StoreState.REFUSED])
async def test_without_calls_a_store_is_back_when_it_answers(why: StoreState) -> None:
    """Nothing is there to be written, so it is asked for a sign of life as often as it would be tried."""
    async with given_up(why) as (store, committer):
        store.answers = False
        await until(lambda: len(store.pings) >= 3)
        assert committer.state is why
        assert [round(b - a, 6) for a, b in zip(store.pings, store.pings[1:], strict=False)][:2] == [PROBE_S, PROBE_S]
        store.answers = True
        await until(lambda: committer.state is StoreState.OK)


@pytest.mark.parametrize(
    ("told", "has_room"),
    [
        (StoreMemory(10, 10), False),
        (StoreMemory(11, 10), False),
        (StoreUnavailable("away"), False),
        (StoreMemory(9, 10), True),
        (StoreMemory(9, 0), True),
        (None, True),
    ],
)
async def test_without_calls_a_full_store_is_back_when_it_has_room(
    told: StoreMemory | Exception | None, has_room: bool
) -> None:
    """As far as it says how much it has; a ping proves nothing."""
    async with given_up(StoreState.FULL) as (store, committer):
        store.told = told
        if has_room:
            await until(lambda: committer.state is StoreState.OK)
        else:
            began_s = store.clock.now_s
            await until(lambda: store.clock.now_s > began_s + 4 * MAX_PROBE_S)
            assert committer.state is StoreState.FULL
        assert store.pings == []
