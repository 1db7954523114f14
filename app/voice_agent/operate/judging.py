"""Is the new color good enough, and is the old one empty? Pure: numbers and times come from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voice_agent.operate.ports import Numbers


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """What the new color may do wrong, counted from the first shift on."""

    error_rate: float = 0.02
    """Calls that end as an error, of all calls it has or had."""
    free_errors: int = 1
    """So many are never too many: a rate means little while calls are few."""
    turn_p95_s: float = 2.0
    """Time to first audio that 95 % of turns must reach."""
    few_turns: int = 20
    """Fewer turns are not judged."""
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the new color did since a moment; None where the source does not say."""

    calls: int | None
    failed: int | None
    dropped: int | None
    turns: int
    turn_p95_s: float | None
    """None: no turn yet, or the source does not say."""


def since(before: Numbers, now: Numbers) -> Seen:
    """The difference of two looks. Counters that went back (a pod that is gone took its counts along) add nothing."""
    ended = _grown(before.ended, now.ended)
    turns, p95_s = 0, None
    if before.turns is not None and now.turns is not None:
        within = {bound_s: count - before.turns.get(bound_s, 0) for bound_s, count in sorted(now.turns.items())}
        turns = max(0, within.get(float("inf"), 0))
        p95_s = percentile_s(within, 0.95)
    return Seen(
        calls=None if ended is None else ended + now.active_calls,
        failed=_grown(before.failed, now.failed),
        dropped=_grown(before.dropped, now.dropped),
        turns=turns,
        turn_p95_s=p95_s,
    )


def _grown(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else max(0, now - before)


def percentile_s(within: Mapping[float, int], share: float) -> float | None:
    """The time that so large a share of turns reached, by the cumulative counts; None without a turn.

    Between two bounds times are taken to be spread evenly, as Prometheus' `histogram_quantile` does; beyond the
    last finite bound the answer is that bound.
    """
    total = max(within.values(), default=0)
    if total <= 0:
        return None
    rank = share * total
    below_s, below = 0.0, 0
    for bound_s, count in sorted(within.items()):
        if count >= rank:
            if bound_s == float("inf"):
                return below_s
            return below_s + (bound_s - below_s) * (rank - below) / max(1, count - below)
        below_s, below = bound_s, count
    return below_s


def breach(seen: Seen, budget: ErrorBudget) -> str | None:
    """Which limit is passed, in words; None while all is well."""
    if seen.dropped is not None and seen.dropped > budget.dropped:
        return f"{seen.dropped} dropped calls (limit {budget.dropped})"
    if seen.failed is not None and seen.calls is not None and seen.failed > budget.free_errors:
        rate = seen.failed / max(1, seen.calls)
        if rate > budget.error_rate:
            return f"{seen.failed} of {seen.calls} calls failed: {rate:.1%} (limit {budget.error_rate:.1%})"
    if seen.turn_p95_s is not None and seen.turns >= budget.few_turns and seen.turn_p95_s > budget.turn_p95_s:
        return f"95 % of {seen.turns} turns took up to {seen.turn_p95_s:.2f} s (limit {budget.turn_p95_s:g} s)"
    return None


class EmptyFor:
    """Whether a color has been empty for long enough. What was not seen was not empty."""

    def __init__(self, buffer_s: float, longest_gap_s: float) -> None:
        """`longest_gap_s`: two looks further apart say nothing about the time between them."""
        self._buffer_s = buffer_s
        self._longest_gap_s = longest_gap_s
        self._empty_since_s: float | None = None
        self._looked_at_s: float | None = None

    def look(self, active_calls: int | None, now_s: float) -> bool:
        """One look; None: there was no fresh number. True once it has been empty long enough."""
        gap_s = None if self._looked_at_s is None else now_s - self._looked_at_s
        self._looked_at_s = now_s
        if active_calls != 0:
            self._empty_since_s = None
        elif self._empty_since_s is None or (gap_s is not None and gap_s > self._longest_gap_s):
            self._empty_since_s = now_s
        return self.empty_for_s(now_s) is not None and now_s - (self._empty_since_s or 0) >= self._buffer_s

    def empty_for_s(self, now_s: float) -> float | None:
        """How long it has been empty; None if it is not known to be."""
        return None if self._empty_since_s is None else now_s - self._empty_since_s
