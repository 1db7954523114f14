"""What ended calls still take of the store: the conversations of one API key, as far as their calls ended on this pod.

An ended call keeps its conversation until the retention is over. A caller who fills one and hangs up, again and again,
would fill the store with them; so the large ones of one key may take `ENDED_BYTES`, and beyond it the oldest is erased
before its time. Small ones are not counted: a customer may have many calls a day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from voice_agent.runtime.budget import FLOOR_BYTES

ENDED_BYTES = 64 * 1024 * 1024
"""Of the conversations of one API key's ended calls that are larger than `FLOOR_BYTES`: a thousand pages of talk."""


@dataclass(frozen=True, slots=True)
class _Conversation:
    api_key_hash: str
    size_bytes: int
    until_s: float
    """When the store has forgotten it by itself."""


class EndedCalls:
    """One pod's, in the order in which they ended."""

    def __init__(self, limit_bytes: int = ENDED_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._kept: dict[str, _Conversation] = {}
        self._by_key: Counter[str] = Counter()

    def add(self, call_id: str, api_key_hash: str, size_bytes: int, until_s: float) -> None:
        """A call has ended, and its conversation stays until then, by a monotonic clock."""
        if size_bytes > FLOOR_BYTES:
            self.remove(call_id)
            self._kept[call_id] = _Conversation(api_key_hash, size_bytes, until_s)
            self._by_key[api_key_hash] += size_bytes

    def remove(self, call_id: str) -> None:
        """It is gone."""
        if (gone := self._kept.pop(call_id, None)) is not None:
            self._by_key[gone.api_key_hash] -= gone.size_bytes
            if not self._by_key[gone.api_key_hash]:
                del self._by_key[gone.api_key_hash]

    def surplus(self, now_s: float) -> str | None:
        """The oldest call of a key whose conversations take too much; None: no key's do."""
        for call_id in [call_id for call_id, kept in self._kept.items() if kept.until_s <= now_s]:
            self.remove(call_id)
        return next((it for it, kept in self._kept.items() if self._by_key[kept.api_key_hash] > self.limit_bytes), None)
