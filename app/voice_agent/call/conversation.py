"""The conversation: items in order, each stored as one entry.

Theory of operation. `add`, `touch` and `drop` change entries in memory and note which ones; `take_changes` packs those
for the next write. Putting an item anywhere writes one entry and no other (see `item_order`).

What is held is counted in bytes as they are packed for the store, and an item that is not
written yet counts as one that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voice_agent.call.entries import Entries
from voice_agent.call.item_order import Entry

MAX_ITEMS = 20_000
"""Stops a call of a million tiny items, which cost far more in memory than their bytes."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all entries as they are packed: stops a call that fills the store, and take-overs that block it."""
ITEM_OVERHEAD_BYTES = 1024
PART_OVERHEAD_BYTES = 512
"""About what an item, and each part of its content, take in memory beside their packed bytes."""


class Conversation:
    """Ordered items; remembers which entries changed since the last write."""

    def __init__(self, packed: Mapping[str, bytes] | None = None) -> None:
        """Raises `LookupError`, `TypeError` or `ValueError` for what is no entry."""
        self._entries = Entries(packed or {})
        self._changed: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self.unsaved_bytes = 0
        """About what the next write carries of entries."""

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._entries.by_id

    def __len__(self) -> int:
        return len(self._entries.by_id)

    @property
    def packed_bytes(self) -> int:
        """Size of all entries as the store keeps them, or will."""
        return self._entries.packed_bytes

    def get(self, item_id: str) -> Entry | None:
        """The entry of an item, or None."""
        entry = self._entries.by_id.get(item_id)
        if entry is not None and entry.unread:
            entry.read()  # It may be changed.
        return entry

    @property
    def is_full(self) -> bool:
        """Whether not even a small item may be added."""
        return not self.has_room_for(0)

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether an item of so many bytes may be added."""
        return len(self) < MAX_ITEMS and self.packed_bytes + size_bytes < MAX_BYTES

    @property
    def held_bytes(self) -> int:
        """About what the conversation takes in memory."""
        return self.packed_bytes + ITEM_OVERHEAD_BYTES * len(self) + PART_OVERHEAD_BYTES * self._entries.parts

    @property
    def last_id(self) -> str | None:
        """The newest item's id."""
        last = self._entries.order.last
        return None if last is None else last.item["id"]

    @property
    def last_rank(self) -> str:
        """The newest item's rank; "", which is below every other, if there is no item."""
        last = self._entries.order.last
        return "" if last is None else last.rank

    def before(self, item_id: str) -> str | None:
        """The id of the item in front of one, None for the first."""
        before = self._entries.order.before(self._entries.by_id[item_id])
        return None if before is None else before.item["id"]

    def add(self, item: dict[str, Any], *, after: str | None = None, first: bool = False) -> Entry:
        """Put an item at the end, behind the item `after`, or in front of all."""
        if first:
            at = 0
        elif after is None:
            at = len(self)
        else:
            at = self._entries.order.place(self._entries.by_id[after]) + 1
        entry = self._entries.order.insert(at, item)
        self._entries.by_id[item["id"]] = entry
        self._dropped.pop(item["id"], None)
        self.touch(item["id"])
        return entry

    def touch(self, item_id: str) -> None:
        """Note that an entry changed."""
        entry = self._entries.by_id[item_id]
        counted = entry.packed_bytes if item_id in self._changed else 0
        self._changed[item_id] = None
        self._entries.count(entry, len(entry.pack()))
        self.unsaved_bytes += entry.packed_bytes - counted

    def drop(self, item_id: str) -> None:
        """Take an item out."""
        entry = self._entries.remove(item_id)
        if item_id in self._changed:
            del self._changed[item_id]
            self.unsaved_bytes -= entry.packed_bytes
        self._dropped[item_id] = None

    def take_changes(self) -> tuple[dict[str, bytes], list[str]]:
        """Entries to put and ids to drop since the last call of this."""
        if not self._changed and not self._dropped:
            return {}, []
        put = self._pack(self._changed)
        dropped = list(self._dropped)
        self.nothing_changed()
        return put, dropped

    def pack_all(self) -> dict[str, bytes]:
        """Every entry, for a write of the whole call."""
        packed = self._pack(self._entries.by_id)
        self.nothing_changed()
        return packed

    def _pack(self, item_ids: Mapping[str, Any]) -> dict[str, bytes]:
        packed = {item_id: self._entries.by_id[item_id].pack() for item_id in item_ids}
        for item_id, value in packed.items():
            self._entries.count(self._entries.by_id[item_id], len(value))
        return packed

    def nothing_changed(self) -> None:
        """What changed is written, or will be with a write of the whole call."""
        self._changed.clear()
        self._dropped.clear()
        self.unsaved_bytes = 0

    def items(self, *, to_rank: str | None = None) -> Sequence[Mapping[str, Any]]:
        """The items in order as they are now, up to a rank; it costs nothing to make.

        What is added or dropped later does not show in it; a transcript that comes later does.
        """
        return self._entries.order.items(to_rank)
