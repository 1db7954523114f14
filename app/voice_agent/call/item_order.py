"""The items of a conversation in order.

An entry carries a rank, a text that orders it; a new item's rank lies between its neighbours' (see `fractional_index`),
so no other entry changes with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, overload
from zlib import crc32

import orjson

from voice_agent.call.alignment import Alignment
from voice_agent.call.fractional_index import rank_between

CHECK, RANK = b'{"check":"', b'","rank":"'
"""What an entry begins with in the store: in eight digits the CRC-32 of all behind them, and the rank."""
CHECKED_FROM = len(CHECK) + 8
RANK_FROM = CHECKED_FROM + len(RANK)
READ_LATER = frozenset({"item", "audio_ms", "alignment", "awaits_agent", "uncertain", "alternatives", "extras"})
"""Of an `Entry` of which nothing is read yet: what is read together."""
_begin = itemgetter(slice(len(CHECK)))
_check = itemgetter(slice(len(CHECK), CHECKED_FROM))
_checked = itemgetter(slice(CHECKED_FROM, None))
_before_rank = itemgetter(slice(CHECKED_FROM, RANK_FROM))
_from_rank = itemgetter(slice(RANK_FROM, None))


def are_as_packed(entries: Sequence[bytes]) -> bool:
    """Whether `Entry.pack` made each, as its check says: then `Entry.unpack` is certain to read it."""
    # A take-over asks this of all that a call holds: no step of Python's for each, which would be half of its work.
    count = len(entries)
    return (
        (b"%08x" * count) % tuple(map(crc32, map(_checked, entries))) == b"".join(map(_check, entries))
        and b"".join(map(_begin, entries)) == CHECK * count
        and b"".join(map(_before_rank, entries)) == RANK * count
    )


def in_order(packed: Mapping[str, bytes]) -> list[str]:
    """The ids of entries that are as they were packed, by their ranks.

    What follows a rank is a quote, which comes before all that a rank is made of.
    """
    return sorted(packed, key=lambda item_id: _from_rank(packed[item_id]))


def parts_at_most(packed: bytes, entries: int = 1) -> int:
    """Of the content of packed entries' items: each part has a type, as the item has."""
    return max(0, packed.count(b'"type":') - entries)


def _packed_rank(packed: bytes) -> str:
    return packed[RANK_FROM : packed.index(b'"', RANK_FROM)].decode()


PEEKS: dict[str, Callable[[bytes], Any]] = {"rank": _packed_rank, "packed_bytes": len, "parts": parts_at_most}
"""What is told of an `Entry` of which nothing is read yet."""


