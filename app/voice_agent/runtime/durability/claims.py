"""Whose a call is, as the store says: a claim adds one to the epoch and hands back everything the store holds.

A claim whose answer was lost may have taken effect. Each has a name, and is asked for again under it: it counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog

from voice_agent.call.beginnings import CallClaimed, begin
from voice_agent.call.inputs import ClaimAsked, Input, WriteLost
from voice_agent.call.record import CallRecord
from voice_agent.call.schema import READS_SCHEMAS
from voice_agent.errors import RecordUnreadable, StoreError
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.stores.base import Claim, Claimed, NotClaimed, Store

NAME_BYTES = 12
"""Of chance, in a claim's name."""
LONG_CONVERSATION = 2_000
"""More items are read in a thread: twenty thousand take as long to read as other calls may have to wait, these 3 ms, or
10 ms where another release has packed them. Fewer are not: a thread waits for the interpreter up to 5 ms each time that
the event loop has work, and after a kill it always has."""

log = structlog.get_logger(__name__)


class ClaimAnswer(NamedTuple):
    """What the store said to a claim, and the claim's name, which the call's writes are to bear from now on."""

    outcome: Claimed | NotClaimed
    name: str


class HeldCall(Protocol):
    """A call in memory, as far as a claim needs it."""

    call: CallRecord

    def feed(self, event: Input) -> None:
        """Let something happen to the call."""


class Claims:
    """One pod's claims. `pod` and `color` are told to the store as the call's new owner."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        observer: Observer,
        random_bytes: Callable[[int], bytes],
        *,
        pod: str,
        color: str,
        schemas: tuple[int, int] = READS_SCHEMAS,
    ) -> None:
        """`schemas`: the oldest and the newest that the pod reads."""
        self._store = store
        self._clock = clock
        self._observer = observer
        self._random_bytes = random_bytes
        self._pod = pod
        self._color = color
        self._schemas = schemas

    def new_name(self) -> str:
        """A name that no other claim has."""
        return self._random_bytes(NAME_BYTES).hex()

    async def claim(self, call_id: str, held: HeldCall | None, *, api_key_hash: str | None) -> ClaimAnswer:
        """Ask for a call, of which this pod has `held` in memory. Under a new epoch it is with `ClaimGranted` only.

        Raises `StoreError` without an answer, and whether the claim took effect is not known then, as after a
        cancellation; `RecordUnreadable` for a record that this version cannot read; the next write of `held` heals it.
        """
        name = (held.call.owner.doubted_claim if held is not None else "") or self.new_name()
        claim = Claim(call_id, self._pod, self._color, self._clock.wall_ms(), api_key_hash, name, self._schemas)
        if held is not None:
            # Whatever keeps the answer away, a cancellation too: until there is one it may have taken effect.
            held.feed(ClaimAsked(name))
        started_s = self._clock.monotonic_s()
        try:
            outcome = await self._store.claim(claim)
        except StoreError:
            self._observer.store_failed("claim")
            raise
        except RecordUnreadable:
            if held is not None:
                held.feed(WriteLost())  # Here is what the record lacks.
            raise
        self._observer.store_call("claim", self._clock.monotonic_s() - started_s)
        return ClaimAnswer(outcome, name)

    async def read(self, claimed: CallClaimed) -> CallRecord:
        """The call that was claimed; a long one is read in a thread. Raises `RecordUnreadable`.

        What the store had lost of it is logged and counted.
        """
        is_long = len(claimed.snapshot.items) > LONG_CONVERSATION
        call = await asyncio.to_thread(begin, claimed) if is_long else begin(claimed)
        if any(call.record.missing):
            log.warning("the store had lost a part of a call", call_id=call.call_id, **call.record.missing._asdict())
            for part, count in call.record.missing._asdict().items():
                if count:
                    self._observer.call_incomplete(part)
        return call
