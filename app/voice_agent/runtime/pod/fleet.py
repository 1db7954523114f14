"""What the heartbeats of all pods add up to: sums per color, and who would take up calls that a pod hands off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voice_agent.stores.base import PodHeartbeat, PodState, RouterWeights

TAKES_CALLS = frozenset({PodState.OK, PodState.DEGRADED})
LEAVING = frozenset({PodState.DRAINING, PodState.LEFT})
ROUTED_FOR_MS = 60_000
"""A color that took a call is taken for routed for so long, until something newer is known."""
NAMED = 4
"""So many pods are named in a sentence; of the rest it says how many."""


@dataclass(slots=True)
class ColorSum:
    """All pods of one color together. `taking_calls` counts those that take new calls."""

    pods: int = 0
    taking_calls: int = 0
    active_calls: int = 0
    parked_calls: int = 0
    capacity: int = 0
    calls_not_resumable: int = 0


def sum_by_color(pods: Iterable[PodHeartbeat]) -> dict[str, ColorSum]:
    """One sum per color that has a pod, by name."""
    sums: dict[str, ColorSum] = {}
    for pod in sorted(pods, key=lambda pod: pod.color):
        color = sums.setdefault(pod.color, ColorSum())
        color.pods += 1
        color.taking_calls += pod.status in TAKES_CALLS
        color.active_calls += pod.active_calls
        color.parked_calls += pod.parked_calls
        color.capacity += pod.capacity
        color.calls_not_resumable += pod.calls_not_resumable
    return sums


def routed_colors(pods: Iterable[PodHeartbeat], told: RouterWeights | None) -> frozenset[str] | None:
    """The colors that callers are sent to, as far as is known; None: nothing is known.

    Those with a weight in what was told of the router, and those that took a call since then and at most
    `ROUTED_FOR_MS` before the newest call anywhere. That is measured by the newest call and not by the clock: while
    no caller comes nothing new is known, and a color that drains takes nobody, so it would be forgotten half way.

    A color that took none may be too young for that: it is taken for routed until calls have come for `ROUTED_FOR_MS`
    since it started, or one of them through a proxy, for then there is a router, and it sent the call elsewhere.
    """
    pods = list(pods)
    took_at_ms: dict[str, int] = {}
    for pod in pods:
        took_at_ms[pod.color] = max(pod.took_call_at_ms, took_at_ms.get(pod.color, 0))
    newest_ms = max(took_at_ms.values(), default=0)
    since_ms = max(newest_ms - ROUTED_FOR_MS, 1 if told is None else told.told_at_ms + 1)
    seen = frozenset(color for color, at_ms in took_at_ms.items() if at_ms >= since_ms)
    if told is not None:
        return seen | told.routed
    if not seen:
        return None
    if any(pod.forwarded_call_at_ms >= since_ms for pod in pods):
        return seen
    tried = {pod.color for pod in pods if pod.started_at_ms <= newest_ms - ROUTED_FOR_MS}
    return seen | (took_at_ms.keys() - tried)


@dataclass(frozen=True, slots=True)
class ReadyPods:
    """Who is expected to take up calls that are handed off."""

    pods: tuple[str, ...]
    why_none: str = ""
    """In words, where there is no such pod."""
    addresses: frozenset[str] = frozenset()
    """Of all pods that do not leave, of whatever color: a call may be sent to one of them by name."""


def ready_pods(others: Sequence[PodHeartbeat], routed: frozenset[str] | None) -> ReadyPods:
    """Which of the `others` take calls and are of a color in `routed` (None: of any color)."""
    if not others:
        return ReadyPods((), "there is no other pod")
    addresses = frozenset(pod.address for pod in others if pod.address and pod.status not in LEAVING)
    taking = [pod for pod in others if pod.status in TAKES_CALLS]
    if not taking:
        why = f"no other pod takes calls ({some(f'{pod.name} is {pod.status}' for pod in others)})"
        return ReadyPods((), why, addresses)
    found = tuple(pod.name for pod in taking if routed is None or pod.color in routed)
    if not found:
        there = ", ".join(sorted({pod.color for pod in taking}))
        to = f"they are sent to {', '.join(sorted(routed))}" if routed else "the router is being changed"
        return ReadyPods((), f"callers are not sent to {there}, whose pods take calls: {to}", addresses)
    return ReadyPods(found, addresses=addresses)


def some(names: Iterable[str]) -> str:
    """The first names of a list, and how many there are beside."""
    listed = list(names)
    rest = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def count(number: int, what: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
