"""The store in this process's memory: nothing survives it. Also the model of what the Lua scripts do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from app.stores.base import Claim, Claimed, DrainWish, NotClaimed, PodBeat, Store, WriteOutcome


@dataclass(slots=True)
class _Kept:
    expires_s: float
    fields: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, bytes] = field(default_factory=dict)
    outbox: dict[int, OutboxEntry] = field(default_factory=dict)
    speech: dict[int, SpeechEntry] = field(default_factory=dict)
    last_event_n: int = 0
    last_speech_n: int = 0
    """Highest numbers ever added: like a stream's, they outlive what was trimmed."""


class MemoryStore(Store):
    """`memory://`. One instance may be shared by several pods of a test."""

    def __init__(self, *, ttl_s: int, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(ttl_s=ttl_s)
        self._now_s = now_s
        self._calls: dict[str, _Kept] = {}
        self._keys: dict[str, tuple[str, float]] = {}
        self._pods: dict[str, tuple[PodBeat, float]] = {}
        self._wishes: dict[str, DrainWish] = {}
        self._agreed: dict[str, bytes] = {}

    @property
    def kind(self) -> str:
        return "memory"

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    def _kept(self, call_id: str) -> _Kept | None:
        kept = self._calls.get(call_id)
        if kept is not None and kept.expires_s <= self._now_s():
            del self._calls[call_id]
            return None
        return kept

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        return [self._commit(write) for write in writes]

    def _commit(self, write: CallWrite) -> WriteOutcome:
        kept = self._kept(write.call_id)
        if kept is not None and int(kept.fields["epoch"]) > write.epoch:
            return WriteOutcome.SUPERSEDED
        if write.whole:
            kept = self._calls[write.call_id] = _Kept(0.0)
        elif kept is None:
            return WriteOutcome.UNKNOWN
        kept.expires_s = self._now_s() + self.ttl_s
        kept.fields.update(write.fields, epoch=b"%d" % write.epoch)
        kept.items.update(write.items)
        for item_id in write.dropped_items:
            kept.items.pop(item_id, None)
        for event in write.events:
            if event.n > kept.last_event_n:
                kept.outbox[event.n] = event
                kept.last_event_n = event.n
        for piece in write.speech:
            if piece.n > kept.last_speech_n:
                kept.speech[piece.n] = piece
                kept.last_speech_n = piece.n
        kept.outbox = {n: event for n, event in kept.outbox.items() if n >= write.keep_events_from}
        kept.speech = {n: piece for n, piece in kept.speech.items() if n >= write.keep_speech_from}
        return WriteOutcome.COMMITTED

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        kept = self._kept(claim.call_id)
        if kept is None:
            return NotClaimed.UNKNOWN
        before = dict(kept.fields)
        if claim.api_key_hash is not None and before.get("api_key_hash", b"").decode() != claim.api_key_hash:
            return NotClaimed.FOREIGN
        if before.get("status") == b"ended":
            return NotClaimed.ENDED
        epoch = int(before["epoch"]) + 1
        kept.expires_s = self._now_s() + self.ttl_s
        kept.fields.update(
            epoch=b"%d" % epoch, owner=claim.owner.encode(), color=claim.color.encode(), status=b"attached"
        )
        return Claimed(
            epoch,
            self._snapshot(kept),
            before.get("owner", b"").decode(),
            before.get("status", b"").decode(),
            before.get("color", b"").decode(),
        )

    @staticmethod
    def _snapshot(kept: _Kept) -> Snapshot:
        return Snapshot(dict(kept.fields), dict(kept.items), list(kept.outbox.values()), list(kept.speech.values()))

    async def load(self, call_id: str) -> Snapshot | None:
        kept = self._kept(call_id)
        return None if kept is None else self._snapshot(kept)

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        bound = await self.find_call_key(key_hash)
        if bound is None or bound == instead_of:
            self._keys[key_hash] = (call_id, self._now_s() + self.ttl_s)
            return call_id
        return bound

    async def find_call_key(self, key_hash: str) -> str | None:
        bound = self._keys.get(key_hash)
        if bound is None or bound[1] <= self._now_s():
            return None
        self._keys[key_hash] = (bound[0], self._now_s() + self.ttl_s)
        return bound[0]

    async def beat(self, beat: PodBeat, *, ttl_s: int) -> DrainWish | None:
        self._pods[beat.name] = (beat, self._now_s() + ttl_s)
        return self._wishes.get(beat.color)

    async def retire(self, pod: str) -> None:
        self._pods.pop(pod, None)

    async def pods(self) -> list[PodBeat]:
        return sorted(
            (beat for beat, expires_s in self._pods.values() if expires_s > self._now_s()), key=lambda beat: beat.name
        )

    async def wish_drain(self, color: str, wish: DrainWish | None) -> None:
        if wish is None:
            self._wishes.pop(color, None)
        else:
            self._wishes[color] = wish

    async def drain_wish(self, color: str) -> DrainWish | None:
        return self._wishes.get(color)

    async def agree(self, name: str, proposal: bytes) -> bytes:
        return self._agreed.setdefault(name, proposal)
