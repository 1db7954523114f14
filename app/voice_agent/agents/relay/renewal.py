"""When a session of an upstream is to be followed by another. Pure: the time is given.

::

    opened                          renew_at        leave_at   ends_at
    |---------------------------------|---------------|----------|
                                      the next one    a reply    the upstream
                                      is opened, and  goes on    closes it
                                      taken in the    in the
                                      next pause      next one
"""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 5
"""The next session is opened when a fifth of the time is left …"""
MOST_S = 60.0
"""… but not sooner than this before the end, …"""
LEAVE_S = 5.0
"""… and a reply is not left in a session that ends so soon, …"""
LEAVE_SHARE = 10
"""… or when a tenth of the time is left."""
SHORTEST_S = 1.0
"""A session that says it ends sooner has another clock than this machine: its word is not taken."""


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Of one session; monotonic."""

    renew_at: float
    leave_at: float
    ends_at: float


def session_times(
    opened_at: float,
    *,
    left_s: float | None,
    limit_s: float | None,
    usual_s: float,
    renew_before_s: float | None,
) -> SessionTimes:
    """Of a session that was opened now.

    `left_s`: what the upstream says; `limit_s`: what the settings say. Whichever is shorter; `usual_s` without both.
    """
    said_s = left_s if left_s is not None and left_s >= SHORTEST_S else None
    lasts_s = min((each for each in (said_s, limit_s) if each is not None), default=usual_s)
    before_s = min(renew_before_s if renew_before_s is not None else min(lasts_s / SHARE, MOST_S), lasts_s / 2)
    ends_at = opened_at + lasts_s
    leave_at = ends_at - min(LEAVE_S, lasts_s / LEAVE_SHARE, before_s)
    return SessionTimes(ends_at - before_s, leave_at, ends_at)
