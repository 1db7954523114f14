"""What the heartbeats of all pods add up to, per color."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.stores.base import PodBeat

TAKES_CALLS = frozenset({"ok", "degraded"})
OVERLOADED = "overloaded"


@dataclass(slots=True)
class ColorSum:
    """All pods of one color together. `taking_calls` counts those that take new calls."""

    pods: int = 0
    taking_calls: int = 0
    active_calls: int = 0
    parked_calls: int = 0
    capacity: int = 0


def sum_by_color(pods: Iterable[PodBeat]) -> dict[str, ColorSum]:
    """One sum per color that has a pod, by name."""
    sums: dict[str, ColorSum] = {}
    for pod in sorted(pods, key=lambda pod: pod.color):
        color = sums.setdefault(pod.color, ColorSum())
        color.pods += 1
        color.taking_calls += pod.status in TAKES_CALLS
        color.active_calls += pod.active_calls
        color.parked_calls += pod.parked_calls
        color.capacity += pod.capacity
    return sums
