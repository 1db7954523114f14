"""What one mode did to the others, and whether that is little enough."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.latencies import Latencies
from loadtest.outcome import Check
from loadtest.resuming import Findings

P99_MS = 150.0
"""Beside a hostile caller, on two shared cores."""
MIB = 1024 * 1024
LABEL = re.compile(r'(\w+)="([^"]*)"')
COUNTERS = ("voice_limits_total", "voice_refusals_total", "voice_edge_limits_total", "voice_edge_refusals_total")
UNTOLD = frozenset({"tries", "cut without a word", "200", "taken over"})
"""What names no limit."""


@dataclass
class Verdict:
    """Of one mode."""

    mode: str
    callers: int
    seconds: float
    budget_mib: float
    """What callers may make the pod hold, by its settings: its budget and the outboxes; of an edge see `run`."""
    store_budget_mib: float
    """What one key's calls may keep in the store: attached, parked and ended ones."""
    findings: Findings = field(default_factory=Findings)
    lag: Latencies = field(default_factory=Latencies)
    """How late the talking callers' own process was."""
    alone: Latencies = field(default_factory=Latencies)
    """Echoes of the talking callers before the hostile ones came: what the machine does without them."""
    dead: Latencies = field(default_factory=Latencies)
    """What `/healthz/live` took, each time over a new connection."""
    unanswered: int = 0
    """Questions to `/healthz/live` that got no answer in time."""
    rss_before_mib: float = 0.0
    rss_most_mib: float = 0.0
    rss_after_mib: float = 0.0
    store_before_mib: float = 0.0
    store_most_mib: float = 0.0
    got: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    """By how much each counter of limits and refusals grew, of the pod and of an edge."""
    missing: int = 0
    """Frames of the talking callers whose echo did not come."""
    fault: str = ""
    """Why the run could not be brought to its end: the pod did not answer any more, or its log holds a traceback."""
    is_slowed: bool = False
    """Whether nothing has to be named: what the caller does is legal, and it waits its turn."""
    serves: bool = False
    """Whether a new call was answered when all was over."""

    @property
    def p99_ms(self) -> float:
        """Of the talking callers, from when a frame was due to its echo."""
        return round(self.findings.echo.percentile_s(99) * 1000, 1)

    @property
    def lost(self) -> int:
        """Frames and events that the talking callers missed, got twice, or got wrong."""
        seen = self.findings
        return self.missing + seen.lost + seen.repeated + seen.wrong + seen.gaps + seen.dropped

    @property
    def named(self) -> int:
        """Limits and refusals that the hostile callers were told of, or that the pod counted."""
        return sum(name not in UNTOLD for name in self.got) + len(self.limits)

    @property
    def growth_mib(self) -> float:
        """Of the pod's memory."""
        return round(self.rss_most_mib - self.rss_before_mib, 1)

    @property
    def checks(self) -> list[Check]:
        """All that has to hold."""
        return [
            Check("p99", self.p99_ms, P99_MS, "ms"),
            Check("frames lost", self.lost, 0),
            Check("talking callers cut off", sum(self.findings.codes.values()), 0),
            Check("frames", self.findings.frames, 1, least=True),
            Check("memory grew", self.growth_mib, self.budget_mib, "MiB"),
            Check("store grew", round(self.store_most_mib - self.store_before_mib, 1), self.store_budget_mib, "MiB"),
            Check("limits named", self.named, 0 if self.is_slowed else 1, least=True),
            Check("serves afterwards", int(self.serves), 1, least=True),
        ]

    @property
    def passed(self) -> bool:
        """Whether it does."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """What does not."""
        return [str(check) for check in self.checks if not check.holds] + [self.fault] * bool(self.fault)

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "mode": self.mode,
            "callers": self.callers,
            "seconds": self.seconds,
            "passed": self.passed,
            "failures": self.failures,
            "frames": self.findings.frames,
            "frames_lost": self.lost,
            "cut_off": {str(code): count for code, count in self.findings.codes.items()},
            "echo": self.findings.echo.as_json(),
            "alone": self.alone.as_json(),
            "lag": self.lag.as_json(),
            "live": self.dead.as_json(),
            "live_unanswered": self.unanswered,
            "rss_mib": [self.rss_before_mib, self.rss_most_mib, self.rss_after_mib],
            "store_mib": [self.store_before_mib, self.store_most_mib],
            "budget_mib": self.budget_mib,
            "got": self.got,
            "examples": self.examples,
            "limits": self.limits,
        }

    def count(self, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Take the limits from two pages of metrics."""
        for name, value in after.items():
            grown = round(value - before.get(name, 0))
            if grown > 0 and name.startswith(COUNTERS):
                told = dict(LABEL.findall(name))
                short = " ".join(told[label] for label in ("status", "reason", "limit") if label in told)
                self.limits[short] = self.limits.get(short, 0) + grown
