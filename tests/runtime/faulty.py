"""Stores that fail in a way a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.call.changes import CallWrite
from app.errors import StoreUnavailable
from app.stores.base import Claim, Claimed, NotClaimed, PodBeat, StoreMemory, WriteOutcome
from app.stores.memory import MemoryStore
from tests.waiting import until

__all__ = ["FaultyStore", "until"]


class FaultyStore(MemoryStore):
    """Refuses everything while `is_away`, writes alone while `is_locked`, what needs memory while `is_full`.

    Notes the sizes of its rounds.
    """

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.is_away = False
        self.is_locked = False
        self.found_full: list[str] = []
        """Calls of the writes that found the store full; questions are none."""
        self.rejects: set[str] = set()
        """Calls whose writes are rejected for good."""
        self.round_bytes: list[int] = []
        """How much was in each round that was carried out."""
        self.failure: Exception = StoreUnavailable("away")
        self.gate = asyncio.Event()
        """Writes wait while it is cleared."""
        self.gate.set()
        self.claim_gate = asyncio.Event()
        """Claims wait while it is cleared."""
        self.claim_gate.set()
        self.claims_waiting = 0
        self.after_round: Callable[[], None] = lambda: None
        """Called before the answer to a round arrives."""
        self.asked_pods = 0
        """How often the fleet was asked for."""
        self.rounds: list[int] = []
        """How many calls were in each round that was carried out."""

    def _check(self, *, writes: bool = False) -> None:
        if self.is_away or (writes and self.is_locked):
            raise self.failure

    async def ping(self) -> None:
        self._check()

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        self._check(writes=True)
        await self.gate.wait()
        self._check(writes=True)
        self.rounds.append(len(writes))
        self.round_bytes.append(sum(write.size_bytes for write in writes))
        outcomes = [self._commit(write) for write in writes]
        self.after_round()
        return outcomes

    def _commit(self, write: CallWrite) -> WriteOutcome:
        if write.call_id in self.rejects:
            return WriteOutcome.REJECTED
        outcome = super()._commit(write)
        if outcome is WriteOutcome.FULL and (write.whole or write.fields):
            self.found_full.append(write.call_id)
        return outcome

    async def memory(self) -> StoreMemory | None:
        self._check()
        return StoreMemory(int(self.is_full), 1)

    async def erase(self, call_id: str, now_ms: int) -> bool:
        self._check()
        return await super().erase(call_id, now_ms)

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        self._check(writes=True)
        self.claims_waiting += 1
        try:
            await self.claim_gate.wait()
        finally:
            self.claims_waiting -= 1
        self._check(writes=True)
        return await super().claim(claim)

    async def find_call_key(self, key_hash: str) -> str | None:
        self._check()
        return await super().find_call_key(key_hash)

    async def pods(self) -> list[PodBeat]:
        self.asked_pods += 1
        self._check()
        return await super().pods()
