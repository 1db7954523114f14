"""Which connections a pod takes, decided before the upgrade."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable

from app.errors import ConnectionRefused

RETRY_AFTER_S = 1
"""Soon, since another pod behind the same address can take the caller at once."""


def new_call_id(random_bytes: Callable[[int], bytes]) -> str:
    """``call_`` and 26 base32 characters: 130 random bits."""
    return "call_" + base64.b32encode(random_bytes(17)).decode()[:26].lower()


class Admission:
    """Counts places. A place is taken before the upgrade and given back when the connection's task ends."""

    def __init__(self, capacity: int, per_key: int) -> None:
        """`per_key`: calls that one API key may hold on this pod; 0 is no limit."""
        self.capacity = capacity
        self.active = 0
        self.draining = False
        self._per_key = per_key
        self._by_key: Counter[str] = Counter()

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        """The 503 that any caller of a new call gets right now, whatever the key; None while calls are taken."""
        if self.draining:
            return unavailable("draining", "This pod is draining; connect again to reach another one.")
        if self.active >= self.capacity:
            return unavailable("at_capacity", f"All {self.capacity} places of this pod are taken.")
        return None

    def take(self, api_key_hash: str) -> None:
        """Take a place, or raise 503 or 429. "" is a resume, whose call was counted against its key when it began."""
        if (refusal := self.refusal_of_new_calls()) is not None:
            raise refusal
        if api_key_hash and self._per_key and self._by_key[api_key_hash] >= self._per_key:
            raise ConnectionRefused(
                429,
                "too_many_calls",
                f"This key has {self._per_key} calls under way, which is its limit.",
                retry_after_s=RETRY_AFTER_S,
            )
        self.active += 1
        self._by_key[api_key_hash] += 1

    def give_back(self, api_key_hash: str) -> None:
        """Free a place."""
        self.active -= 1
        self._by_key[api_key_hash] -= 1
        if not self._by_key[api_key_hash]:
            del self._by_key[api_key_hash]


def unavailable(code: str, message: str) -> ConnectionRefused:
    """A 503 with `Retry-After`."""
    return ConnectionRefused(503, code, message, retry_after_s=RETRY_AFTER_S)
