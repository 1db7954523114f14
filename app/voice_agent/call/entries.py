"""The entries of a conversation, by their items' ids and in order, and how much they are."""

from __future__ import annotations

from collections.abc import Mapping

from voice_agent.call.item_order import Entry, ItemOrder, are_as_packed, in_order, parts_at_most


class Entries:
    """Counts each as it is packed for the store."""

    def __init__(self, packed: Mapping[str, bytes]) -> None:
        """Raises `LookupError`, `TypeError` or `ValueError` for what is no entry.

        A take-over does not wait for items to be read, which is most of its work in a long call: each is when somebody
        asks for it. All are at once if it is not certain of each that it can be.
        """
        values = list(packed.values())
        self.packed_bytes = sum(map(len, values))
        """Size of all as the store keeps them, or will."""
        self.parts: int
        """Parts of the content of all items; of what nobody has asked for, at most so many."""
        self.by_id: dict[str, Entry]
        """All of them, to be changed with `count` or `add` and `remove`."""
        if are_as_packed(values):
            self.parts = parts_at_most(b"".join(values), len(values))
            self.by_id = {item_id: Entry.later(packed[item_id]) for item_id in in_order(packed)}
            self.order = ItemOrder(self.by_id.values())
        else:
            self.by_id = {item_id: _unpacked(value) for item_id, value in packed.items()}
            self.parts = sum(entry.parts for entry in self.by_id.values())
            self.order = ItemOrder(sorted(self.by_id.values(), key=lambda entry: entry.rank))

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
