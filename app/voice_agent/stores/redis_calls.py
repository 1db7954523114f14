"""What a store in Redis does with calls.

All keys of a call share one hash slot, and each write is one script: fenced, atomic,
and one element of a pipeline, so that a whole pod's changes cost one round trip. The
scripts are in `lua/`, one a file, each with a table of its keys and arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.errors import RecordUnreadable, StoreRefused, StoreUnavailable
from voice_agent.stores.base import TOMBSTONE_FIELDS, Claim, Claimed, NotClaimed, WriteOutcome
from voice_agent.stores.redis_client import RedisClient
from voice_agent.stores.redis_errors import outcome_of_failure
from voice_agent.stores.redis_fleet_format import CALL_ID
from voice_agent.stores.redis_format import STAGED_FROM_BYTES, Reading, commit_arguments, parts_of
from voice_agent.stores.redis_gathering import Question

PLAIN_KEYS = 4
"""Of a call; behind them stand those of a write that is staged."""
CLAIMED_MEANWHILE = "the call was claimed by another pod while it was read"


class RedisCalls(RedisClient):
    """The verbs for calls and call keys."""

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        """One pipeline, one script per write; in front of them the keys that whole writes bind.

        Large whole writes are brought beside their calls before, part by part, and put in place by that script.
        """
        runs = [await self._in_parts(write) if self._is_large(write) else self._at_once(write) for write in writes]
        beside = [keys[PLAIN_KEYS:] for keys, _ in runs]
        keys = [(self.keys.call_key(write.call_key_hash), write.call_id) for write in writes if write.call_key_hash]
        outcomes = await self._ask(lambda: self._run_all(self._scripts["commit"], runs, bind=keys), again=False)
        told = [
            outcome_of_failure(outcome) if isinstance(outcome, Exception) else WriteOutcome(outcome.decode())
            for outcome in outcomes
        ]
        for staged, outcome in zip(beside, told, strict=True):
            if staged and outcome is not WriteOutcome.COMMITTED:
                await self._unlink(staged)
        return told

    def _is_large(self, write: CallWrite) -> bool:
        """Whether to bring a write in parts: a whole one of which something is kept."""
        return write.whole and write.size_bytes >= STAGED_FROM_BYTES and bool(self.retention_s or not write.ends)

    def _at_once(self, write: CallWrite) -> Question:
        """How a write is committed."""
        return self.keys.of_call(write.call_id), commit_arguments(write, self.ttl_s, self.retention_s)

    async def _in_parts(self, write: CallWrite) -> Question:
        """How a large write is committed, once its parts were brought."""
        keys = self.keys.of_call(write.call_id)
        # Under a name that no other write has: of two owners each brings its own.
        beside = [f"{key}:{write.claim}.{write.epoch}.{write.revision}" for key in keys[1:]]
        await self._unlink(beside)
        for part in parts_of(write):
            if not await self._stage(beside, part):
                await self._unlink(beside)
                return self._at_once(write)  # Which is told why.
        counts = [len(write.items), len(write.events), len(write.speech)]
        rest = commit_arguments(replace(write, items={}, events=[], speech=[]), self.ttl_s, self.retention_s)
        return [*keys, *beside], [*rest, *counts]

    async def _unlink(self, keys: Sequence[str]) -> None:
        await self._ask(lambda: self._redis.unlink(*keys), again=False)

    async def _stage(self, keys: Sequence[str], part: list[Any]) -> bool:
        """Whether a part could be brought. An error of this part alone is no error of other calls' writes."""
        try:
            return bool(await self._run("stage", keys, part, again=False) == b"staged")
        except StoreRefused:
            return False

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        """One script, together with those of other claims; of a longer call its items beside it, or further pages."""
        arguments = [
            claim.owner,
            claim.color,
            claim.now_ms,
            self.ttl_s,
            int(claim.api_key_hash is not None),
            claim.api_key_hash or "",
            claim.name,
            await self._server_ms() or 0,
            *(claim.schemas or ("", "")),
            1,
        ]
        # Without a name it would count once more each time it is asked.
        keys = self.keys.of_call(claim.call_id)
        outcome, *more = await self._run_together("claim", keys, arguments, again=bool(claim.name))
        if outcome == b"late":
            self._server_ahead_ms = None
            raise StoreUnavailable("the claim reached the store too late")
        if outcome == b"schema":
            raise RecordUnreadable(*more)
        if outcome != b"claimed":
            return NotClaimed(outcome.decode())
        epoch, owner, status, *held, is_beside = more
        reading = Reading(*held)
        if is_beside:
            items, owner_now = await self._ask_together("items", self._read_items, (keys, ()), again=True)
            if owner_now != [b"%d" % epoch, claim.name.encode()]:
                raise StoreUnavailable(CLAIMED_MEANWHILE)
            reading.add_items(items)
        snapshot = await self._read(claim.call_id, reading, [epoch, claim.name])
        before = (word.decode(errors="backslashreplace") for word in (owner, status))
        return Claimed(epoch, snapshot, *before)

    async def _read(self, call_id: str, reading: Reading, owned: list[Any]) -> Snapshot:
        """What is left of a call; `owned`: under which epoch and claim it must be, or twice ""."""
        while (rest := reading.rest) is not None:
            page = await self._run("read", self.keys.of_call(call_id), [*owned, *rest])
            if page is None:
                raise StoreUnavailable(CLAIMED_MEANWHILE)
            reading.add(page)
        return reading.snapshot()

    async def erase(self, call_id: str, now_ms: int) -> bool:
        """One script."""
        arguments = [now_ms, self.ttl_s, "admin", *TOMBSTONE_FIELDS]
        return bool(await self._run("erase", self.keys.of_call(call_id), arguments))

    async def load(self, call_id: str) -> Snapshot | None:
        """One script, and one for each further page of a large call, in which changes made meanwhile may show."""
        held = await self._run("load", self.keys.of_call(call_id), [])
        return await self._read(call_id, Reading(*held), ["", ""]) if held[0] else None

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        """One script."""
        bound: bytes = await self._run(
            "bind_call_key", [self.keys.call_key(key_hash)], [call_id, self.ttl_s, instead_of or ""]
        )
        return bound.decode()

    async def find_call_key(self, key_hash: str) -> str | None:
        """One GETEX."""
        key = self.keys.call_key(key_hash)
        bound: Any = await self._ask(lambda: self._redis.getex(key, ex=self.ttl_s), about=key)
        is_malformed = bound is not None and CALL_ID.fullmatch(bound) is None
        self._passed_over.tell("call keys", {key: "bound to no call"} if is_malformed else {})
        return None if bound is None or is_malformed else bound.decode()
