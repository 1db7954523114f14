"""The conversation: items in order, each stored as one entry.

An entry carries a rank, a number that orders it; a new item's rank lies between its
neighbours', so that putting an item in the middle writes one entry and not all that
follow. When two neighbours leave no room between them, all are ranked anew (after
some fifty insertions at one and the same place).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import orjson

RANK_STEP = 1024.0
MAX_ITEMS = 20_000
MAX_BYTES = 16 * 1024 * 1024
"""Bounds on what one call may make the server keep."""


@dataclass(slots=True)
class Entry:
    """One item and what the call remembers of it."""

    item: dict[str, Any]
    rank: float
    audio_ms: int = 0
    """How much speech was sent for it (assistant) or heard in it (user)."""
    marks: list[list[int]] | None = None
    """Where each piece of an assistant's transcript starts: pairs of audio bytes and text characters."""
    packed_bytes: int = 0
    """Size of the entry when it was last packed."""

    def pack(self) -> bytes:
        """The entry as the store keeps it."""
        return orjson.dumps({"rank": self.rank, "audio_ms": self.audio_ms, "marks": self.marks, "item": self.item})

    @classmethod
    def unpack(cls, packed: bytes) -> Entry:
        """The inverse of `pack`."""
        fields = orjson.loads(packed)
        return cls(fields["item"], fields["rank"], fields.get("audio_ms", 0), fields.get("marks"), len(packed))


class Conversation:
    """Ordered items; remembers which entries changed since the last write."""

    def __init__(self, packed: Mapping[str, bytes] | None = None) -> None:
        entries = {item_id: Entry.unpack(value) for item_id, value in (packed or {}).items()}
        self._entries: dict[str, Entry] = entries
        self._order: list[str] = sorted(entries, key=lambda item_id: entries[item_id].rank)
        self._bytes = sum(len(value) for value in (packed or {}).values())
        self._changed: dict[str, None] = {}
        self._dropped: dict[str, None] = {}

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._entries

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Entry | None:
        """The entry of an item, or None."""
        return self._entries.get(item_id)

    @property
    def is_full(self) -> bool:
        """Whether another item would exceed what a call may keep."""
        return len(self._order) >= MAX_ITEMS or self._bytes >= MAX_BYTES

    @property
    def last_id(self) -> str | None:
        """The newest item's id."""
        return self._order[-1] if self._order else None

    def before(self, item_id: str) -> str | None:
        """The id of the item in front of one, None for the first."""
        at = self._place(item_id)
        return self._order[at - 1] if at else None

    def add(self, item: dict[str, Any], *, after: str | None = None, first: bool = False) -> Entry:
        """Put an item at the end, behind the item `after`, or in front of all."""
        if first:
            at = 0
        elif after is None:
            at = len(self._order)
        else:
            at = self._place(after) + 1
        entry = Entry(item, self._rank_at(at))
        self._order.insert(at, item["id"])
        self._entries[item["id"]] = entry
        self._dropped.pop(item["id"], None)
        self.touch(item["id"])
        return entry

    def touch(self, item_id: str) -> None:
        """Note that an entry changed."""
        self._changed[item_id] = None

    def drop(self, item_id: str) -> None:
        """Take an item out."""
        del self._order[self._place(item_id)]
        self._bytes -= self._entries.pop(item_id).packed_bytes
        self._changed.pop(item_id, None)
        self._dropped[item_id] = None

    def take_changes(self) -> tuple[dict[str, bytes], list[str]]:
        """Entries to put and ids to drop since the last call of this."""
        put = {item_id: self._entries[item_id].pack() for item_id in self._changed}
        for item_id, packed in put.items():
            entry = self._entries[item_id]
            self._bytes += len(packed) - entry.packed_bytes
            entry.packed_bytes = len(packed)
        dropped = list(self._dropped)
        self._changed.clear()
        self._dropped.clear()
        return put, dropped

    def pack_all(self) -> dict[str, bytes]:
        """Every entry, for a write of the whole call."""
        self._changed.clear()
        self._dropped.clear()
        return {item_id: entry.pack() for item_id, entry in self._entries.items()}

    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items in order, as a live view that costs nothing to make."""
        return _Items(self._order, self._entries)

    def _place(self, item_id: str) -> int:
        if self._order[-1] == item_id:
            return len(self._order) - 1
        rank = self._entries[item_id].rank
        return bisect_left(self._order, rank, key=lambda other: self._entries[other].rank)

    def _rank_at(self, at: int) -> float:
        below = self._entries[self._order[at - 1]].rank if at else None
        above = self._entries[self._order[at]].rank if at < len(self._order) else None
        if below is None:
            return 0.0 if above is None else above - RANK_STEP
        if above is None:
            return below + RANK_STEP
        middle = (below + above) / 2
        if below < middle < above:
            return middle
        for number, item_id in enumerate(self._order):
            self._entries[item_id].rank = number * RANK_STEP
            self.touch(item_id)
        return self._rank_at(at)


class _Items(Sequence[Mapping[str, Any]]):
    def __init__(self, order: list[str], entries: Mapping[str, Entry]) -> None:
        self._order = order
        self._entries = entries

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        if isinstance(at, slice):
            return [self._entries[item_id].item for item_id in self._order[at]]
        return self._entries[self._order[at]].item

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for item_id in self._order:
            yield self._entries[item_id].item
