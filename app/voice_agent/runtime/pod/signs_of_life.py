"""Whether those that a drain waits for are there at all.

What holds a connection and has said nothing since its upgrade may be a caller who listens, or nobody: a probe of a
scanner, a client that hangs. A caller's client answers a ping; what does not is let go of, sooner than the keepalive
would, for nothing was said that could be lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

from voice_agent.call.closing import CloseCode
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.ports import Clock

ANSWER_S = 10.0
"""How long a ping may stay without an answer: longer than a bad network takes for a packet and its second try."""


class SignsOfLife:
    """One drain's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at_s: dict[Connection, float] = {}
        """Infinity once there was an answer."""

    def look(self, attached: Iterable[LiveCall]) -> None:
        """Ask whoever has said nothing, and close who was asked long ago and has not answered: with 1011, parked."""
        now_s = self._clock.monotonic_s()
        for live in attached:
            connection = live.connection
            if connection is None or not live.activity.has_sent_nothing:
                continue
            asked_at_s = self._asked_at_s.setdefault(connection, now_s)
            if now_s - asked_at_s >= ANSWER_S:
                connection.close(CloseCode.INTERNAL_ERROR, "no sign of life", at_once=True)
            elif asked_at_s != math.inf:
                # At each look: nothing is asked while the answer to somebody else's probe is awaited.
                connection.probe(partial(self._asked_at_s.__setitem__, connection, math.inf))
