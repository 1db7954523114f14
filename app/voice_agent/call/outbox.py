"""The call's server events, numbered without gaps; the recent ones are kept, bounded by bytes.

An event is numbered (`emit`) and waits for a write (`unsaved`); once that is durable it may be sent (`visible_seq`).
They are kept so that a client that resumes gets what it has not seen (`after`). The oldest go first; what a client asks
for beyond `first_n` is told as a gap. Under memory pressure only a `PRESSURE_SHARE`-th of the limit is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.events import pack

ENTRY_OVERHEAD_BYTES = 48
"""What an entry costs beside its own bytes, roughly the same in Python and in a Redis stream."""
PRESSURE_SHARE = 4


class Outbox:
    """Numbers events, and keeps the newest whose sizes add up to at most `limit_bytes`.

    The newest event is kept even if it alone is larger; with a limit of 0 nothing is kept.
    """

    def __init__(self, limit_bytes: int, entries: Iterable[OutboxEntry] = (), *, seq: int = 0) -> None:
        """`seq`: the number of the newest event, up to which all may be sent."""
        self.seq = seq
        """Number of the newest event."""
        self.visible_seq = seq
        """Number of the newest event that may be sent."""
        self.sent_seq = seq
        """Number of the newest event that a caller can have seen from this pod."""
        self.unsaved: list[OutboxEntry] = []
        """Events that wait for the next write, whether they are kept or not."""
        self.unsaved_bytes = 0
        """What these weigh."""
        self._full_bytes = self._limit_bytes = limit_bytes
        self._entries = deque(entries if limit_bytes > 0 else ())
        self._size_bytes = sum(map(entry_bytes, self._entries))
        self._trim()

    def emit(self, body: dict[str, Any], audio: bytes = b"") -> None:
        """Number a server event; it becomes visible once it is durable."""
        self.emit_packed(pack(body), audio)

    def emit_packed(self, head: bytes, audio: bytes) -> None:
        """As `emit`, of a body that is JSON already."""
        self.seq += 1
        entry = OutboxEntry(self.seq, head, audio)
        self.unsaved.append(entry)
        # `entry_bytes` and `add`, here because this runs for every frame.
        size_bytes = len(head) + len(audio) + ENTRY_OVERHEAD_BYTES
        self.unsaved_bytes += size_bytes
        if self._limit_bytes > 0:
            self._entries.append(entry)
            self._size_bytes += size_bytes
            if self._size_bytes > self._limit_bytes:
                self._trim()

    def requeue(self, events: list[OutboxEntry]) -> None:
        """Events of a write that did not land wait for the next one."""
        self.unsaved = events + self.unsaved
        self.unsaved_bytes += sum(map(entry_bytes, events))

    def nothing_waits(self) -> None:
        """What waited is in a write, whose list it stays, or goes out without one."""
        self.unsaved = []
        self.unsaved_bytes = 0

    def go_on_after(self, n: int) -> None:
        """Number the next event `n` + 1. What is in front of the hole cannot be replayed."""
        self.seq = self.visible_seq = n
        self.clear()

    def add(self, entry: OutboxEntry) -> None:
        """Keep an event that has its number, dropping the oldest above the limit."""
        if self._limit_bytes <= 0:
            return
        self._entries.append(entry)
        self._size_bytes += entry_bytes(entry)
        self._trim()

    def reduce(self, *, on: bool) -> None:
        """Keep a quarter of the limit only, or all of it again."""
        self._limit_bytes = -(-self._full_bytes // PRESSURE_SHARE) if on else self._full_bytes
        self._trim()

    def _trim(self) -> None:
        while self._size_bytes > self._limit_bytes and len(self._entries) > 1:
            self._size_bytes -= entry_bytes(self._entries.popleft())

    def drop_to(self, n: int) -> None:
        """Drop every event up to number `n`."""
        while self._entries and self._entries[0].n <= n:
            self._size_bytes -= entry_bytes(self._entries.popleft())

    def clear(self) -> None:
        """Drop every event."""
        self._entries.clear()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Of all events held, with what each costs beside its own bytes."""
        return self._size_bytes

    @property
    def first_n(self) -> int:
        """Number of the oldest event held; 0 when none is."""
        return self._entries[0].n if self._entries else 0

    def after(self, n: int) -> list[OutboxEntry]:
        """Every held event with a number greater than `n`, in order."""
        newer: deque[OutboxEntry] = deque()
        for entry in reversed(self._entries):
            if entry.n <= n:
                break
            newer.appendleft(entry)
        return list(newer)


def entry_bytes(entry: OutboxEntry) -> int:
    """What an entry weighs."""
    return len(entry.head) + len(entry.audio) + ENTRY_OVERHEAD_BYTES
