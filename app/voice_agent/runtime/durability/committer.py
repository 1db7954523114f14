"""Group commit: one writer per pod makes the changes of all its calls durable.

A call with changes is marked; the writer takes what all marked calls have, writes it in
one round trip, and then lets each call's events out. While a round trip is under way
the next batch gathers, so the cost per call falls as the load grows. Rounds start at
least `TICK_S` apart, and the longer they take the further: the first change after a quiet
moment is written at once, a stream of frames from many calls is gathered. A `flush` does not wait
for that pause. A round trip carries `MAX_ROUND_BYTES` at
most, or one call that has more.

Where a call is on its way to the store, and what moves it on::

    CLEAN ──mark, flush──> DIRTY ──a round takes it──> IN FLIGHT ──committed──> CLEAN
                             │                             │
                             │ the store is given up       │ it is given up, or rejects this call's write
                             v                             │
                          UNSAVED <────────────────────────┘
                             │ ^
     a round or `write_back` │ │ not committed, or changed meanwhile
                    takes it v │
                         BACKFILLING ──committed──> CLEAN

    DIRTY        in `_marked`, or in `_urgent` if a `flush` waits for it
    IN FLIGHT    in `under_way`
    UNSAVED      in `write_back.unsaved`; the store lacks what the client may have seen
    BACKFILLING  in `under_way`, all of it being written

Whatever state it is in, a call that changes is DIRTY as well, and a write that says that the call is another pod's,
or was erased, makes it CLEAN: nothing of it is written any more. Whether a call may be written at all is its own
(`call_writer`).

When the store does not answer, the same batch is tried again until `GIVE_UP_S` have
passed. That loop is not `retry`'s, nor a library's: a second try is made whatever time the first took, and the end is a
state, no error. When the store refuses or is full, it is taken at its word. Then the store is given up for now,
and calls go on from memory until they are written back (`write_back`)::

    ok ──no answer──> unreachable ─┐
     │ ──a refusal──> refused     ─┼─ a write of a call goes through ──> degraded ── all are written ──> ok
     │ ──no memory──> full        ─┘
     └── one call's write is rejected, and is tried again ─────────────> degraded
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import StoreError, StoreFull, StoreRefused
from voice_agent.runtime.durability.store_memory import StoreMemoryWatch
from voice_agent.runtime.durability.write_back import WriteBack
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES, Batch, Writer, portion, state_of, try_s
from voice_agent.runtime.ports import Clock, Observer, StoreState
from voice_agent.stores.base import Store, WriteOutcome

TICK_S = 0.004
LONGEST_TICK_S = 0.02
"""As long as a frame of audio: what a caller's ear does not notice."""
SPREAD = 6
"""How much longer the pause is than the round before it: of a pod's time a sixth at most goes into rounds."""
GIVE_UP_S = 1.5
RETRY_S = 0.1

log = structlog.get_logger(__name__)


