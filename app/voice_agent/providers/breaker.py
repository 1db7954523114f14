"""A circuit breaker: how a provider did lately, and whether it should be asked first.

::

                  trips                      has waited
    CLOSED ──────────────────▶ OPEN ───────────────────────▶ HALF_OPEN
      ▲                        │  ▲                            │  │
      └──────── succeeds ──────┘  └─────────── fails ──────────┘  │
      └──────────────────────────── succeeds ─────────────────────┘

It decides nothing but an order: a provider whose breaker is open is asked last, never not at all. In HALF_OPEN one
request at a time is let to the front, the probe; the others go elsewhere first. Time is given, in seconds that never
go back.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, StrEnum, auto

from voice_agent.retry import Delays

WINDOW_S = 30.0
"""Outcomes older than that count no more."""
OUTCOMES = 20
"""So many of the newest are looked at: bounds memory, and lets a busy provider be judged by its last second."""
MIN_FAILURES = 3
"""With fewer it stays closed, whatever the share: one odd answer is none."""
FAILURE_SHARE = 0.5
"""Of the outcomes that are looked at; from here on it trips."""
OPEN = Delays(first_s=5.0, longest_s=60.0)
"""How long it is open: doubled with each probe that fails."""
PROBE_S = 60.0
"""A probe that has told nothing for so long is taken for lost, and another may begin."""


class BreakerState(StrEnum):
    """See the drawing above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class _BreakerEvent(Enum):
    TRIPPED = auto()
    WAITED = auto()
    SUCCEEDED = auto()
    FAILED = auto()


_TABLE = {
    (BreakerState.CLOSED, _BreakerEvent.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, _BreakerEvent.WAITED): BreakerState.HALF_OPEN,
    (BreakerState.OPEN, _BreakerEvent.SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, _BreakerEvent.SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, _BreakerEvent.FAILED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, _BreakerEvent.TRIPPED): BreakerState.OPEN,
}
"""What is not in it changes nothing."""


class CircuitBreaker:
    """One provider's. Each request that `begin` is told of must end in `succeeded`, `failed` or `abandoned`."""

    def __init__(self) -> None:
        self._state = BreakerState.CLOSED
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=OUTCOMES)
        self._open_until_s = 0.0
        self._open_s = 0.0
        self._probed_at_s: float | None = None

    def state(self, now_s: float) -> BreakerState:
        """As it is now."""
        if self._state is BreakerState.OPEN and now_s >= self._open_until_s:
            self._change(_BreakerEvent.WAITED)
        return self._state

    def admits(self, now_s: float) -> bool:
        """Whether a request should come here before it goes to one that does not admit it."""
        match self.state(now_s):
            case BreakerState.CLOSED:
                return True
            case BreakerState.HALF_OPEN:
                return self._probed_at_s is None or now_s >= self._probed_at_s + PROBE_S
            case BreakerState.OPEN:
                return False

    def begin(self, now_s: float) -> None:
        """A request begins. In HALF_OPEN it is the probe, if there is none."""
        if self.state(now_s) is BreakerState.HALF_OPEN and self.admits(now_s):
            self._probed_at_s = now_s

    def succeeded(self, now_s: float) -> None:
        """A request had its answer."""
        self._outcomes.append((now_s, True))
        if self.state(now_s) is not BreakerState.CLOSED:
            self._change(_BreakerEvent.SUCCEEDED)
            self._outcomes.clear()
            self._open_s = 0.0

    def failed(self, now_s: float, retry_after_s: float | None = None) -> None:
        """A request failed. `retry_after_s`: the provider takes no others for so long, as it says itself."""
        self._outcomes.append((now_s, False))
        state = self.state(now_s)
        if state is BreakerState.HALF_OPEN:
            self._open(_BreakerEvent.FAILED, now_s, retry_after_s)
        elif state is BreakerState.CLOSED and (retry_after_s or self._is_over(now_s)):
            self._open(_BreakerEvent.TRIPPED, now_s, retry_after_s)

    def abandoned(self) -> None:
        """A request was given up before anything was known of it."""
        self._probed_at_s = None

    def _is_over(self, now_s: float) -> bool:
        lately = [well for at_s, well in self._outcomes if at_s > now_s - WINDOW_S]
        failures = lately.count(False)
        return failures >= MIN_FAILURES and failures >= FAILURE_SHARE * len(lately)

    def _open(self, event: _BreakerEvent, now_s: float, retry_after_s: float | None) -> None:
        if retry_after_s:
            wait_s = min(retry_after_s, OPEN.longest_s)
        else:
            self._open_s = wait_s = OPEN.after(self._open_s)
        self._open_until_s = now_s + wait_s
        self._change(event)

    def _change(self, event: _BreakerEvent) -> None:
        self._state = _TABLE.get((self._state, event), self._state)
        self._probed_at_s = None
