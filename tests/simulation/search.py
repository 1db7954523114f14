"""Looking for a schedule that breaks a promise, and for the smallest one that still does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import structlog

from tests.simulation.recordings import KeptRecordings
from tests.simulation.schedule import ANY, Kind, Schedule, draw
from tests.simulation.world import Manifests, Outcome
from tests.upgrade.releases import installed
from voice_agent.runtime.recordings import Recordings


@dataclass(slots=True)
class Tally:
    """What many runs added up to."""

    runs: int = 0
    turns: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[int] = field(default_factory=list)
    """Seeds of runs that broke a promise."""

    def add(self, other: Tally) -> None:
        """Take another tally in."""
        self.runs += other.runs
        self.turns += other.turns
        self.virtual_s += other.virtual_s
        self.counts.update(other.counts)
        self.broken += other.broken

    @property
    def faults(self) -> int:
        """Faults that struck."""
        return sum(count for name, count in self.counts.items() if name.startswith("fault "))


def play(schedule: Schedule, recordings: Recordings | None = None) -> Outcome:
    """Run one schedule. The pods' own log lines are silenced: the trace tells more."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with installed() if schedule.is_mixed else nullcontext():
            return Manifests(schedule, recordings).run()
    finally:
        structlog.reset_defaults()


def search(seeds: Iterable[int], *, stop_at_first: bool = False, kind: Kind = ANY, replays: bool = False) -> Tally:
    """Run the schedules of many seeds.

    `replays`: give what was recorded to the rules again, which must be the same; all pods are of one release then.
    """
    tally = Tally()
    for seed in seeds:
        recordings = KeptRecordings() if replays else None
        outcome = play(draw(seed, replace(kind, is_mixed=False) if replays else kind), recordings)
        if recordings is not None and (differs := recordings.replayed(tally.counts)):
            outcome = replace(outcome, broken=outcome.broken or f"a recording replays to the same events: {differs}")
        tally.runs += 1
        tally.turns += outcome.turns
        tally.virtual_s += outcome.seconds
        tally.counts.update(outcome.counts)
        if outcome.broken:
            tally.broken.append(seed)
            if stop_at_first:
                break
    return tally


def shrink(schedule: Schedule) -> tuple[Schedule, Outcome]:
    """Take away whatever can be taken away while some promise is still broken."""
    outcome = play(schedule)
    found = True
    while found:
        found = False
        for smaller in schedule.smaller():
            tried = play(smaller)
            if tried.broken:
                schedule, outcome, found = smaller, tried, True
                break
    return schedule, outcome


def report(seed: int, kind: Kind = ANY) -> str:
    """What a person needs to understand a seed that breaks a promise."""
    drawn = draw(seed, kind)
    schedule, outcome = shrink(drawn)
    lines = [f"seed {seed} breaks a promise: {play(drawn).broken}", "the smallest schedule that still does:"]
    lines += [str(schedule), "its trace:", *outcome.trace]
    lines.append(f"again: python -m tests.simulation --seed {seed}{kind}")
    return "\n".join(lines)