class Committer:
    """See the module's text. `run` is to be a task for as long as the pod lives."""

    def __init__(
        self, store: Store, clock: Clock, observer: Observer, all_calls: Callable[[], Iterable[Writer]]
    ) -> None:
        self.schema = SCHEMA
        """What records are written in; see `use_schema`."""
        self._store = store
        self._clock = clock
        self._observer = observer
        self.all_calls = all_calls
        self.memory = StoreMemoryWatch(store, clock, observer)
        """How full the store is."""
        self._marked: dict[Writer, None] = {}
        self._urgent: dict[Writer, list[asyncio.Future[None]]] = {}
        """Calls of which a `flush` waits, and its futures: they go first."""
        self._awaited: list[asyncio.Future[None]] = []
        """Futures of the flushes that wait for the round under way."""
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self.under_way: set[Writer] = set()
        """Calls of which a write is under way, at most one each: of a round, or of `write_back` while the store is
        given up, when no round writes."""
        self._stopped = False
        self.write_back = WriteBack(self, store, clock)
        """What the store lacks."""

    def mark(self, call: Writer) -> None:
        """Have a call's changes written with the next round."""
        self._marked[call] = None
        self._wake.set()

    def use_schema(self, schema: int) -> None:
        """Write records in this schema from now on, and those of all calls anew that are in another."""
        if schema != self.schema:
            self.schema = schema
            for call in self.all_calls():
                self.mark(call)

    def has_pending(self, call: Writer) -> bool:
        """Whether a write of this call is wanted or under way."""
        return any(call in some for some in (self._marked, self._urgent, self.under_way))

    def lacks(self, call: Writer) -> bool:
        """Whether the store does not have all of this call: it is given up, or rejects this call's writes."""
        return self.degraded or call in self.write_back.unsaved

    @property
    def degraded(self) -> bool:
        """Whether the store is given up for now."""
        return self.write_back.given_up is not None

    async def settle(self, call: Writer) -> None:
        """Wait until no write of this call is under way."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._stopped or call not in self.under_way)

    async def writes_ended(self) -> None:
        """No write is under way any more."""
        self.under_way.clear()
        async with self._settled:
            self._settled.notify_all()

    async def flush(self, call: Writer) -> None:
        """Write what changed of a call until now, and return once that was done or given up.

        It may take several rounds until this call's turn comes. Changes that come meanwhile are not
        waited for. Does nothing once `run` has ended.
        """
        if self._stopped:
            return
        done = asyncio.get_running_loop().create_future()
        self._urgent.setdefault(call, []).append(done)
        self._wake.set()
        await done

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
            self._stopped = True
            for waiting in self._urgent.values():
                self._awaited += waiting
            self._end_flushes()
            await self.writes_ended()

    async def _round(self) -> None:
        try:
            if self.degraded:
                self._continue_unsaved()
            else:
                try:
                    await self._write(self._gather())
                finally:
                    await self.writes_ended()
        finally:
            self._end_flushes()
            self.write_back.log_state()

    def _end_flushes(self) -> None:
        awaited, self._awaited = self._awaited, []
        for done in awaited:
            if not done.done():
                done.set_result(None)

    def _gather(self) -> Batch:
        """What calls have: the longest marked one, those of which a `flush` waits, then all others, by age.

        What a round trip does not carry waits for the next round. The first of them is in each round, so no call
        waits for ever, however much the others write.
        """
        batch: Batch = []
        size_bytes = 0
        call = next(iter(self._marked or self._urgent), None)
        most_bytes = self.memory.round_bytes(MAX_ROUND_BYTES)
        while call is not None and size_bytes < most_bytes:
            self._awaited += self._urgent.pop(call, [])
            self._marked.pop(call, None)
            if self.write_back.defers(call):
                call.release_unsaved()
                call = next(iter(self._urgent or self._marked), None)
                continue
            taken = self.take(call)
            if taken is None and not call.writes_paused:
                self.write_back.written(call)  # Ownership moved: drop the call from the unsaved set.
            if taken is not None:
                batch.append((call, *taken))
                size_bytes += taken[0].size_bytes
            call = next(iter(self._urgent or self._marked), None)
        if call is not None:
            self._wake.set()
        return batch

    def take(self, call: Writer) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """What a call has to be written, and that it is under way from now on; None: it has nothing, or may not."""
        try:
            taken = call.take_write()
        except Exception:
            log.exception("a call cannot be written")
            call.unwritable()
            return None
        if taken is not None:
            self.under_way.add(call)
        return taken

    async def _write(self, batch: Batch) -> None:
        while batch:
            some = portion(batch, self.memory.round_bytes(MAX_ROUND_BYTES))
            outcomes = await self._commit([write for _, write, _ in some])
            if isinstance(outcomes, StoreState):
                self._degrade(batch, outcomes)
                return
            batch = batch[len(some) :]
            lost, full = self._take_outcomes(some, outcomes)
            if full:
                self._degrade(full + lost + batch, StoreState.FULL)
                return
            batch += lost
            await self.memory.wrote(sum(write.size_bytes for _, write, _ in some))

    def _take_outcomes(self, batch: Batch, outcomes: Sequence[WriteOutcome]) -> tuple[Batch, Batch]:
        """Tell the calls; what is to be written at once, whole, and what found the store full."""
        lost: Batch = []
        full: Batch = []
        for (call, write, waiting), outcome in zip(batch, outcomes, strict=True):
            if outcome is WriteOutcome.COMMITTED:
                self.write_back.written(call)
                call.stored()
                call.committed(waiting)
            elif outcome is WriteOutcome.FULL:
                full.append((call, write, waiting))
            elif outcome is WriteOutcome.REJECTED or (outcome is WriteOutcome.UNKNOWN and write.whole):
                self._observer.store_failed("commit")
                call.requeue_whole(waiting)
                if self.write_back.reject(call):
                    size_bytes = write.size_bytes
                    log.error("the store rejects the write of a call", call_id=write.call_id, size_bytes=size_bytes)
            elif outcome is WriteOutcome.UNKNOWN:
                call.requeue_whole(waiting)
                if (again := self.take(call)) is not None:
                    lost.append((call, *again))
            else:
                self.drop_lost(call, outcome)
        return lost, full

    def drop_lost(self, call: Writer, outcome: WriteOutcome) -> None:
        """The store says that a call is another pod's, or was erased: tell the call."""
        self.write_back.written(call)
        if outcome is WriteOutcome.ENDED:
            call.erased()
        else:
            self._observer.write_fenced()
            call.superseded()

    async def _commit(self, writes: list[CallWrite]) -> list[WriteOutcome] | StoreState:
        """The outcomes, or why the store is to be given up.

        Where it does not answer, it is given up after two tries at least: when this process was stopped and wakes
        up, the first one has run out of time whatever the store answered, and it may be fenced without knowing.
        """
        give_up_s = self._clock.monotonic_s() + GIVE_UP_S
        size_bytes = sum(write.size_bytes for write in writes)
        tries = 0
        while True:
            tries += 1
            started_s = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(try_s(size_bytes)):
                    outcomes = await self._store.commit(writes)
            except Exception as error:
                # The root of all durability: whatever a store does wrong, the calls go on.
                self._observer.store_failed("commit")
                if not isinstance(error, StoreError | TimeoutError):
                    log.exception("the store failed in a way of its own")
                self.write_back.failure = error
                if isinstance(error, StoreFull | StoreRefused):
                    return state_of(error)
                if tries > 1 and self._clock.monotonic_s() + RETRY_S >= give_up_s:
                    if size_bytes > MAX_ROUND_BYTES and await self.write_back.store_answers():
                        return [WriteOutcome.REJECTED]  # Too much for it, and nothing that concerns other calls.
                    return state_of(error)
                await self._clock.sleep(RETRY_S)
            else:
                self._observer.store_call("commit", self._clock.monotonic_s() - started_s)
                return outcomes

    def _degrade(self, batch: Batch, why: StoreState) -> None:
        if why is StoreState.FULL:
            self._observer.limit_reached("store_full")
        self.write_back.give_up(why)
        for call, _, waiting in batch:
            call.requeue_whole(waiting)
            self._marked[call] = None
        self._continue_unsaved()

    def _continue_unsaved(self) -> None:
        for waiting in self._urgent.values():
            self._awaited += waiting
        marked, self._marked, self._urgent = {**self._urgent, **self._marked}, {}, {}
        self.write_back.continue_unsaved(marked)
