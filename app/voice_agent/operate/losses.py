"""Which callers were lost while a cutover was under way, and which pods fell silent. Pure: looks come from outside.

Pods count what they lost themselves; each is held against what it had counted when it was first seen. A pod that is
killed counts nothing any more, whether it drained or not: its calls that cannot resume are lost with it. One that
leaves by itself says so in a last heartbeat, which has none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from voice_agent.runtime.pod.fleet import count
from voice_agent.stores.base import PodHeartbeat

GONE_S = 5.0
"""A pod whose heartbeat has run out is told of once it was missing for so long: a store that was emptied shows nobody
until the next heartbeats."""
CAUSES = {
    "drain": "cut off at the drain's deadline, and cannot resume",
    "handoff": "handed off, and did not come back",
    "error": "could not be written to the store",
}
UNTOLD = "for a reason that its pod does not tell"


@dataclass(frozen=True, slots=True)
class PodCount:
    """One process of a pod, as of its last heartbeat."""

    name: str
    color: str
    calls: int = 0
    not_resumable: int = 0
    is_heard: bool = True
    before: Mapping[str, int] = field(default_factory=dict)
    """By cause, what it had lost when it was first seen."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By cause, what it has lost since it started."""

    def lost(self) -> dict[str, int]:
        """By cause, what it has lost since it was first seen."""
        grown = {cause: number - self.before.get(cause, 0) for cause, number in self.dropped.items()}
        return {cause: number for cause, number in grown.items() if number > 0}


Counts = Mapping[str, PodCount]
"""By the name of a pod and its start: one that is started again counts anew."""


class Losses:
    """What is known after some looks at the fleet; goes on from what an earlier run has counted."""

    def __init__(self, colors: Collection[str], counts: Counts) -> None:
        self._colors = colors
        self.counts: dict[str, PodCount] = dict(counts)
        self._missing_since_s: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, heartbeats: Iterable[PodHeartbeat], now_s: float) -> list[str]:
        """Take in all heartbeats; returns what is new of pods that fell silent or are back, a sentence each."""
        heard: set[str] = set()
        told: list[str] = []
        for heartbeat in heartbeats:
            if heartbeat.color in self._colors:
                key = f"{heartbeat.name} {heartbeat.started_at_ms}"
                heard.add(key)
                self.counts[key] = _noted(self.counts.get(key), heartbeat)
        told += [f"{self.counts[key].name} is heard of again" for key in sorted(heard & self._told)]
        self._told -= heard
        self._missing_since_s = {key: self._missing_since_s.get(key, now_s) for key in self.counts if key not in heard}
        for key, since_s in self._missing_since_s.items():
            if now_s - since_s < GONE_S:
                continue
            pod = self.counts[key] = replace(self.counts[key], is_heard=False)
            if pod.calls and key not in self._told:
                self._told.add(key)
                told.append(_silent(pod))
        return told

    def look_failed(self) -> None:
        """The store does not answer: what it shows next may be all that it still knows."""
        self._missing_since_s.clear()

    def silent(self, color: str) -> list[str]:
        """Pods of a color that fell silent with calls, by name."""
        return sorted(pod.name for pod in self.counts.values() if pod.color == color and not pod.is_heard and pod.calls)


def number_lost(counts: Counts) -> int:
    """How many callers are known to be lost."""
    return sum(sum(pod.lost().values()) + _lost_with(pod) for pod in counts.values())


def why_lost(counts: Counts) -> tuple[str, ...]:
    """Whose callers they were and what became of them, a clause each."""
    said: list[str] = []
    by_color: dict[tuple[str, str], int] = {}
    for pod in counts.values():
        for cause, number in pod.lost().items():
            by_color[pod.color, cause] = by_color.get((pod.color, cause), 0) + number
    for (color, cause), number in sorted(by_color.items()):
        said.append(f"{number} on {color}: {CAUSES.get(cause, UNTOLD)}")
    said += [
        f"{pod.not_resumable} on {pod.name} ({pod.color}): it fell silent, and they cannot resume"
        for pod in counts.values()
        if _lost_with(pod)
    ]
    return tuple(said)


def same_losses(one: Counts, other: Counts) -> bool:
    """Whether they differ at most in calls that nobody has lost."""
    return {key: replace(pod, calls=0) for key, pod in one.items()} == {
        key: replace(pod, calls=0) for key, pod in other.items()
    }


def as_json(counts: Counts) -> dict[str, Any]:
    """For the record."""
    return {key: asdict(pod) for key, pod in counts.items()}


def from_json(said: Mapping[str, Any]) -> dict[str, PodCount]:
    """From the record. Raises `TypeError` or `AttributeError` for what is none."""
    known = PodCount.__dataclass_fields__
    return {key: PodCount(**{name: pod[name] for name in known if name in pod}) for key, pod in said.items()}


def _noted(known: PodCount | None, heartbeat: PodHeartbeat) -> PodCount:
    dropped: dict[str, int] = {}
    if heartbeat.counters is not None:
        dropped = dict(heartbeat.counters.causes)
        dropped[""] = heartbeat.counters.dropped - sum(dropped.values())
    return PodCount(
        name=heartbeat.name,
        color=heartbeat.color,
        calls=heartbeat.active_calls,
        not_resumable=heartbeat.calls_not_resumable,
        before=dropped if known is None else known.before,
        dropped=dropped,
    )


def _lost_with(pod: PodCount) -> int:
    return 0 if pod.is_heard else pod.not_resumable


def _silent(pod: PodCount) -> str:
    cannot = f", {pod.not_resumable} of which cannot resume" if pod.not_resumable else ""
    return f"{pod.name} ({pod.color}) has fallen silent: it had {count(pod.calls, 'call')}{cannot}"
