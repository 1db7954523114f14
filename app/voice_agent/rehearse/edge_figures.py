"""What came of the callers that edges held: gaps by cause, what the edges counted, what speaks against them. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voice_agent.rehearse.timeline import CallLine, PodFault, percentile

COUNTED = re.compile(r'^voice_edge_(lost|limits)_total\{\w+="([^"]*)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """What one edge has counted, from its metrics."""

    name: str
    lost: Mapping[str, int] = field(default_factory=dict)
    """Callers that it closed though nobody hung up, by cause."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Bounds that cut something short."""


def counts_in(name: str, page: str) -> EdgeCounts:
    """What a page of metrics says."""
    found: dict[str, dict[str, int]] = {"lost": {}, "limits": {}}
    for of, label, number in COUNTED.findall(page):
        if count := int(float(number)):
            found[of][label] = count
    return EdgeCounts(name, found["lost"], found["limits"])


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """Of a whole rehearsal with edges."""

    lines: Sequence[CallLine]
    """Calls that an edge held."""
    silences_s: Sequence[float]
    """The longest within a reply, of each call that cannot resume."""
    faults: Sequence[PodFault]
    edges: Sequence[EdgeCounts]

    @property
    def gaps_ms(self) -> dict[str, list[float]]:
        """How long no pod served a call, for each time that it was moved, by cause."""
        found: dict[str, list[float]] = {}
        for line in self.lines:
            for move in line.moves:
                found.setdefault(move.cause, []).append(move.gap_s * 1000)
        return found

    @property
    def verdict(self) -> list[str]:
        """What speaks against it, a sentence each."""
        against = [
            f"{edge.name} counts {number} callers that it closed though nobody hung up: {cause}"
            for edge in self.edges
            for cause, number in edge.lost.items()
        ]
        against += [
            f"{fault.what} {fault.pod}: not all of its {fault.calls} calls were served elsewhere within a minute"
            for fault in self.faults
            if fault.moved_s is None
        ]
        if not any(line.moves for line in self.lines):
            against.append("no call that an edge holds was moved: nothing is shown of them")
        return against

    def as_json(self) -> dict[str, Any]:
        """For scripts, and for the report."""
        gaps_ms = self.gaps_ms
        limits: Counter[str] = Counter()
        for edge in self.edges:
            limits.update(edge.limits)
        return {
            "edges": len(self.edges),
            "calls": len(self.lines),
            "moves": {cause: len(gaps) for cause, gaps in gaps_ms.items()},
            "gap_ms": {cause: distribution(gaps) for cause, gaps in gaps_ms.items()},
            "longest_silence_ms": distribution([silence_s * 1000 for silence_s in self.silences_s]),
            "lost": sum(sum(edge.lost.values()) for edge in self.edges),
            "limits": dict(limits),
            "faults": [
                {
                    "what": fault.what,
                    "pod": fault.pod,
                    "calls": fault.calls,
                    "moved_s": None if fault.moved_s is None else round(fault.moved_s, 2),
                }
                for fault in self.faults
            ],
        }


def distribution(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 99 % and the largest; None without values."""
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = {name: percentile(values, share) for name, share in shares.items()}
    return {name: None if value is None else round(value, 1) for name, value in found.items()}
