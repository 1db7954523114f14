"""The entries of a conversation, by their items' ids and in order, and how much they are.

A take-over does not wait for them to be unpacked, which is two fifths of its CPU in a call of 150 turns. They are when
more than one of them is asked for; at once, if it is not certain of each that it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from voice_agent.call.item_order import Entry, ItemOrder


class Entries:
    """Counts each as it is packed for the store."""

    def __init__(self, packed: Mapping[str, bytes]) -> None:
        """Raises `LookupError`, `TypeError` or `ValueError` for what is no entry."""
        self.packed_bytes = sum(map(len, packed.values()))
        """Size of all as the store keeps them, or will."""
        self.parts = 0
        """Parts of the content of all items that are unpacked."""
        self._packed = packed
        """What is not unpacked yet: all that there is, or nothing."""
        self._early: dict[str, Entry] = {}
        """What was unpacked of it alone."""
        if not all(map(Entry.is_as_packed, packed.values())):
            self.by_id = self._unpack()

    def __contains__(self, item_id: str) -> bool:
        return item_id in (self._packed or self.by_id)

    def __len__(self) -> int:
        return len(self._packed or self.by_id)

    @cached_property
    def by_id(self) -> dict[str, Entry]:
        """All of them, to be changed with `count` or `add` and `remove`."""
        return self._unpack()

    @cached_property
    def order(self) -> ItemOrder:
        """All of them in order."""
        return ItemOrder(self.by_id.values())

    @property
    def last_rank(self) -> str:
        """The newest item's; "", which is below every other, if there is no item."""
        if self._packed:
            return max(map(Entry.packed_rank, self._packed.values()))
        last = self.order.last
        return "" if last is None else last.rank

    def __getitem__(self, item_id: str) -> Entry:
        entry = self.get(item_id)
        if entry is None:
            raise KeyError(item_id)
        return entry

    def get(self, item_id: str) -> Entry | None:
        """The entry of an item, or None."""
        if not self._packed:
            return self.by_id.get(item_id)
        if item_id in self._packed and item_id not in self._early:  # As of a reply that a take-over goes on with.
            self._early[item_id] = self._unpack_one(self._packed[item_id])
        return self._early.get(item_id)

    def count(self, entry: Entry, packed_bytes: int) -> None:
        """Note how much one is now."""
        parts = len(entry.item.get("content", ()))
        self.packed_bytes += packed_bytes - entry.packed_bytes
        self.parts += parts - entry.parts
        entry.packed_bytes, entry.parts = packed_bytes, parts

    def remove(self, item_id: str) -> Entry:
        """Take one out."""
        entry = self.by_id[item_id]
        self.order.remove(entry)
        del self.by_id[item_id]
        self.packed_bytes -= entry.packed_bytes
        self.parts -= entry.parts
        return entry

    def _unpack(self) -> dict[str, Entry]:
        packed, self._packed = self._packed, {}
        early, self._early = self._early, {}
        return {item_id: early.get(item_id) or self._unpack_one(value) for item_id, value in packed.items()}

    def _unpack_one(self, packed: bytes) -> Entry:
        entry = Entry.unpack(packed)
        entry.packed_bytes = len(packed)  # It is in the sum already.
        self.count(entry, len(packed))
        return entry
