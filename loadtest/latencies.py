"""Times by the million in little memory: counted in buckets that grow by 2 %."""

from __future__ import annotations

import math
from typing import Any

LEAST_S = 1e-5
GROWTH = 1.02
BUCKETS = 800
"""From 10 µs to 76 s."""
_LOG_GROWTH = math.log(GROWTH)


class Latencies:
    """A histogram; percentiles are right to 2 %."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.count = 0
        self.longest_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one time; negative ones are 0."""
        at = 0 if seconds <= LEAST_S else min(BUCKETS - 1, math.ceil(math.log(seconds / LEAST_S) / _LOG_GROWTH))
        self.counts[at] += 1
        self.count += 1
        self.longest_s = max(self.longest_s, seconds)

    def percentile_s(self, percent: float) -> float:
        """The time that `percent` of 100 do not pass: the upper end of its bucket; 0 of none."""
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for at, count in enumerate(self.counts):
            seen += count
            if seen >= wanted and self.count:
                return min(LEAST_S * GROWTH**at, self.longest_s)
        return 0.0

    def as_json(self) -> dict[str, Any]:
        """Milliseconds, and how many there were."""
        told = {f"p{percent}_ms": round(self.percentile_s(percent) * 1000, 2) for percent in (50, 95, 99)}
        return {"count": self.count, **told, "max_ms": round(self.longest_s * 1000, 2)}

    def spread(self) -> list[tuple[float, float]]:
        """For a plot: (milliseconds, % of all that took at most so long)."""
        seen, points = 0, []
        for at, count in enumerate(self.counts):
            seen += count
            if count:
                points.append((LEAST_S * GROWTH**at * 1000, 100 * seen / self.count))
        return points
