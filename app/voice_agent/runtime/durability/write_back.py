"""While the store is given up: whose changes it lacks, and when it takes writes again.

Calls go on from memory and their events are let out as they come. `run` tries the store again and
writes each call whole, even to a store that came back empty; a write with an older epoch than the
store's is refused like any other.

A store that is full takes claims and erasures all the same, so it is asked about every call's
epoch meanwhile; and it takes the end of a call, which frees memory. It counts as back after a
write of the kind that failed, tried after pauses that grow from `PROBE_S` to `MAX_PROBE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.errors import StoreFull, StoreUnavailable
from voice_agent.retry import Delays
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES, NOT_OURS, TRY_S, Batch, Writer, state_of, try_s
from voice_agent.runtime.ports import Clock, StoreState
from voice_agent.stores.base import Store, WriteOutcome

PROBE_S = 0.5
MAX_PROBE_S = 8.0
"""The longest pause between two tries of a store that is full: each sends whole calls to a server that is in need."""
PROBES = Delays(PROBE_S, MAX_PROBE_S)
ASK_S = 1.0
"""How often a store that is full is asked whether calls are still this pod's."""
MAX_UNSAVED_CALLS = 2_000
"""Calls remembered through an outage although they may have ended in it."""
NO_MEMORY = "it has no memory left"
NO_ANSWER = "no answer in time"

log = structlog.get_logger(__name__)


class Rounds(Protocol):
    """The committer, as far as this needs it."""

    @property
    def all_calls(self) -> Callable[[], Iterable[Writer]]:
        """The pod's calls."""

    def mark(self, call: Writer) -> None:
        """Have a call's changes written with the next round."""

    def take(self, call: Writer) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """What a call has to be written, and that it is under way from now on; None: it has nothing, or may not."""

    def drop_lost(self, call: Writer, outcome: WriteOutcome) -> None:
        """The store says that a call is another pod's, or was erased: tell the call."""

    async def writes_ended(self) -> None:
        """No write is under way any more."""


