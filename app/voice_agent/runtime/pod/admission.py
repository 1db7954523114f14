"""Which connections a pod takes, decided before the upgrade."""

from __future__ import annotations

import base64
from collections.abc import Callable

import structlog

from voice_agent.errors import ConnectionRefused, RecordUnreadable, StoreError
from voice_agent.runtime.durability.writing import state_of
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.runtime.pod.recovery import Recovery
from voice_agent.runtime.ports import StoreState

RETRY_AFTER_S = 1
"""Soon, since another pod behind the same address can take the caller at once."""
RESERVE_SHARE = 4
"""A quarter of the places is kept beyond the capacity for calls that come back: what is under way goes before what is
new, and a pod that died must find room on those that are full."""


def new_call_id(random_bytes: Callable[[int], bytes]) -> str:
    """``call_`` and 26 base32 characters: 130 random bits."""
    return "call_" + base64.b32encode(random_bytes(17)).decode()[:26].lower()


class Admission:
    """Counts places. A place is taken before the upgrade and given back when the connection's task ends."""

    def __init__(self, capacity: int, quota: KeyQuota) -> None:
        self.capacity = capacity
        self.with_reserve = capacity + -(-capacity // RESERVE_SHARE)
        """Places for connections that take a call up again."""
        self.quota = quota
        self.active = 0
        self.draining = False
        self.overloaded = False
        """The event loop is too busy for new calls; those that come back are taken all the same."""
        self.loop_lag_s = 0.0
        """How late the event loop was, in the median of the second that ended last."""
        self.store_is_nearly_full: Callable[[], bool] = lambda: False
        """Whether what is left of the store's memory is for calls under way."""
        self._recovery = Recovery()

    @property
    def is_full(self) -> bool:
        """Whether all places for new calls are taken."""
        return self.active >= self.capacity

    def refusal_of_new_calls(self, *, has_place: bool = False) -> ConnectionRefused | None:
        """Why no new call is taken, whoever asks; None if there is room. `has_place`: a place was taken already."""
        if self.draining:
            return _draining()
        if self.active - has_place >= self.capacity:
            return unavailable("at_capacity", f"All {self.capacity} places of this pod are taken.")
        if self.overloaded or not self._recovery.allows(self.active - has_place):
            return unavailable("overloaded", "This pod is overloaded and takes no new calls for now; connect again.")
        if self.store_is_nearly_full():
            return unavailable(
                "store_nearly_full",
                "The session store has hardly any memory left; no new calls for now.",
            )
        return None

    def second_is_over(self, *, late: bool, overloaded: bool, lag_s: float = 0.0) -> None:
        """To be told each second how late the event loop was in it, and whether that is an overload by now."""
        self.overloaded = overloaded
        self.loop_lag_s = lag_s
        self._recovery.second_is_over(self.active, late=late, overloaded=overloaded)

    def take_new(self, api_key_hash: str) -> None:
        """Take a place for a new call, or raise 503 or 429."""
        self.check_new(api_key_hash, has_place=False)
        self.active += 1

    def check_new(self, api_key_hash: str, *, has_place: bool = True) -> None:
        """Raise 503 or 429 if a new call may not be made; for a connection that may be no resume and has a place."""
        if (refusal := self.refusal_of_new_calls(has_place=has_place)) is not None:
            raise refusal
        if self.quota.is_used_up(api_key_hash):
            calls, limit = self.quota.calls_of(api_key_hash), self.quota.limit
            raise ConnectionRefused(
                429,
                "too_many_calls",
                f"This key has {calls} calls, attached or waiting to be resumed; {limit} is its limit.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._recovery.took(self.active - has_place)

    def take_resume(self) -> None:
        """Take a place for a call that exists, as it seems; raise 503 while the pod drains, or beyond the reserve."""
        if self.draining:
            raise _draining()
        if self.active >= self.with_reserve:
            raise unavailable(
                "at_capacity", f"All {self.with_reserve} places of this pod for calls that come back are taken."
            )
        self.active += 1

    def give_back(self) -> None:
        """Free a place."""
        self.active -= 1


def _draining() -> ConnectionRefused:
    return unavailable("draining", "This pod is draining; connect again to reach another one.")


STORE_FAILED = {
    StoreState.FULL: ("store_full", "The session store has no memory left for this; try again."),
    StoreState.REFUSED: ("store_refused", "The session store answers, and refuses this; try again."),
    StoreState.UNREACHABLE: ("store_unavailable", "The session store does not answer; try again."),
}
"""What callers are told; why is for the log and for health checks."""

log = structlog.get_logger(__name__)


def store_failed(error: StoreError) -> ConnectionRefused:
    """The refusal for want of the store. That it refuses is logged here, its other states where calls are written."""
    state = state_of(error)
    if state is StoreState.REFUSED:
        log.warning("the store refuses what a caller needs", error=str(error))
    return unavailable(*STORE_FAILED[state])


def record_unreadable(error: RecordUnreadable) -> ConnectionRefused:
    """Not the client's error: a pod of another version may read it."""
    return unavailable("record_unreadable", str(error))


def unavailable(code: str, message: str) -> ConnectionRefused:
    """A 503 with `Retry-After`."""
    return ConnectionRefused(503, code, message, retry_after_s=RETRY_AFTER_S)
