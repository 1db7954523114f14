"""The call's recent server events, numbered without gaps and bounded by bytes.

They are kept so that a client that resumes gets what it has not seen (`after`). The oldest go first; what a client asks
for beyond `first_n` is told as a gap. Under memory pressure only a `PRESSURE_SHARE`-th of the limit is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from voice_agent.call.changes import OutboxEntry

ENTRY_OVERHEAD_BYTES = 48
"""What an entry costs beside its own bytes, roughly the same in Python and in a Redis stream."""
PRESSURE_SHARE = 4


class Outbox:
    """Keeps the newest events whose sizes add up to at most `limit_bytes`.

    The newest event is kept even if it alone is larger; with a limit of 0 nothing is kept.
    """

    def __init__(self, limit_bytes: int, entries: Iterable[OutboxEntry] = ()) -> None:
        self._full_bytes = self._limit_bytes = limit_bytes
        self._entries: deque[OutboxEntry] = deque()
        self._size_bytes = 0
        for entry in entries:
            self.add(entry)

    def add(self, entry: OutboxEntry) -> None:
        """Append the next event, dropping the oldest above the limit."""
        if self._limit_bytes <= 0:
            return
        self._entries.append(entry)
        # `entry_bytes` and `_trim`, here because this runs for every frame.
        self._size_bytes += len(entry.head) + len(entry.audio) + ENTRY_OVERHEAD_BYTES
        if self._size_bytes > self._limit_bytes:
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
