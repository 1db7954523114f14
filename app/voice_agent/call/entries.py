"""The entries of a conversation, by their items' ids and in order, and how much they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from voice_agent.call.item_order import Entry, ItemOrder


class Entries:
    """Counts each as it is packed for the store."""

    def __init__(self, packed: Mapping[str, bytes]) -> None:
        """Raises `LookupError`, `TypeError` or `ValueError` for what is no entry.

        A take-over does not wait for items to be read, which is most of its work in a long call: each is when somebody
        asks for it. All are at once if it is not certain of each that it can be.
        """
        later = {item_id: entry for item_id, value in packed.items() if (entry := Entry.later(value)) is not None}
        self.by_id = later if len(later) == len(packed) else {key: _unpacked(value) for key, value in packed.items()}
        """All of them, to be changed with `count` or `add` and `remove`."""
        self.packed_bytes = sum(map(len, packed.values()))
        """Size of all as the store keeps them, or will."""
        self.parts = sum(entry.parts for entry in self.by_id.values())
        """Parts of the content of all items; of what nobody has asked for, at most so many."""

    @cached_property
    def order(self) -> ItemOrder:
        """All of them in order."""
        return ItemOrder(self.by_id.values())

    def count(self, entry: Entry, packed_bytes: int) -> None:
        """Note how much one is now."""
        if entry.unread:
            return  # As it was counted.
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


def _unpacked(packed: bytes) -> Entry:
    entry = Entry.unpack(packed)
    entry.packed_bytes, entry.parts = len(packed), len(entry.item.get("content", ()))
    return entry
