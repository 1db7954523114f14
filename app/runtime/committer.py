"""Group commit: one writer per pod makes the changes of all its calls durable.

A call with changes is marked; the writer takes what all marked calls have, writes it in
one round trip, and then lets each call's events out. While a round trip is under way
the next batch gathers, so the cost per call falls as the load grows. Rounds start at
least `TICK_S` apart, and the longer they take the further: the first change after a quiet
moment is written at once, a stream of frames from many calls is gathered. What somebody
waits for (`flush`) does not wait for that pause.

When the store does not answer, the same batch is tried again until `GIVE_UP_S` have
passed. Then the pod is degraded: calls go on from memory, their events are let out as
they come, and each call is written whole once the store is back, even if it came back
empty. A write-back with an older epoch than the store's is refused like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from app.call.changes import CallWrite, OutboxEntry
from app.errors import StoreError
from app.runtime.ports import Clock, Observer
from app.stores.base import Store, WriteOutcome

TICK_S = 0.004
LONGEST_TICK_S = 0.02
"""As long as a frame of audio: what a caller's ear does not notice."""
SPREAD = 6
"""How much longer the pause is than the round before it: of a pod's time a sixth at most goes into rounds."""
TRY_S = 1.0
GIVE_UP_S = 1.5
RETRY_S = 0.1
PROBE_S = 0.5
MAX_ROUND_BYTES = 4 * 1024 * 1024
"""About what one round carries, so that writing many calls back neither blocks the loop nor times out."""
MAX_OWED = 2_000
"""Calls remembered through an outage although they may have ended in it."""

log = structlog.get_logger(__name__)


class Writer(Protocol):
    """A call, as the committer sees it."""

    @property
    def is_held(self) -> bool:
        """Whether it may not be written just now."""

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """What changed and the events that wait for it; None if the call is held back or has nothing."""

    def committed(self, events: list[OutboxEntry]) -> None:
        """The write is durable: let its events out."""

    def give_up_write(self) -> None:
        """The store is given up for now: let events out unsaved, and write all of the call next time."""

    def lost_in_store(self, waiting: list[OutboxEntry]) -> None:
        """The store does not know the call, or a write may be lost: write all of it next time.

        `waiting` are events that waited for that write; they wait for the next one.
        """

    def superseded(self) -> None:
        """A newer epoch owns the call."""

    def unwritable(self) -> None:
        """`take_write` failed: give the call up, the others must go on."""


Batch = list[tuple[Writer, CallWrite, list[OutboxEntry]]]


