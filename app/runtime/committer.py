"""Group commit: one writer per pod makes the changes of all its calls durable.

A call with changes is marked; the writer takes what all marked calls have, writes it in
one round trip, and then lets each call's events out. While a round trip is under way
the next batch gathers, so the cost per call falls as the load grows. Rounds start at
least `TICK_S` apart, and the longer they take the further: the first change after a quiet
moment is written at once, a stream of frames from many calls is gathered. What somebody
waits for (`flush`) does not wait for that pause. A round trip carries `MAX_ROUND_BYTES` at
most, or one call that has more.

When the store does not answer, the same batch is tried again until `GIVE_UP_S` have
passed; when it refuses or is full, it is taken at its word. Then the store is given up for now:
calls go on from memory, their events are let out as they come, and each call is written whole
once the store is back, even if it came back empty. A write-back with an older epoch than the
store's is refused like any other::

    ok ──no answer──> unreachable ─┐
     │ ──a refusal──> refused     ─┼─ a write of a call goes through ──> degraded ── all are written ──> ok
     │ ──no memory──> full        ─┘
     └── one call's write is rejected, and is tried again ─────────────> degraded

A store that is full takes claims and erasures all the same, so it is asked about every call's
epoch meanwhile; and it takes the end of a call, which frees memory. It counts as back after a
write of the kind that failed, tried after pauses that grow from `PROBE_S` to `MAX_PROBE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from app.call.changes import CallWrite, OutboxEntry
from app.errors import StoreError, StoreFull, StoreRefused
from app.runtime.ports import Clock, Observer, StoreState
from app.runtime.store_memory import StoreMemoryWatch
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
MAX_PROBE_S = 8.0
"""The longest pause between two tries of a store that is full: each sends whole calls to a server that is in need."""
ASK_S = 1.0
"""How often a store that is full is asked whether calls are still this pod's."""
MAX_ROUND_BYTES = 4 * 1024 * 1024
"""What one round trip carries, so that no caller's bytes block the loop or the store, or make a round time out."""
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

    def erased(self) -> None:
        """The call was ended and erased by an administrator, on whichever pod."""

    @property
    def has_ended(self) -> bool:
        """Whether the call has ended, so that its write frees memory."""

    def question(self) -> CallWrite | None:
        """A write that changes nothing, to learn whose the call is; None if it may not be written just now."""

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
        self.memory = StoreMemoryWatch(store, clock, observer)
        """How full the store is."""
        self._marked: dict[Writer, None] = {}
        self._urgent: dict[Writer, list[asyncio.Future[None]]] = {}
        """Calls that somebody waits for, and those who wait: they go first."""
        self._awaited: list[asyncio.Future[None]] = []
        """Those who wait for the round under way."""
        self._owed: dict[Writer, None] = {}
        """Calls with changes that no store has: while it is given up, and until each is written back."""
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._in_flight: set[Writer] = set()
        self._written_back: set[Writer] = set()
        self._stopped = False
        self._given_up: StoreState | None = None
        """Why the store is given up for now; None: it is not."""
        self._told = StoreState.OK
        """What the log was told last."""
        self._reason = ""
        """What the store, or the way to it, said last when it took no write."""
        self._probe_s = PROBE_S
        self._next_probe_s = 0.0
        self._next_ask_s = 0.0
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
    def degraded(self) -> bool:
        """Whether the store is given up for now."""
        return self._given_up is not None

    @property
    def is_behind(self) -> bool:
        """Whether some call has changes that no store has, because the store was given up or just returned."""
        return self.degraded or bool(self._owed)

    @property
    def state(self) -> StoreState:
        """See the drawing in the module's text."""
        return self._given_up or (StoreState.DEGRADED if self._owed else StoreState.OK)

    async def settle(self, call: Writer) -> None:
        """Wait until no write of this call is under way."""
        async with self._settled:
            await self._settled.wait_for(
                lambda: self._stopped or (call not in self._in_flight and call not in self._written_back)
            )

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
            await self._end_round()

    async def _round(self) -> None:
        try:
            if self.degraded:
                self._let_go_on()
            elif batch := self._gather():
                await self._write(batch)
        finally:
            await self._end_round()
            self._tell()

    async def _end_round(self) -> None:
        awaited, self._awaited = self._awaited, []
        for done in awaited:
            if not done.done():
                done.set_result(None)
        async with self._settled:
            self._in_flight.clear()
            self._settled.notify_all()

    def _gather(self) -> Batch:
        """What calls have: the longest marked one, those that somebody waits for, then all others, by age.

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
            taken = self._take(call, self._in_flight)
            if taken is None and not call.is_held:
                self._owed.pop(call, None)  # It is another pod's now.
            if taken is not None:
                batch.append((call, *taken))
                size_bytes += taken[0].size_bytes
            call = next(iter(self._urgent or self._marked), None)
        if call is not None:
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
        while batch:
            portion = _portion(batch, self.memory.round_bytes(MAX_ROUND_BYTES))
            outcomes = await self._commit([write for _, write, _ in portion])
            if isinstance(outcomes, StoreState):
                self._degrade(batch, outcomes)
                return
            batch = batch[len(portion) :]
            lost, full = self._take_outcomes(portion, outcomes)
            if full:
                self._degrade(full + batch, StoreState.FULL)
                return
            batch += lost
            await self.memory.wrote(sum(write.size_bytes for _, write, _ in portion))

    def _take_outcomes(self, batch: Batch, outcomes: Sequence[WriteOutcome]) -> tuple[Batch, Batch]:
        """Tell the calls; what is to be written at once, whole, and what found the store full."""
        lost: Batch = []
        full: Batch = []
        for (call, write, waiting), outcome in zip(batch, outcomes, strict=True):
            if outcome is WriteOutcome.COMMITTED:
                self._owed.pop(call, None)
                call.committed(waiting)
            elif outcome is WriteOutcome.FULL:
                full.append((call, write, waiting))
            elif outcome is WriteOutcome.REJECTED or (outcome is WriteOutcome.UNKNOWN and write.whole):
                log.error("the store rejects the write of a call", call_id=write.call_id, size_bytes=write.size_bytes)
                self._observer.store_failed("commit")
                call.lost_in_store(waiting)
                call.give_up_write()  # This call alone goes on from memory, and is tried again by `recover`.
                self._owed[call] = None
            elif outcome is WriteOutcome.UNKNOWN:
                call.lost_in_store(waiting)
                if (again := self._take(call, self._in_flight)) is not None:
                    lost.append((call, *again))
            else:
                self._not_ours(call, outcome)
        return lost, full

    def _not_ours(self, call: Writer, outcome: WriteOutcome) -> None:
        self._owed.pop(call, None)
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
                async with asyncio.timeout(_try_s(size_bytes)):
                    outcomes = await self._store.commit(writes)
            except Exception as error:
                # The root of all durability: whatever a store does wrong, the calls go on.
                self._observer.store_failed("commit")
                if not isinstance(error, StoreError | TimeoutError):
                    log.exception("the store failed in a way of its own")
                self._reason = str(error) or "no answer in time"
                if isinstance(error, StoreFull | StoreRefused):
                    return _why(error)
                if tries > 1 and self._clock.monotonic_s() + RETRY_S >= give_up_s:
                    if size_bytes > MAX_ROUND_BYTES and await self._store_answers():
                        return [WriteOutcome.REJECTED]  # Too much for it, and nothing that concerns other calls.
                    return _why(error)
                await self._clock.sleep(RETRY_S)
            else:
                self._observer.store_call("commit", self._clock.monotonic_s() - started_s)
                return outcomes

    def _degrade(self, batch: Batch, why: StoreState) -> None:
        if why is StoreState.FULL and self._given_up is not why:
            self._observer.limit_reached("store_full")
        if why is self._told is StoreState.FULL:
            self._probe_s = min(2 * self._probe_s, MAX_PROBE_S)  # It took some writes and was full again.
        self._given_up = why
        self.degraded_at_ms = self._clock.wall_ms()
        self._next_probe_s = self._clock.monotonic_s() + self._probe_s
        for call, _, waiting in batch:
            call.lost_in_store(waiting)
            self._marked[call] = None
        self._let_go_on()

    def _let_go_on(self) -> None:
        for waiting in self._urgent.values():
            self._awaited += waiting
        marked, self._marked, self._urgent = {**self._urgent, **self._marked}, {}, {}
        for call in marked:
            call.give_up_write()
            self._owed[call] = None
        # A call that ended is in nobody's list but this one. Its end is worth keeping, not its weight for ever.
        for call in list(self._owed)[: max(0, len(self._owed) - MAX_OWED)]:
            del self._owed[call]

    def _tell(self) -> None:
        """One line when the store is given up, and one when all is written again; nothing of what is in between."""
        state = self.state
        if state is self._told or (state is StoreState.DEGRADED and self._told is not StoreState.OK):
            return
        self._told = state
        if state is StoreState.OK:
            self._probe_s = PROBE_S
            log.info("store is back; every call is written")
        elif state is not StoreState.DEGRADED:
            log.warning("store given up for now", store=self._store.kind, state=state.value, error=self._reason)

    async def recover(self) -> None:
        """While the store is given up, try it again and write every call back. Runs until cancelled."""
        while True:
            await self._clock.sleep(PROBE_S)
            if not self.degraded:
                for call in self._owed:
                    self.mark(call)
                continue
            if self._given_up is StoreState.FULL:
                await self._learn_owners()
                await self._write_back([call for call in self._owed if call.has_ended])
                if self._clock.monotonic_s() < self._next_probe_s:
                    continue
            else:
                # It may come back empty.
                for call in self._all_calls():
                    self._owed.setdefault(call)
            if await self._write_some_back():
                self._given_up = None
                for call in self._owed:
                    call.lost_in_store([])
                    self.mark(call)
            elif self._given_up is StoreState.FULL:
                self._probe_s = min(2 * self._probe_s, MAX_PROBE_S)
                self._next_probe_s = self._clock.monotonic_s() + self._probe_s
            self._tell()

    async def _write_some_back(self) -> bool:
        """Whether the store takes writes again. To answer is not enough: after a failover it may yet refuse them."""
        if took_some := await self._write_back(list(self._owed)):
            return True
        if took_some is None or self._owed:
            return False
        return await (self._store_has_room() if self._given_up is StoreState.FULL else self._store_answers())

    async def _write_back(self, calls: Sequence[Writer]) -> bool | None:
        """Write some of the calls, in one round trip; whether a write went through that needs memory; None: it failed.

        Calls go on meanwhile; what happens to one that is being written makes it owed once more.
        """
        batch: Batch = []
        size_bytes = 0
        for call in calls:
            if size_bytes >= MAX_ROUND_BYTES:
                break
            call.lost_in_store([])
            taken = self._take(call, self._written_back)
            if taken is None:
                if not call.is_held:
                    self._owed.pop(call, None)
                continue
            batch.append((call, *taken))
            size_bytes += taken[0].size_bytes
            call.committed(taken[1])  # At once, as everything while the store is away: later ones must not pass them.
        if not batch:
            return False
        for call, _, _ in batch:
            self._owed.pop(call, None)
        outcomes: list[WriteOutcome] | None = None
        try:
            async with asyncio.timeout(_try_s(size_bytes)):
                outcomes = await self._store.commit([write for _, write, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            self._given_up = _why(error)
        finally:
            for at, (call, _, _) in enumerate(batch):
                outcome = outcomes[at] if outcomes is not None else None
                if outcome in (WriteOutcome.SUPERSEDED, WriteOutcome.ENDED):
                    self._not_ours(call, outcome)
                elif outcome is not WriteOutcome.COMMITTED:
                    call.lost_in_store([])
                    self._owed[call] = None  # At the end, behind those that have not been tried.
            async with self._settled:
                self._written_back.clear()
                self._settled.notify_all()
        if outcomes is None:
            return None
        if WriteOutcome.FULL in outcomes:
            self._given_up = StoreState.FULL
            return None
        if self._given_up is not StoreState.FULL:
            return True
        told = zip(batch, outcomes, strict=True)
        return any(outcome is WriteOutcome.COMMITTED and not write.ends for (_, write, _), outcome in told)

    async def _learn_owners(self) -> None:
        """A store that is full takes claims and erasures all the same: ask whether calls are still this pod's."""
        if self._clock.monotonic_s() < self._next_ask_s:
            return
        self._next_ask_s = self._clock.monotonic_s() + ASK_S
        asked = [(call, question) for call in self._all_calls() if (question := call.question()) is not None]
        try:
            async with asyncio.timeout(TRY_S):
                outcomes = await self._store.commit([question for _, question in asked])
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            return
        for (call, _), outcome in zip(asked, outcomes, strict=True):
            if outcome in (WriteOutcome.SUPERSEDED, WriteOutcome.ENDED):
                self._not_ours(call, outcome)

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(TRY_S):
                await self._store.ping()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            return False
        return True

    async def _store_has_room(self) -> bool:
        """For a pod that has nothing to write."""
        try:
            async with asyncio.timeout(TRY_S):
                memory = await self._store.memory()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            return False
        return memory is None or not memory.limit_bytes or memory.used_bytes < memory.limit_bytes


def _portion(batch: Batch, most_bytes: int) -> Batch:
    """The first calls of a batch: as many as a round trip carries, one at least."""
    size_bytes = 0
    for at, (_, write, _) in enumerate(batch):
        size_bytes += write.size_bytes
        if at and size_bytes > most_bytes:
            return batch[:at]
    return batch


def _try_s(size_bytes: int) -> float:
    """How long an answer may take: longer where one call alone has more than a round trip should carry."""
    return TRY_S * max(1.0, size_bytes / MAX_ROUND_BYTES)


def _why(error: Exception) -> StoreState:
    if isinstance(error, StoreFull):
        return StoreState.FULL
    return StoreState.REFUSED if isinstance(error, StoreRefused) else StoreState.UNREACHABLE
