"""The conversation: items in order, each stored as one entry.

Theory of operation. `add`, `touch` and `drop` change entries in memory and note which ones; `take_changes` packs those
for the next write. An entry carries a rank, a text that orders it; a new item's rank lies between its
neighbours' (see `fractional_index`), so that putting an item anywhere writes one entry and no other.

What is held is counted in bytes as they are packed for the store, and an item that is not
written yet counts as one that is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, overload

import orjson

from voice_agent.call.alignment import Alignment
from voice_agent.call.fractional_index import rank_between

MAX_ITEMS = 20_000
"""Stops a call of a million tiny items, which cost far more in memory than their bytes."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all entries as they are packed: stops a call that fills the store, and take-overs that block it."""
ITEM_OVERHEAD_BYTES = 1024
PART_OVERHEAD_BYTES = 512
"""About what an item, and each part of its content, take in memory beside their packed bytes."""


@dataclass(slots=True)
class Entry:
    """One item and what the call remembers of it."""

    item: dict[str, Any]
    rank: str
    audio_ms: int = 0
    """How much speech was sent for it (assistant) or heard in it (user)."""
    alignment: Alignment | None = None
    """Of an assistant's transcript: which character is said at which millisecond of the audio; see `alignment`."""
    packed_bytes: int = 0
    """Size as the conversation counts it."""
    parts: int = 0
    """Parts of the item's content as the conversation counts them."""
    extras: dict[str, Any] | None = None
    """Fields of a newer version; kept as they are."""

    def pack(self) -> bytes:
        """The entry as the store keeps it."""
        fields = {"rank": self.rank, "audio_ms": self.audio_ms, "alignment": self.alignment, "item": self.item}
        return orjson.dumps(fields if self.extras is None else {**self.extras, **fields})

    @classmethod
    def unpack(cls, packed: bytes) -> Entry:
        """The inverse of `pack`. Raises `LookupError`, `TypeError` or `ValueError` for what is no entry."""
        fields = orjson.loads(packed)
        item = fields.pop("item")
        if not isinstance(item["id"], str) or (item.get("type") == "message" and not isinstance(item["role"], str)):
            raise TypeError("no item")
        if not all(isinstance(part, dict) for part in item.get("content", ())):
            raise TypeError("no content")
        rank = fields.pop("rank")
        if not isinstance(rank, str):
            raise TypeError("no rank")
        entry = cls(item, rank, fields.pop("audio_ms", 0), fields.pop("alignment", None))
        entry.extras = fields or None
        return entry


class Conversation:
    """Ordered items; remembers which entries changed since the last write."""

    def __init__(self, packed: Mapping[str, bytes] | None = None) -> None:
        entries = {item_id: Entry.unpack(value) for item_id, value in (packed or {}).items()}
        self._entries: dict[str, Entry] = entries
        self._order: list[Entry] = sorted(entries.values(), key=_rank)
        self._is_shared = False
        """Whether a sequence made by `items` refers to `_order`: then only its end may change."""
        self._changed: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._parts = 0
        self.packed_bytes = 0
        """Size of all entries as the store keeps them, or will."""
        self.unsaved_bytes = 0
        """About what the next write carries of entries."""
        for item_id, value in (packed or {}).items():
            self._count(entries[item_id], len(value))

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._entries

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Entry | None:
        """The entry of an item, or None."""
        return self._entries.get(item_id)

    @property
    def is_full(self) -> bool:
        """Whether not even a small item may be added."""
        return not self.has_room_for(0)

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether an item of so many bytes may be added."""
        return len(self._order) < MAX_ITEMS and self.packed_bytes + size_bytes < MAX_BYTES

    @property
    def held_bytes(self) -> int:
        """About what the conversation takes in memory."""
        return self.packed_bytes + ITEM_OVERHEAD_BYTES * len(self._order) + PART_OVERHEAD_BYTES * self._parts

    @property
    def last_id(self) -> str | None:
        """The newest item's id."""
        return self._order[-1].item["id"] if self._order else None

    @property
    def last_rank(self) -> str:
        """The newest item's rank; "", which is below every other, if there is no item."""
        return self._order[-1].rank if self._order else ""

    def before(self, item_id: str) -> str | None:
        """The id of the item in front of one, None for the first."""
        at = self._place(item_id)
        return self._order[at - 1].item["id"] if at else None

    def add(self, item: dict[str, Any], *, after: str | None = None, first: bool = False) -> Entry:
        """Put an item at the end, behind the item `after`, or in front of all."""
        if first:
            at = 0
        elif after is None:
            at = len(self._order)
        else:
            at = self._place(after) + 1
        entry = Entry(item, self._rank_at(at))
        if at < len(self._order):
            self._copy_if_shared()
        self._order.insert(at, entry)
        self._entries[item["id"]] = entry
        self._dropped.pop(item["id"], None)
        self.touch(item["id"])
        return entry

    def touch(self, item_id: str) -> None:
        """Note that an entry changed."""
        entry = self._entries[item_id]
        counted = entry.packed_bytes if item_id in self._changed else 0
        self._changed[item_id] = None
        self._count(entry, len(entry.pack()))
        self.unsaved_bytes += entry.packed_bytes - counted

    def _count(self, entry: Entry, packed_bytes: int) -> None:
        parts = len(entry.item.get("content", ()))
        self.packed_bytes += packed_bytes - entry.packed_bytes
        self._parts += parts - entry.parts
        entry.packed_bytes, entry.parts = packed_bytes, parts

    def drop(self, item_id: str) -> None:
        """Take an item out."""
        self._copy_if_shared()
        del self._order[self._place(item_id)]
        entry = self._entries.pop(item_id)
        self.packed_bytes -= entry.packed_bytes
        self._parts -= entry.parts
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
        packed = self._pack(self._entries)
        self.nothing_changed()
        return packed

    def _pack(self, item_ids: Mapping[str, Any]) -> dict[str, bytes]:
        packed = {item_id: self._entries[item_id].pack() for item_id in item_ids}
        for item_id, value in packed.items():
            self._count(self._entries[item_id], len(value))
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
        self._is_shared = True
        end = len(self._order) if to_rank is None else bisect_right(self._order, to_rank, key=_rank)
        return _Items(self._order, end)

    def _copy_if_shared(self) -> None:
        if self._is_shared:
            self._order = self._order.copy()
            self._is_shared = False

    def _place(self, item_id: str) -> int:
        entry = self._entries[item_id]
        return len(self._order) - 1 if self._order[-1] is entry else bisect_left(self._order, entry.rank, key=_rank)

    def _rank_at(self, at: int) -> str:
        below = self._order[at - 1].rank if at else None
        above = self._order[at].rank if at < len(self._order) else None
        return rank_between(below, above)


def _rank(entry: Entry) -> str:
    return entry.rank


class _Items(Sequence[Mapping[str, Any]]):
    def __init__(self, order: list[Entry], end: int) -> None:
        self._order = order
        self._end = end

    def __len__(self) -> int:
        return self._end

    @overload
    def __getitem__(self, at: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        places = range(self._end)[at]
        return self._order[places].item if isinstance(places, int) else [self._order[place].item for place in places]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (entry.item for entry in islice(self._order, self._end))
