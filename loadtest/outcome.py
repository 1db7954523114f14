"""What a profile found, and whether it is good enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtest.latencies import Latencies
from loadtest.resuming import Findings
from loadtest.timeline import Timeline

LAG_LIMIT_MS = 10.0
"""A generator that is later than half a frame in one of a hundred ticks measures itself."""


@dataclass(frozen=True)
class Check:
    """One limit. `least`: the value must reach it instead of staying below it."""

    name: str
    value: float
    limit: float
    unit: str = ""
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.least else "at most"
        return f"{self.name}: {self.value:g} {self.unit}".rstrip() + f" ({bound} {self.limit:g})"


@dataclass
class Outcome:
    """Of one run of one profile."""

    profile: str
    calls: int
    seconds: float
    findings: Findings
    checks: list[Check]
    timeline: Timeline
    lag: Latencies
    facts: dict[str, float] = field(default_factory=dict)
    """Further figures, by name."""

    def __post_init__(self) -> None:
        for name in ("dropped", "lost", "repeated", "wrong", "gaps"):
            self.checks.append(Check(name, getattr(self.findings, name), 0))

    @property
    def kept_time(self) -> bool:
        """Whether the generator was on time; else its latencies are its own, though what it counted holds."""
        return self.lag.percentile_s(99) * 1000 <= LAG_LIMIT_MS

    @property
    def passed(self) -> bool:
        """Whether every limit is kept."""
        return all(check.holds for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line for whoever asks whether it went well."""
        failed = [str(check) for check in self.checks if not check.holds]
        if failed:
            return f"{self.profile} failed: {'; '.join(failed)}"
        seen = self.findings
        return (
            f"{self.profile} passed: {seen.calls} calls, {seen.frames} frames, {seen.events} events, {seen.resumes} "
            f"resumes; 0 dropped, 0 lost, 0 repeated"
        )

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        seen = self.findings
        times = {"echo": seen.echo, "resume_first_event": seen.first_event, "resume_greeting": seen.greeting}
        times |= {"break": seen.break_s, "generator_lag": self.lag}
        counts = ("calls", "events", "frames", "resumes", "dropped", "lost", "repeated", "wrong", "gaps")
        return {
            "profile": self.profile,
            "passed": self.passed,
            "verdict": self.verdict,
            "latencies_count": self.kept_time,
            "seconds": round(self.seconds, 1),
            **{name: getattr(seen, name) for name in counts},
            "close_codes": {str(code): count for code, count in sorted(seen.codes.items())},
            "times": {name: found.as_json() for name, found in times.items() if found.count},
            "facts": self.facts,
            "checks": [
                {"name": it.name, "value": it.value, "limit": it.limit, "holds": it.holds} for it in self.checks
            ],
            "timeline": self.timeline.as_json(),
        }
