"""How far the cutover is, kept in the store, and a lease so that only one tool works at it.

Two values: ``cutover`` is the record, replaced only by whoever knows what it says; ``cutover-lease``
names the tool at work and runs out by itself when that dies.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import orjson

from voice_agent.errors import StoreError
from voice_agent.operate.plan import CutoverProgress, as_json, from_json
from voice_agent.operate.ports import CutoverError
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store

RECORD = "cutover"
LEASE = "cutover-lease"
KEPT_S = 30 * 24 * 3600
"""A cutover that nobody went on with is forgotten after a month."""
LEASE_S = 15
RENEW_S = 4.0
LOOK_S = 0.5


class LeaseLost(CutoverError):
    """Another tool is at work: nothing more may be done."""


class Journal:
    """One tool's view of it. `acquire` first, `renew` now and then, `release` at the end."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._lease: bytes | None = None
        self._renewal: bytes | None = None
        """Asked for, not answered yet."""
        self._known: bytes | None = None
        self._held: dict[str, Any] = {}
        """The record that was read."""
        self._unanswered: bytes | None = None
        """A record that was to be saved; whether the store has it is not known."""

    async def read(self) -> CutoverProgress | None:
        """The last cutover, finished or not; None if there was none. Raises `CutoverError` for one it cannot read."""
        self._known = await self._store.get(RECORD)
        if self._known is None:
            return None
        try:
            held = orjson.loads(self._known)
            progress = from_json(held)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CutoverError(
                "the store holds a cutover that this version cannot read; finish it with the version that began it"
            ) from error
        self._held = held
        return progress

    async def check_none_unfinished(self) -> None:
        """Raise `CutoverError` where a color waits for its callers, or is about to lose them; and as `read`."""
        known = await self.read()
        if known is not None and not known.is_over:
            raise CutoverError(f"a cutover to {known.new} is unfinished: finish or undo it before pods are removed")

    async def save(self, progress: CutoverProgress) -> None:
        """Replace the record, before the step it names begins; safe to ask again. What a newer version added stays.

        Raises `LeaseLost` if somebody else has, and `StoreError`.
        """
        packed = orjson.dumps(_with_added(as_json(progress), self._held))
        if self._unanswered is not None and self._unanswered != packed:
            # The same again until it is answered: the store may have it already, and would not know ours by the older.
            await self._replace(self._unanswered)
        await self._replace(packed)

    async def _replace(self, packed: bytes) -> None:
        self._unanswered = packed
        # A store that was emptied has forgotten the record, not somebody's newer one.
        for known in (self._known, None):
            if await self._store.compare_and_set(RECORD, known, packed, ttl_s=KEPT_S):
                self._known, self._unanswered = packed, None
                return
        raise LeaseLost("somebody else went on with this cutover")

    async def drop(self) -> None:
        """Forget the record that was read. Raises `LeaseLost` if it is another by now."""
        if not await self._store.compare_and_set(RECORD, self._known, None, ttl_s=KEPT_S):
            raise LeaseLost("somebody else went on with this cutover")
        self._known = None

    async def acquire(self) -> None:
        """Take the lease; waits for that of a tool that has died. Raises `CutoverError` while another is at work."""
        mine = self._signed()
        other: bytes | None = None
        while not await self._store.compare_and_set(LEASE, None, mine, ttl_s=LEASE_S):
            found = await self._store.get(LEASE)
            if other is not None and found is not None and found != other:
                raise CutoverError("another cutover is at work: wait for its end, or interrupt it")
            other = found
            await self._clock.sleep(LOOK_S)
        self._lease = mine

    async def renew(self) -> None:
        """Keep the lease. Raises `LeaseLost`, and `StoreError` when it cannot be known."""
        # The same again until it is answered: the store may have it already.
        fresh = self._renewal = self._renewal or self._signed()
        # It may have run out while the store was away, or have been forgotten; nobody else took it then.
        for known in (self._lease, None):
            if await self._store.compare_and_set(LEASE, known, fresh, ttl_s=LEASE_S):
                self._lease, self._renewal = fresh, None
                return
        raise LeaseLost("another cutover is at work")

    async def release(self) -> None:
        """Let the next tool begin at once. Whatever the store says to that, nothing is raised: the lease runs out."""
        if self._lease is None:
            return
        with contextlib.suppress(StoreError):
            await self._store.compare_and_set(LEASE, self._lease, None, ttl_s=LEASE_S)
        self._lease = None

    def _signed(self) -> bytes:
        lease: dict[str, Any] = {"holder": self._holder, "at_ms": self._clock.wall_ms()}
        return orjson.dumps(lease)


def _with_added(told: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """What is told of a cutover, and what a newer version added to its record, its options and a pod's counts.

    Each of these tells all that this version knows: what else was held there is of another.
    """
    if held.get("cutover_id") != told["cutover_id"]:
        return told
    counts = {pod: {**held.get("counts", {}).get(pod, {}), **count} for pod, count in told["counts"].items()}
    return {**held, **told, "terms": {**held["terms"], **told["terms"]}, "counts": counts}