class Committer:
    """See the module's text. `run` is to be a task for as long as the pod lives."""

    def __init__(
        self, store: Store, clock: Clock, observer: Observer, all_calls: Callable[[], Iterable[Writer]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._all_calls = all_calls
        self._marked: dict[Writer, None] = {}
        self._urgent: dict[Writer, None] = {}
        """Calls that somebody waits for: they are in the next round, however much that is."""
        self._owed: dict[Writer, None] = {}
        """Calls with changes that no store has: while it is given up, and until each is written back."""
        self._wake = asyncio.Event()
        self._round_done = asyncio.Condition()
        self._in_flight: set[Writer] = set()
        self._written_back: set[Writer] = set()
        self._rounds_begun = 0
        self._rounds_done = 0
        self._stopped = False
        self.degraded = False
        self.degraded_at_ms = 0
        """When the store was given up, by the wall clock."""

    def mark(self, call: Writer) -> None:
        """Have a call's changes written with the next round."""
        self._marked[call] = None
        self._wake.set()

    def owes(self, call: Writer) -> bool:
        """Whether a write of this call is wanted or under way."""
        return any(call in some for some in (self._marked, self._urgent, self._in_flight, self._written_back))

    @property
    def is_behind(self) -> bool:
        """Whether some call has changes that no store has, because the store was given up or just returned."""
        return self.degraded or bool(self._owed)

    async def settle(self, call: Writer) -> None:
        """Wait until no write of this call is under way."""
        async with self._round_done:
            await self._round_done.wait_for(
                lambda: self._stopped or (call not in self._in_flight and call not in self._written_back)
            )

    async def flush(self, call: Writer) -> None:
        """Write what changed of a call until now, and return once that was done or given up.

        Changes that come meanwhile are not waited for. Does nothing once `run` has ended.
        """
        self._urgent[call] = None
        self._wake.set()
        goal = self._rounds_begun + 1
        async with self._round_done:
            await self._round_done.wait_for(lambda: self._stopped or self._rounds_done >= goal)

    async def run(self) -> None:
        """Write rounds until cancelled."""
        next_round_s = 0.0
        try:
            while True:
                await self._wake.wait()
                pause_s = next_round_s - self._clock.monotonic_s()
                while pause_s > 0:
                    await self._clock.sleep(min(pause_s, TICK_S))
                    pause_s = 0 if self._urgent else next_round_s - self._clock.monotonic_s()
                began_s = self._clock.monotonic_s()
                self._wake.clear()
                await self._round()
                took_s = self._clock.monotonic_s() - began_s
                next_round_s = began_s + min(max(TICK_S, SPREAD * took_s), LONGEST_TICK_S)
        finally:
            async with self._round_done:
                self._stopped = True
                self._round_done.notify_all()

    async def _round(self) -> None:
        self._rounds_begun += 1
        try:
            if self.degraded:
                self._let_go_on()
            elif batch := self._gather():
                await self._write(batch)
        finally:
            async with self._round_done:
                self._in_flight.clear()
                self._rounds_done = self._rounds_begun
                self._round_done.notify_all()

    def _gather(self) -> Batch:
        """What marked calls have, the longest marked first; the rest stays marked once that is much."""
        batch: Batch = []
        size_bytes = 0
        while self._urgent or (self._marked and size_bytes < MAX_ROUND_BYTES):
            call = next(iter(self._urgent or self._marked))
            self._urgent.pop(call, None)
            self._marked.pop(call, None)
            taken = self._take(call, self._in_flight)
            if taken is None and not call.is_held:
                self._owed.pop(call, None)  # It is another pod's now.
            if taken is not None:
                batch.append((call, *taken))
                size_bytes += taken[0].size_bytes
        if self._marked:
            self._wake.set()
        return batch

    def _take(self, call: Writer, under_way: set[Writer]) -> tuple[CallWrite, list[OutboxEntry]] | None:
        try:
            taken = call.take_write()
        except Exception:
            log.exception("a call cannot be written")
            call.unwritable()
            return None
        if taken is not None:
            under_way.add(call)
        return taken

    async def _write(self, batch: Batch) -> None:
        outcomes = await self._commit([write for _, write, _ in batch])
        if outcomes is None:
            self._degrade(batch)
            return
        for (call, _, waiting), outcome in zip(batch, outcomes, strict=True):
            if outcome is WriteOutcome.COMMITTED:
                self._owed.pop(call, None)
                call.committed(waiting)
            elif outcome is WriteOutcome.SUPERSEDED:
                self._owed.pop(call, None)
                self._observer.write_fenced()
                call.superseded()
            else:
                call.lost_in_store(waiting)
                if (again := self._take(call, self._in_flight)) is not None:
                    await self._write([(call, *again)])

    async def _commit(self, writes: list[CallWrite]) -> list[WriteOutcome] | None:
        """The outcomes, or None if the store is to be given up.

        It is given up after two tries at least: when this process was stopped and wakes up, the first
        one has run out of time whatever the store answered, and it may be fenced without knowing.
        """
        give_up_s = self._clock.monotonic_s() + GIVE_UP_S
        tries = 0
        while True:
            tries += 1
            started_s = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(TRY_S):
                    outcomes = await self._store.commit(writes)
            except Exception as error:
                # The root of all durability: whatever a store does wrong, the calls go on.
                self._observer.store_failed("commit")
                if not isinstance(error, StoreError | TimeoutError):
                    log.exception("the store failed in a way of its own")
                if tries > 1 and self._clock.monotonic_s() + RETRY_S >= give_up_s:
                    log.warning("store given up for now", error=str(error) or "no answer in time")
                    return None
                await self._clock.sleep(RETRY_S)
            else:
                self._observer.store_call("commit", self._clock.monotonic_s() - started_s)
                return outcomes

    def _degrade(self, batch: Batch) -> None:
        self.degraded = True
        self.degraded_at_ms = self._clock.wall_ms()
        for call, _, waiting in batch:
            call.lost_in_store(waiting)
            self._marked[call] = None
        self._let_go_on()

    def _let_go_on(self) -> None:
        marked, self._marked, self._urgent = {**self._urgent, **self._marked}, {}, {}
        for call in marked:
            call.give_up_write()
            self._owed[call] = None
        # A call that ended is in nobody's list but this one. Its end is worth keeping, not its weight for ever.
        for call in list(self._owed)[: max(0, len(self._owed) - MAX_OWED)]:
            del self._owed[call]

    async def recover(self) -> None:
        """While degraded, ask for the store and write every call back once it answers. Runs until cancelled."""
        while True:
            await self._clock.sleep(PROBE_S)
            if not self.degraded:
                for call in self._owed:
                    self.mark(call)
                continue
            for call in self._all_calls():
                self._owed.setdefault(call)
            if not (await self._write_some_back() if self._owed else await self._store_answers()):
                continue
            log.info("store is back; writing calls back")
            self.degraded = False
            for call in self._owed:
                call.lost_in_store([])
                self.mark(call)

    async def _write_some_back(self) -> bool:
        """Whether the store takes writes again. To answer is not enough: after a failover it may yet refuse them.

        Calls go on meanwhile; what happens to one that is being written makes it owed once more.
        """
        batch: Batch = []
        for call in list(self._owed):
            call.lost_in_store([])
            taken = self._take(call, self._written_back)
            if taken is None:
                if not call.is_held:
                    del self._owed[call]
                continue
            batch.append((call, *taken))
            call.committed(taken[1])  # At once, as everything while the store is away: later ones must not pass them.
            if sum(write.size_bytes for _, write, _ in batch) >= MAX_ROUND_BYTES:
                break
        if not batch:
            return not self._owed and await self._store_answers()
        outcomes = None
        try:
            async with asyncio.timeout(TRY_S):
                outcomes = await self._store.commit([write for _, write, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
        finally:
            async with self._round_done:
                self._written_back.clear()
                self._round_done.notify_all()
        for at, (call, _, _) in enumerate(batch):
            if outcomes is not None and outcomes[at] is WriteOutcome.SUPERSEDED:
                self._observer.write_fenced()
                del self._owed[call]
                call.superseded()
                continue
            if outcomes is None or outcomes[at] is not WriteOutcome.COMMITTED:
                call.lost_in_store([])
        return outcomes is not None

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(TRY_S):
                await self._store.ping()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            return False
        return True
