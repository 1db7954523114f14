"""Stores that fail in a way a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from tests.runtime.clocks import StoppedClock
from tests.waiting import until
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreUnavailable
from voice_agent.stores.base import Claim, Claimed, NotClaimed, PodHeartbeat, StoreMemory, WriteOutcome
from voice_agent.stores.memory import MemoryStore

__all__ = ["NEVER", "AnsweringStore", "FaultyStore", "until"]


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

    async def pods(self) -> list[PodHeartbeat]:
        self.asked_pods += 1
        self._check()
        return await super().pods()


NEVER = object()
"""An answer that does not come."""


class AnsweringStore(MemoryStore):
    """Answers as it is told, and when it is told no more, that all is well. Notes what it was asked and when.

    An answer is an outcome of each write, a list of them, an exception or `NEVER`.
    """

    def __init__(self, clock: StoppedClock, *answers: Any) -> None:
        super().__init__(ttl_s=60)
        self.clock = clock
        self.answers = list(answers)
        """To rounds of writes."""
        self.takes_s = 0.0
        """How long a round takes."""
        self.meanwhile: list[Callable[[], object]] = []
        """Each is called within a round of its own."""
        self.gate = asyncio.Event()
        """Rounds wait while it is cleared."""
        self.gate.set()
        self.rounds: list[list[str]] = []
        self.round_at_s: list[float] = []
        self.questions: list[list[str]] = []
        """Rounds in which nothing was to be written."""
        self.question_at_s: list[float] = []
        self.question_answers: list[Any] = []
        self.pings_at_s: list[float] = []
        self.ping_answer: Any = None
        self.memory_answer: Any = None

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        names = [write.call_id for write in writes]
        if not any(write.fields for write in writes):
            self.questions.append(names)
            self.question_at_s.append(self.clock.now_s)
            return await self._answer(self.question_answers, names)
        self.rounds.append(names)
        self.round_at_s.append(self.clock.now_s)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        await self.gate.wait()
        self.clock.now_s += self.takes_s
        return await self._answer(self.answers, names)

    async def _answer(self, answers: list[Any], names: list[str]) -> list[WriteOutcome]:
        answer = await _told(answers.pop(0) if answers else WriteOutcome.COMMITTED)
        return [answer] * len(names) if isinstance(answer, WriteOutcome) else list(answer)

    async def ping(self) -> None:
        self.pings_at_s.append(self.clock.now_s)
        await _told(self.ping_answer)

    async def memory(self) -> StoreMemory | None:
        told: StoreMemory | None = await _told(self.memory_answer)
        return told


async def _told(answer: Any) -> Any:
    if answer is NEVER:
        await asyncio.Event().wait()
    if isinstance(answer, Exception):
        raise answer
    return answer
