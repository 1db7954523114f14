"""When callers were last sent here: what a fleet learns of its router from."""

from __future__ import annotations

from voice_agent.runtime.ports import Arrival, Clock
from voice_agent.stores.base import Store


class Arrivals:
    """One pod's, told by the store's clock, so that those of several pods can be compared."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._took_call_at_s: float | None = None
        self._forwarded_call_at_s: float | None = None

    def took(self, arrival: Arrival) -> None:
        """A new call or a resume was taken; it tells where callers are sent unless the request names its color."""
        if arrival is not Arrival.ASKED_FOR:
            self._took_call_at_s = self._clock.monotonic_s()
        if arrival is Arrival.FORWARDED:
            self._forwarded_call_at_s = self._took_call_at_s

    def took_call_at_ms(self) -> int:
        """When a new call or a resume was last taken; 0: never."""
        return self._stores_ms(self._took_call_at_s)

    def forwarded_call_at_ms(self) -> int:
        """The same of one that a proxy handed on."""
        return self._stores_ms(self._forwarded_call_at_s)

    def _stores_ms(self, at_s: float | None) -> int:
        if at_s is None:
            return 0
        now_ms = self._store.wall_ms() or self._clock.wall_ms()
        return int(now_ms - (self._clock.monotonic_s() - at_s) * 1000)
