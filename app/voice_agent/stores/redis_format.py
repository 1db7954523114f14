"""How calls look in Redis: scripts and their arguments, and what scripts answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from voice_agent.errors import RecordUnreadable

ITEMS_ASKED = 1000
"""How many items one page is asked for."""
PART_BYTES = 1024 * 1024
"""About what one script carries of a write that is staged."""
STAGED_FROM_BYTES = 2 * PART_BYTES
"""A whole write of so much is staged: one script must not keep a server from others for long."""
STAGED_FOR_S = 60
"""A write that was not put in place by then is given up."""


class Script:
    """A Lua script of ours and the SHA-1 that the server knows it by."""

    def __init__(self, *names: str) -> None:
        """Of several files, the later ones use what the first ones define."""
        self.text = "".join(files("voice_agent.stores").joinpath("lua", f"{name}.lua").read_text() for name in names)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def commit_arguments(write: CallWrite, ttl_s: int, retention_s: int) -> list[Any]:
    """Arguments of `lua/commit.lua`."""
    items = write.items if retention_s or not write.ends else {}
    events, speech = ((), ()) if write.ends else (write.events, write.speech)
    arguments: list[Any] = [
        write.epoch,
        ttl_s,
        int(write.whole),
        write.keep_events_from,
        write.keep_speech_from,
        write.revision,
        write.claim,
        write.doubted,
        int(write.ends),
        retention_s,
        len(write.fields),
    ]
    for pair in write.fields.items():
        arguments += pair
    _add(arguments, list(items.items()))
    arguments.append(len(write.dropped_items))
    arguments += write.dropped_items
    _add(arguments, events)
    _add(arguments, speech)
    return arguments


def _add(arguments: list[Any], entries: Sequence[tuple[Any, ...]]) -> None:
    arguments.append(len(entries))
    for entry in entries:
        arguments += entry


def parts_of(write: CallWrite) -> Iterator[list[Any]]:
    """Arguments of `lua/stage.lua`: items, events and speech of a large write, some `PART_BYTES` at a time."""
    lists: tuple[list[tuple[Any, ...]], ...] = ([], [], [])
    size_bytes = 0
    for at, entries in enumerate((write.items.items(), write.events, write.speech)):
        for entry in entries:
            lists[at].append(entry)
            size_bytes += sum(len(word) for word in entry if isinstance(word, bytes))
            if size_bytes >= PART_BYTES:
                yield _part(lists)
                lists, size_bytes = ([], [], []), 0
    if any(lists):
        yield _part(lists)


def _part(lists: Iterable[Sequence[tuple[Any, ...]]]) -> list[Any]:
    arguments: list[Any] = [STAGED_FOR_S]
    for entries in lists:
        _add(arguments, entries)
    return arguments


def _raw(flat: Sequence[bytes] | dict[bytes, bytes]) -> dict[bytes, bytes]:
    """A hash as the server sends it: a map with RESP3, a flat list with RESP2."""
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


class Reading:
    """A call as it is read, page by page: see `lua/pages.lua`."""

    def __init__(self, record: Any, ids: Sequence[bytes], page: Sequence[Any]) -> None:
        self._record = record
        self._ids = ids
        self._values: list[bytes | None] = []
        self._outbox: list[Any] = []
        self._speech: list[Any] = []
        self.add(page)

    def add_items(self, items: Any) -> None:
        """Take all items as the server's hash, where none were in pages."""
        packed = _raw(items)
        self._ids, self._values = list(packed), list(packed.values())

    def add(self, page: Sequence[Any]) -> None:
        """Take what a page brought."""
        values, outbox, more_outbox, speech, more_speech = page
        self._values += values
        self._outbox += outbox
        self._speech += speech
        self._has_more = bool(more_outbox or more_speech)

    @property
    def rest(self) -> list[Any] | None:
        """What the next page is asked with: from where in the streams on, and for which items; None: all is read."""
        ids = self._ids[len(self._values) : len(self._values) + ITEMS_ASKED]
        if not ids and not self._has_more:
            return None
        return [*(_after(entries) for entries in (self._outbox, self._speech)), *ids]

    def snapshot(self) -> Snapshot:
        """All that was read. Raises `RecordUnreadable`."""
        try:
            return self._snapshot()
        except (KeyError, ValueError) as error:
            schema = _raw(self._record).get(b"schema", b"")
            raise RecordUnreadable(schema, type(error).__name__) from error

    def _snapshot(self) -> Snapshot:
        # A take-over waits for this: it is the same few steps for each of hundreds of entries.
        out = [(_number(entry_id), _raw(fields)) for entry_id, fields in self._outbox]
        said = [(_number(entry_id), _raw(fields)) for entry_id, fields in self._speech]
        items = zip(self._ids, self._values, strict=True)
        return Snapshot(
            {name.decode(): value for name, value in _raw(self._record).items()},
            {item_id.decode(): packed for item_id, packed in items if packed is not None},
            [OutboxEntry(n, fields[b"h"], fields.get(b"a", b"")) for n, fields in out],
            [SpeechEntry(n, fields[b"i"].decode(), fields[b"a"]) for n, fields in said],
        )


def _after(entries: Sequence[Any]) -> bytes:
    return b"(" + entries[-1][0] if entries else b"-"


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
