"""Bytes that callers may make a pod hold, shared so that a greedy caller meets the limit and a modest one never does.

What counts: incomplete and held messages, unsaved and unsent events, audio, conversation items, the session; not the
outbox, which has a bound of its own. Whoever holds such bytes has a `Holder` and says how many they are whenever they
may have grown by much. A holder of at most `FLOOR_BYTES` is granted whatever it asks for: what an ordinary call holds
between two writes. So the most that is ever held is ``limit_bytes`` and `FLOOR_BYTES` for each holder.
"""

from __future__ import annotations

from collections import Counter

FLOOR_BYTES = 256 * 1024


class Budget:
    """One pod's. `limit_bytes` is for all holders together, `key_bytes` for those of one API key."""

    def __init__(self, limit_bytes: int, key_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.key_bytes = key_bytes
        self.used_bytes = 0
        self._by_key: Counter[str] = Counter()

    def holder(self, key: str) -> Holder:
        """A new holder of 0 bytes; `key` is the API key's hash. It must be released at the end."""
        return Holder(self, key)

    def used_by(self, key: str) -> int:
        """Bytes held under one key."""
        return self._by_key[key]

    def has_room(self, key: str, more_bytes: int) -> bool:
        """Whether so many more bytes fit, for the pod and for the key."""
        return self.used_bytes + more_bytes <= self.limit_bytes and self._by_key[key] + more_bytes <= self.key_bytes

    def add(self, key: str, more_bytes: int) -> None:
        """Count bytes, or with a negative number no longer."""
        self.used_bytes += more_bytes
        self._by_key[key] += more_bytes
        if not self._by_key[key]:
            del self._by_key[key]


class Holder:
    """What one connection, or one call, holds."""

    __slots__ = ("_key", "budget", "size_bytes")

    def __init__(self, budget: Budget, key: str) -> None:
        self.budget = budget
        self._key = key
        self.size_bytes = 0

    def resize(self, size_bytes: int) -> bool:
        """Hold so many bytes from now on; False if they may not be held, and nothing has changed then.

        Less than before, and anything up to `FLOOR_BYTES`, is always granted.
        """
        more = size_bytes - self.size_bytes
        if more > 0 and size_bytes > FLOOR_BYTES and not self.budget.has_room(self._key, more):
            return False
        self.force(size_bytes)
        return True

    def force(self, size_bytes: int) -> None:
        """Hold so many bytes whether or not there is room: for what is there already."""
        self.budget.add(self._key, size_bytes - self.size_bytes)
        self.size_bytes = size_bytes

    @property
    def may_grow(self) -> bool:
        """Whether it is small, or neither its key nor the pod holds more than it may."""
        return self.size_bytes <= FLOOR_BYTES or self.budget.has_room(self._key, 0)

    def release(self) -> None:
        """Hold nothing any more. Safe to call twice."""
        self.force(0)