class WriteBack:
    """A part of a `Committer`; `run` is to be a task for as long as the pod lives."""

    def __init__(self, rounds: Rounds, store: Store, clock: Clock) -> None:
        self.unsaved: dict[Writer, None] = {}
        """Calls with changes that no store has: while it is given up, and until each is written back."""
        self.given_up: StoreState | None = None
        """Why the store is given up for now; None: it is not."""
        self.given_up_at_ms = 0
        """When, by the wall clock."""
        self.failure: Exception = StoreUnavailable()
        """What the store, or the way to it, said last when it took no write."""
        self._rounds = rounds
        self._store = store
        self._clock = clock
        self._rejected: dict[Writer, tuple[float, float]] = {}
        """Unsaved calls whose own write is rejected: the pause after the last try, and when the next is due."""
        self._logged = StoreState.OK
        """What the log was told last."""
        self._probe_s = PROBE_S
        self._next_probe_s = 0.0
        self._next_ask_s = 0.0

    @property
    def state(self) -> StoreState:
        """See the drawing in `committer`."""
        return self.given_up or (StoreState.DEGRADED if self.unsaved else StoreState.OK)

    @property
    def is_behind(self) -> bool:
        """Whether some call has changes that no store has, because the store was given up or just returned."""
        return self.given_up is not None or bool(self.unsaved)

    def give_up(self, why: StoreState) -> None:
        """From now on calls go on from memory."""
        if why is self._logged is StoreState.FULL:
            self._probe_s = PROBES.after(self._probe_s)  # It took some writes and was full again.
        if why is StoreState.FULL:
            self.failure = StoreFull(NO_MEMORY)
        self.given_up = why
        self.given_up_at_ms = self._clock.wall_ms()
        self._next_probe_s = self._clock.monotonic_s() + self._probe_s

    def continue_unsaved(self, calls: Iterable[Writer]) -> None:
        """Let the events of these calls out unsaved; the store lacks their changes from now on."""
        for call in calls:
            call.release_unsaved()
            self.unsaved[call] = None
        # A call that ended is in no list but this one: its end is kept, but not for ever.
        for call in list(self.unsaved)[: max(0, len(self.unsaved) - MAX_UNSAVED_CALLS)]:
            self.written(call)

    def reject(self, call: Writer) -> bool:
        """The store rejects a call's write: this call alone goes on from memory and is tried again, later and later.

        Returns whether that is news.
        """
        is_news = call not in self._rejected
        pause_s = PROBES.after(0.0 if is_news else self._rejected[call][0])
        self._rejected[call] = pause_s, self._clock.monotonic_s() + pause_s
        call.release_unsaved()
        self.unsaved[call] = None
        return is_news

    def defers(self, call: Writer) -> bool:
        """Whether a call is not to be written now: it is whole each time, however little has changed since."""
        return call in self._rejected and self._clock.monotonic_s() < self._rejected[call][1]

    def written(self, call: Writer) -> None:
        """The store has all of a call, or it is no longer this pod's."""
        self.unsaved.pop(call, None)
        self._rejected.pop(call, None)

    def log_state(self) -> None:
        """One line when the store is given up, and one when all is written again; nothing of what is in between."""
        state = self.state
        if state is self._logged or (state is StoreState.DEGRADED and self._logged is not StoreState.OK):
            return
        self._logged = state
        if state is StoreState.OK:
            self._probe_s = PROBE_S
            log.info("store is back; every call is written")
        elif state is not StoreState.DEGRADED:
            log.warning(
                "store given up for now",
                store=self._store.kind,
                state=state.value,
                error=str(self.failure) or NO_ANSWER,
            )

    async def run(self) -> None:
        """Try the store while it is given up, and calls that it rejected; until cancelled."""
        while True:
            await self._clock.sleep(PROBE_S)
            if self.given_up is None:
                for call in self.unsaved:
                    if not self.defers(call):
                        self._rounds.mark(call)
                if self._rejected:
                    await self._check_owners(list(self._rejected))
                continue
            if self.given_up is StoreState.FULL:
                await self._check_owners(self._rounds.all_calls())
                await self._write([call for call in self.unsaved if call.has_ended])
                if self._clock.monotonic_s() < self._next_probe_s:
                    continue
            else:
                # It may come back empty.
                for call in self._rounds.all_calls():
                    self.unsaved.setdefault(call)
            if await self.write_some():
                self.given_up = None
                for call in self.unsaved:
                    call.requeue_whole([])
                    self._rounds.mark(call)
            elif self.given_up is StoreState.FULL:
                self._probe_s = PROBES.after(self._probe_s)
                self._next_probe_s = self._clock.monotonic_s() + self._probe_s
            self.log_state()

    async def write_some(self) -> bool:
        """Whether the store takes writes again. To answer is not enough: after a failover it may yet refuse them."""
        if await self._write(list(self.unsaved)):
            return True
        if self.unsaved:
            return False
        return await (self._store_has_room() if self.given_up is StoreState.FULL else self.store_answers())

    async def _write(self, calls: Sequence[Writer]) -> bool:
        """Write some of the calls, in one round trip; whether a write went through that needs memory.

        Calls go on meanwhile; what happens to one that is being written makes it unsaved once more.
        """
        batch: Batch = []
        size_bytes = 0
        for call in calls:
            if size_bytes >= MAX_ROUND_BYTES:
                break
            call.requeue_whole([])
            taken = self._rounds.take(call)
            if taken is None:
                if not call.writes_paused:
                    self.written(call)
                continue
            batch.append((call, *taken))
            size_bytes += taken[0].size_bytes
            call.committed(taken[1])  # At once, as everything while the store is away: later ones must not pass them.
        if not batch:
            return False
        for call, _, _ in batch:
            self.unsaved.pop(call, None)
        outcomes: list[WriteOutcome] | None = None
        try:
            async with asyncio.timeout(try_s(size_bytes)):
                outcomes = await self._store.commit([write for _, write, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            self.given_up = state_of(error)
            self.failure = error
        finally:
            for at, (call, _, _) in enumerate(batch):
                outcome = outcomes[at] if outcomes is not None else None
                if outcome in NOT_OURS:
                    self._rounds.drop_lost(call, outcome)
                elif outcome is WriteOutcome.COMMITTED:
                    self._rejected.pop(call, None)
                    call.stored()
                else:
                    call.requeue_whole([])
                    self.unsaved[call] = None  # At the end, behind those that have not been tried.
            await self._rounds.writes_ended()
        if outcomes is None:
            return False
        if WriteOutcome.FULL in outcomes:
            self.given_up, self.failure = StoreState.FULL, StoreFull(NO_MEMORY)
            return False
        if self.given_up is not StoreState.FULL:
            return True
        told = zip(batch, outcomes, strict=True)
        return any(outcome is WriteOutcome.COMMITTED and not write.ends for (_, write, _), outcome in told)

    async def _check_owners(self, calls: Iterable[Writer]) -> None:
        """Ask whether calls that cannot be written are this pod's: they may be claimed and erased meanwhile."""
        if self._clock.monotonic_s() < self._next_ask_s:
            return
        self._next_ask_s = self._clock.monotonic_s() + ASK_S
        asked = [(call, check) for call in calls if (check := call.ownership_check()) is not None]
        try:
            async with asyncio.timeout(TRY_S):
                outcomes = await self._store.commit([check for _, check in asked])
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is asked again soon
            log.debug("store still away", error=str(error))
            return
        for (call, check), outcome in zip(asked, outcomes, strict=True):
            # A claim of this pod may have come in between: then the answer is of what it was before.
            if outcome in NOT_OURS and call.ownership_check() == check:
                self._rounds.drop_lost(call, outcome)

    async def store_answers(self) -> bool:
        """Whether it answers a ping."""
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
