"""How many calls each API key has over all pods: those of this pod exactly, the others' as of their last heartbeat.

A call counts from when a pod has it in memory, attached or parked, until it has ended there or another pod owns it;
one that was taken over counts twice until its old owner has learned of it, some seconds. What a pod had counts for
nothing once its heartbeat has run out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voice_agent.stores.base import PodHeartbeat

KEY_DIGITS = 16
"""So many hex digits of a key's hash stand for the key: enough to tell keys apart, too few to be one."""


class KeyQuota:
    """The calls of every key, and the most that one may have.

    Nothing is counted with no `limit` (0), nor of a call without a key.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._own: Counter[str] = Counter()
        self._unloaded: dict[str, tuple[str, int]] = {}
        """Parked calls that were let go from memory, with the end of their resume window: key, wall milliseconds."""
        self._elsewhere: Counter[str] = Counter()

    def add(self, call_id: str, api_key_hash: str) -> None:
        """This pod has a call more."""
        self._drop_unloaded(call_id)
        self._add(api_key_hash, 1)

    def remove(self, api_key_hash: str) -> None:
        """This pod has a call less."""
        self._add(api_key_hash, -1)

    def unload(self, call_id: str, api_key_hash: str, until_ms: int) -> None:
        """A call leaves the memory while it waits for its caller, and counts on until then.

        Else connecting and dropping in a loop would make more calls than the limit.
        """
        if self.limit:
            self._drop_unloaded(call_id)
            self._unloaded[call_id] = (api_key_hash, until_ms)
            self._add(api_key_hash, 1)

    def expire(self, now_ms: int) -> None:
        """Forget unloaded calls that nobody has come back to."""
        for call_id in [call_id for call_id, (_, until_ms) in self._unloaded.items() if until_ms <= now_ms]:
            self._drop_unloaded(call_id)

    def learn(self, others: Iterable[PodHeartbeat]) -> None:
        """What the other pods say they have, in place of what they said before."""
        self._elsewhere = Counter()
        for heartbeat in others:
            self._elsewhere.update(heartbeat.keys)

    def told(self) -> dict[str, int]:
        """What this pod has, for its heartbeat: only keys that have calls, so no more of them than calls."""
        return dict(self._own)

    def calls_of(self, api_key_hash: str) -> int:
        """Calls of a key in the fleet."""
        key = api_key_hash[:KEY_DIGITS]
        return self._own[key] + self._elsewhere[key]

    def is_used_up(self, api_key_hash: str) -> bool:
        """Whether the key may have no call more."""
        return self.limit > 0 and self.calls_of(api_key_hash) >= self.limit

    def _drop_unloaded(self, call_id: str) -> None:
        if (found := self._unloaded.pop(call_id, None)) is not None:
            self._add(found[0], -1)

    def _add(self, api_key_hash: str, more: int) -> None:
        if not self.limit or not api_key_hash:
            return
        key = api_key_hash[:KEY_DIGITS]
        self._own[key] += more
        if not self._own[key]:
            del self._own[key]
