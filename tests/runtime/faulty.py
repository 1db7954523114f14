"""Stores that fail in a way a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.call.changes import CallWrite
from app.errors import StoreUnavailable
from app.stores.base import Claim, Claimed, NotClaimed, PodBeat, WriteOutcome
from app.stores.memory import MemoryStore
from tests.waiting import until

__all__ = ["FaultyStore", "until"]


class FaultyStore(MemoryStore):
    """Refuses everything while `is_away`, writes alone while `is_locked`; notes the sizes of its rounds."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.is_away = False
        self.is_locked = False
        self.failure: Exception = StoreUnavailable("away")
        self.gate = asyncio.Event()
        """Writes wait while it is cleared."""
        self.gate.set()
        self.claim_gate = asyncio.Event()
        """Claims wait while it is cleared."""
        self.claim_gate.set()
        self.after_round: Callable[[], None] = lambda: None
        """Called before the answer to a round arrives."""
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
        outcomes = await super().commit(writes)
        self.after_round()
        return outcomes

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        self._check(writes=True)
        await self.claim_gate.wait()
        self._check(writes=True)
        return await super().claim(claim)

    async def find_call_key(self, key_hash: str) -> str | None:
        self._check()
        return await super().find_call_key(key_hash)

    async def pods(self) -> list[PodBeat]:
        self._check()
        return await super().pods()
