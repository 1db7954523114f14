"""A store of one's own as an example: a file of SQLite, for the pods of one machine."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from voice_agent import (
    CallWrite,
    Claim,
    Claimed,
    DrainRequest,
    NotClaimed,
    OutboxEntry,
    PodCounters,
    PodHeartbeat,
    RouterWeights,
    SettingsError,
    Snapshot,
    SpeechEntry,
    Store,
    StoreRefused,
    StoreUnavailable,
    WriteOutcome,
    judge_claim,
    judge_write,
    tombstone,
)

Result = TypeVar("Result")

TABLES = """
    PRAGMA journal_mode = WAL;
    PRAGMA foreign_keys = ON;
    CREATE TABLE IF NOT EXISTS calls (call PRIMARY KEY, expires_s, items_expire_s);
    CREATE TABLE IF NOT EXISTS parts (
        call REFERENCES calls ON DELETE CASCADE, part, key, head, body, PRIMARY KEY (call, part, key));
    CREATE TABLE IF NOT EXISTS named (kind, name, value, expires_s, PRIMARY KEY (kind, name));
"""
"""Parts of a call are ``field`` and ``item`` (name, value), ``event`` and ``speech`` (number, head, audio), and
``last`` (which of these two, the highest number there ever was)."""
EXPIRED = (
    "DELETE FROM calls WHERE expires_s <= ?",
    "DELETE FROM parts WHERE part = 'item' AND call IN (SELECT call FROM calls WHERE items_expire_s <= ?)",
    "DELETE FROM named WHERE expires_s <= ?",
)
BUSY_S = 1.0
"""How long a transaction of another pod is waited for."""


def make(url: str, *, ttl_s: int) -> Store:
    """The entry point."""
    address = urlsplit(url)
    if address.netloc or not address.path.strip("/"):
        raise SettingsError("VOICE_STORE_URL: sqlite:///path/to/file is what this store takes")
    return SqliteStore(address.path, ttl_s=ttl_s)


class SqliteStore(Store):
    """One connection, in one thread, for SQLite blocks; a transaction for each verb, and for each write of a commit."""

    def __init__(self, path: str, *, ttl_s: int) -> None:
        super().__init__(ttl_s=ttl_s)
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._db = sqlite3.connect(":memory:", check_same_thread=False)  # Until it is opened.

    @property
    def kind(self) -> str:
        return "sqlite"

    def use_prefix(self, prefix: str) -> None:
        self._path += quote(prefix, safe="")  # Another prefix is another file.

    async def open(self) -> None:
        def connect() -> None:
            self._db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            self._db.executescript(TABLES)

        await self._in_thread(connect)

    async def close(self) -> None:
        await self._in_thread(lambda: self._db.close())

    async def ping(self) -> None:
        await self._transact(lambda: None)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Cancelled, it leaves the work to be done or not begun."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(str(error)) from error
        except sqlite3.Error as error:
            raise StoreRefused(str(error)) from error

    async def _transact(self, work: Callable[[], Result]) -> Result:
        def transaction() -> Result:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                for statement in EXPIRED:
                    self._db.execute(statement, (time.time(),))
                return work()

        return await self._in_thread(transaction)

    # --- calls ---------------------------------------------------------------------------

    def _part(self, call: str, part: str) -> list[tuple[Any, Any, Any]]:
        return self._db.execute(
            "SELECT key, head, body FROM parts WHERE call = ? AND part = ? ORDER BY key", (call, part)
        ).fetchall()

    def _put(self, call: str, part: str, rows: Sequence[tuple[Any, Any, Any]]) -> None:
        self._db.executemany("REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", [(call, part, *row) for row in rows])

    def _drop(self, call: str, *parts: str) -> None:
        self._db.executemany("DELETE FROM parts WHERE call = ? AND part = ?", [(call, part) for part in parts])

    def _record(self, call: str) -> dict[str, bytes]:
        return {name: value for name, value, _ in self._part(call, "field")}

    def _set_fields(self, call: str, fields: Mapping[str, bytes]) -> None:
        self._put(call, "field", [(name, value, b"") for name, value in fields.items()])
        self._db.execute("UPDATE calls SET expires_s = ? WHERE call = ?", (time.time() + self.ttl_s, call))

    def _snapshot(self, call: str) -> Snapshot:
        return Snapshot(
            self._record(call),
            {item_id: value for item_id, value, _ in self._part(call, "item")},
            [OutboxEntry(*row) for row in self._part(call, "event")],
            [SpeechEntry(*row) for row in self._part(call, "speech")],
        )

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        return [await self._transact(lambda write=write: self._commit(write)) for write in writes]  # type: ignore[misc]

    def _commit(self, write: CallWrite) -> WriteOutcome:
        call = write.call_id
        held = lambda: tuple(len(self._part(call, part)) for part in ("item", "event", "speech"))  # noqa: E731
        fields = judge_write(write, self._record(call), held)
        if isinstance(fields, WriteOutcome):
            return fields
        if write.whole:
            self._db.execute("DELETE FROM calls WHERE call = ?", (call,))
            self._db.execute("INSERT INTO calls (call) VALUES (?)", (call,))
            if write.call_key_hash and self._get("key", write.call_key_hash) is None:
                self._set("key", write.call_key_hash, call.encode(), self.ttl_s)
        if write.ends:
            self._drop(call, "field", "event", "speech", "last")
        self._set_fields(call, fields)
        self._put(call, "item", [(item_id, value, b"") for item_id, value in write.items.items()])
        dropped = [(call, item_id) for item_id in write.dropped_items]
        self._db.executemany("DELETE FROM parts WHERE call = ? AND part = 'item' AND key = ?", dropped)
        if write.ends:
            goes_s = time.time() + self.retention_s
            self._db.execute("UPDATE calls SET items_expire_s = ? WHERE call = ?", (goes_s, call))
        else:
            self._append(call, "event", write.events, write.keep_events_from)
            self._append(call, "speech", write.speech, write.keep_speech_from)
        return WriteOutcome.COMMITTED

    def _append(self, call: str, part: str, entries: Sequence[OutboxEntry | SpeechEntry], keep_from: int) -> None:
        """Add what is new, drop what is not kept any more."""
        last = next((n for name, n, _ in self._part(call, "last") if name == part), 0)
        self._put(call, part, [entry for entry in entries if entry.n > last])
        if entries and entries[-1].n > last:
            self._put(call, "last", [(part, entries[-1].n, b"")])
        self._db.execute("DELETE FROM parts WHERE call = ? AND part = ? AND key < ?", (call, part, keep_from))

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        def take() -> Claimed | NotClaimed:
            before = self._record(claim.call_id)
            fields = judge_claim(claim, before)
            if isinstance(fields, NotClaimed):
                return fields
            self._set_fields(claim.call_id, fields)
            owner, status = (before.get(name, b"").decode() for name in ("owner", "status"))
            return Claimed(int(fields["epoch"]), self._snapshot(claim.call_id), owner, status)

        return await self._transact(take)

    async def erase(self, call_id: str, now_ms: int) -> bool:
        def erase() -> bool:
            if record := self._record(call_id):
                self._drop(call_id, "field", "item", "event", "speech", "last")
                self._set_fields(call_id, tombstone(record, now_ms))
            return bool(record)

        return await self._transact(erase)

    async def load(self, call_id: str) -> Snapshot | None:
        snapshot = await self._transact(lambda: self._snapshot(call_id))
        return snapshot if snapshot.fields else None

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        def bind() -> bytes:
            bound = self._get("key", key_hash)
            if bound is None or bound.decode() == instead_of:
                bound = call_id.encode()
            self._set("key", key_hash, bound, self.ttl_s)
            return bound

        return (await self._transact(bind)).decode()

    async def find_call_key(self, key_hash: str) -> str | None:
        def find() -> bytes | None:
            bound = self._get("key", key_hash)
            self._set("key", key_hash, bound, self.ttl_s)
            return bound

        bound = await self._transact(find)
        return None if bound is None else bound.decode()

    # --- what pods and operators keep together -------------------------------------------

    def _get(self, kind: str, name: str) -> bytes | None:
        found = self._db.execute("SELECT value FROM named WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return found and bytes(found[0])

    def _set(self, kind: str, name: str, value: bytes | None, ttl_s: float = math.inf) -> None:
        if value is None:
            self._db.execute("DELETE FROM named WHERE kind = ? AND name = ?", (kind, name))
        else:
            self._db.execute("REPLACE INTO named VALUES (?, ?, ?, ?)", (kind, name, value, time.time() + ttl_s))

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        said = json.dumps(asdict(heartbeat)).encode()
        await self._transact(lambda: self._set("pod", heartbeat.name, said, ttl_s))
        return await self.drain_request(heartbeat.color)

    async def pods(self) -> list[PodHeartbeat]:
        select = "SELECT value FROM named WHERE kind = 'pod' ORDER BY name"
        return [_heartbeat(*row) for row in await self._transact(lambda: self._db.execute(select).fetchall())]

    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        said = None if request is None else json.dumps(asdict(request)).encode()
        await self._transact(lambda: self._set("drain", color, said))

    async def drain_request(self, color: str) -> DrainRequest | None:
        said = await self._transact(lambda: self._get("drain", color))
        return None if said is None else DrainRequest(**json.loads(said))

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        await self._transact(lambda: self._set("weights", "", json.dumps([dict(weights), now_ms]).encode()))

    async def weights(self) -> RouterWeights | None:
        said = await self._transact(lambda: self._get("weights", ""))
        return None if said is None else RouterWeights(*json.loads(said))

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        def settle() -> bytes:
            settled = self._get("agreed", name) or proposal
            self._set("agreed", name, settled)
            return settled

        return await self._transact(settle)

    async def get(self, name: str) -> bytes | None:
        return await self._transact(lambda: self._get("value", name))

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        def replace() -> bool:
            is_known = self._get("value", name) in (old, new)
            if is_known:
                self._set("value", name, new, ttl_s)
            return is_known

        return await self._transact(replace)


def _heartbeat(said: bytes) -> PodHeartbeat:
    fields = json.loads(said)
    counters = fields.pop("counters")
    fields["reads_schemas"] = tuple(fields["reads_schemas"])
    return PodHeartbeat(**fields, counters=counters and PodCounters(**counters))
