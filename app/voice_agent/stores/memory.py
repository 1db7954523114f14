"""The store in this process's memory: nothing survives it. Also the model of what the Lua scripts do."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from voice_agent.stores.base import Claim, Claimed, NotClaimed, Store, WriteOutcome
from voice_agent.stores.memory_fleet import MemoryFleet
from voice_agent.stores.record_rules import judge_claim, judge_write, tombstone

NONE_HELD = (0, 0, 0)


@dataclass(slots=True)
class _Kept:
    expires_s: float = 0.0
    """Put forward with each refresh."""
    fields: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, bytes] = field(default_factory=dict)
    outbox: deque[OutboxEntry] = field(default_factory=deque)
    speech: deque[SpeechEntry] = field(default_factory=deque)
    last_event_n: int = 0
    last_speech_n: int = 0
    """Highest numbers ever added: like a stream's, they outlive what was trimmed."""

    @property
    def held(self) -> tuple[int, int, int]:
        """How much there is of each part."""
        return len(self.items), len(self.outbox), len(self.speech)

    def append(self, write: CallWrite) -> None:
        """Add events and speech that are new, and drop what is not kept any more."""
        for event in write.events:
            if event.n > self.last_event_n:
                self.outbox.append(event)
                self.last_event_n = event.n
        for piece in write.speech:
            if piece.n > self.last_speech_n:
                self.speech.append(piece)
                self.last_speech_n = piece.n
        while self.outbox and self.outbox[0].n < write.keep_events_from:
            self.outbox.popleft()
        while self.speech and self.speech[0].n < write.keep_speech_from:
            self.speech.popleft()

    def drop_streams(self) -> None:
        """Drop outbox and speech."""
        self.outbox, self.speech = deque(), deque()
        self.last_event_n = self.last_speech_n = 0


class MemoryStore(MemoryFleet, Store):
    """`memory://`. One instance may be shared by several pods of a test."""

    def __init__(self, *, ttl_s: int, now_s: Callable[[], float] = time.monotonic) -> None:
        MemoryFleet.__init__(self, now_s)
        Store.__init__(self, ttl_s=ttl_s)
        self.is_full = False
        """As a server at its `maxmemory`: takes no write but those that free memory."""
        # Both in the order in which they expire, for each refresh moves an entry to the end.
        self._calls: OrderedDict[str, _Kept] = OrderedDict()
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._retained: deque[tuple[float, str, _Kept]] = deque()
        """Calls that have ended, and when their items go, if that is before all else of them."""

    @property
    def kind(self) -> str:
        return "memory"

    def use_prefix(self, prefix: str) -> None:
        """Nobody else is in this process's memory."""

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    def _kept(self, call_id: str) -> _Kept | None:
        self._forget_expired()
        return self._calls.get(call_id)

    def _forget_expired(self) -> None:
        now_s = self._now_s()
        while self._calls and next(iter(self._calls.values())).expires_s <= now_s:
            self._calls.popitem(last=False)
        while self._retained and self._retained[0][0] <= now_s:
            _, call_id, kept = self._retained.popleft()
            if self._calls.get(call_id) is kept:
                kept.items = {}
        while self._keys and next(iter(self._keys.values()))[1] <= now_s:
            self._keys.popitem(last=False)

    def _refresh(self, call_id: str, kept: _Kept) -> None:
        kept.expires_s = self._now_s() + self.ttl_s
        self._calls.move_to_end(call_id)

    def _bind(self, key_hash: str, call_id: str) -> None:
        self._keys[key_hash] = (call_id, self._now_s() + self.ttl_s)
        self._keys.move_to_end(key_hash)

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        return [self._commit(write) for write in writes]

    def _commit(self, write: CallWrite) -> WriteOutcome:
        kept = self._kept(write.call_id)
        judged = judge_write(write, kept.fields if kept else {}, lambda: kept.held if kept else NONE_HELD)
        if isinstance(judged, WriteOutcome):
            return judged
        if self.is_full and not write.ends:
            return WriteOutcome.FULL
        if write.whole and write.call_key_hash and write.call_key_hash not in self._keys:
            self._bind(write.call_key_hash, write.call_id)
        if kept is None or write.whole:
            kept = self._calls[write.call_id] = _Kept()
        self._refresh(write.call_id, kept)
        if write.ends:
            kept.fields = {}
        kept.fields.update(judged)
        kept.items.update(write.items)
        for item_id in write.dropped_items:
            kept.items.pop(item_id, None)
        if write.ends:
            kept.drop_streams()
            self._retain(write.call_id, kept)
        else:
            kept.append(write)
        return WriteOutcome.COMMITTED

    def _retain(self, call_id: str, kept: _Kept) -> None:
        if not self.retention_s:
            kept.items = {}
        elif self.retention_s < self.ttl_s:
            self._retained.append((self._now_s() + self.retention_s, call_id, kept))

    async def erase(self, call_id: str, now_ms: int) -> bool:
        kept = self._kept(call_id)
        if kept is None:
            return False
        self._refresh(call_id, kept)
        kept.fields, kept.items = tombstone(kept.fields, now_ms), {}
        kept.drop_streams()
        return True

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        kept = self._kept(claim.call_id)
        judged = judge_claim(claim, kept.fields if kept else {})
        if isinstance(judged, NotClaimed):
            return judged
        assert kept is not None
        previous_owner, previous_status = (kept.fields.get(name, b"").decode() for name in ("owner", "status"))
        self._refresh(claim.call_id, kept)
        kept.fields.update(judged)
        return Claimed(int(judged["epoch"]), self._snapshot(kept), previous_owner, previous_status)

    @staticmethod
    def _snapshot(kept: _Kept) -> Snapshot:
        return Snapshot(dict(kept.fields), dict(kept.items), list(kept.outbox), list(kept.speech))

    async def load(self, call_id: str) -> Snapshot | None:
        kept = self._kept(call_id)
        return None if kept is None else self._snapshot(kept)

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        bound = await self.find_call_key(key_hash)
        if bound is None or bound == instead_of:
            self._bind(key_hash, call_id)
            return call_id
        return bound

    async def find_call_key(self, key_hash: str) -> str | None:
        self._forget_expired()
        bound = self._keys.get(key_hash)
        if bound is None:
            return None
        self._bind(key_hash, bound[0])
        return bound[0]