@dataclass(slots=True)
class Entry:
    """One item and what the call remembers of it."""

    item: dict[str, Any]
    rank: str
    audio_ms: int = 0
    """How much speech was sent for it (assistant) or heard in it (user)."""
    alignment: Alignment | None = None
    """Of an assistant's transcript: which character is said at which millisecond of the audio; see `alignment`."""
    awaits_agent: bool = False
    """Of what the caller said: no ear was asked, and the agent has not said yet what it was."""
    uncertain: bool = False
    """Of what the caller said: the ear doubts its transcript."""
    alternatives: tuple[str, ...] = ()
    """Of what the caller said: what else it may have been, likeliest first."""
    packed_bytes: int = 0
    """Size as the conversation counts it."""
    parts: int = 0
    """Parts of the item's content as the conversation counts them."""
    extras: dict[str, Any] | None = None
    """Fields of a newer version; kept as they are."""
    unread: bytes = b""
    """As it was packed, until somebody asks for what is in it; see `later`."""

    if not TYPE_CHECKING:  # Else mypy would let any name pass.

        def __getattr__(self, name: str) -> Any:
            """What was left for later. Called for what is not set, and for nothing else."""
            if name in PEEKS:
                setattr(self, name, PEEKS[name](self.unread))
            elif name in READ_LATER:
                self.read()
            else:
                raise AttributeError(name)
            return getattr(self, name)

    def read(self) -> None:
        """Read what `later` did not, before anything of it is changed."""
        known = self.rank, self.packed_bytes, self.parts
        read, self.unread = Entry.unpack(self.unread), b""
        self.rank, self.packed_bytes, self.parts = known
        for field in READ_LATER:
            setattr(self, field, getattr(read, field))

    def pack(self) -> bytes:
        """The entry as the store keeps it."""
        if self.unread:
            return self.unread
        fields = {"rank": self.rank, **(self.extras or {})}
        fields |= {"audio_ms": self.audio_ms, "alignment": self.alignment, "item": self.item}
        if self.awaits_agent:
            fields["awaits_agent"] = True
        if self.uncertain:
            fields["uncertain"] = True
        if self.alternatives:
            fields["alternatives"] = self.alternatives
        checked = b'",' + orjson.dumps(fields)[1:]
        return b"%b%08x%b" % (CHECK, crc32(checked), checked)

    @classmethod
    def later(cls, packed: bytes) -> Entry:
        """The inverse of `pack`, for one that is as it was packed: what is in it is read when it is asked for."""
        entry = cls.__new__(cls)
        entry.unread = packed
        return entry

    @classmethod
    def unpack(cls, packed: bytes) -> Entry:
        """The inverse of `pack`. Raises `LookupError`, `TypeError` or `ValueError` for what is no entry."""
        fields = orjson.loads(packed)
        item = fields.pop("item")
        if not isinstance(item["id"], str) or (item.get("type") == "message" and not isinstance(item["role"], str)):
            raise TypeError("no item")
        for part in item.get("content", ()):
            if not isinstance(part, dict):
                raise TypeError("no content")
        rank = fields.pop("rank")
        if not isinstance(rank, str):
            raise TypeError("no rank")
        entry = cls(item, rank, fields.pop("audio_ms", 0), fields.pop("alignment", None))
        fields.pop("check", None)
        if fields:  # Of few.
            entry.awaits_agent = fields.pop("awaits_agent", False) is True
            entry.uncertain = fields.pop("uncertain", False) is True
            entry.alternatives = tuple(map(str, fields.pop("alternatives", ())))
            entry.extras = fields or None
        return entry


class ItemOrder:
    """Entries by their ranks; sequences that were made of it stay as they are."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """`entries`: in order."""
        self._entries = list(entries)
        self._is_shared = False
        """Whether a sequence made by `items` refers to `_entries`: then only its end may change."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> Entry | None:
        """The newest; None if there is none."""
        return self._entries[-1] if self._entries else None

    def place(self, entry: Entry) -> int:
        """Where an entry stands, counted from 0."""
        entries = self._entries
        return len(entries) - 1 if entries[-1] is entry else bisect_left(entries, entry.rank, key=_rank)

    def before(self, entry: Entry) -> Entry | None:
        """The entry in front of one, None for the first."""
        at = self.place(entry)
        return self._entries[at - 1] if at else None

    def insert(self, at: int, item: dict[str, Any]) -> Entry:
        """The new entry of an item that is put at a place."""
        below = self._entries[at - 1].rank if at else None
        above = self._entries[at].rank if at < len(self._entries) else None
        entry = Entry(item, rank_between(below, above))
        if at < len(self._entries):
            self._copy_if_shared()
        self._entries.insert(at, entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Take an entry out."""
        self._copy_if_shared()
        del self._entries[self.place(entry)]

    def items(self, to_rank: str | None) -> Sequence[Mapping[str, Any]]:
        """See `Conversation.items`."""
        self._is_shared = True
        end = len(self._entries) if to_rank is None else bisect_right(self._entries, to_rank, key=_rank)
        return _Items(self._entries, end)

    def _copy_if_shared(self) -> None:
        if self._is_shared:
            self._entries = self._entries.copy()
            self._is_shared = False


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
