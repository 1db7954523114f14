"""What a comparison found: values, and how each stands against the baseline and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from loadtest.peers.contenders import BASELINE, DURABLE, NO_OUTBOX, PIPECAT, PIPECAT_TALK, TALK
from loadtest.peers.ratios import Round, median_ratios, medians

IDLE_KB = 40
"""Memory that a silent call may take above the baseline's."""


@dataclass(frozen=True)
class Comparison:
    """Rounds of each measure, by contender; a contender that a measure left out is absent there."""

    titles: dict[str, str]
    """By name, in the table's order."""
    versions: dict[str, dict[str, str]]
    few: Sequence[Round]
    """CPU µs a frame, in and out, at `few_calls` calls."""
    many: Sequence[Round]
    """The same with the server's core nearly full."""
    most: Sequence[Round] = ()
    """Most calls at p99 < 20 ms."""
    idle_kb: Sequence[Round] = ()
    """KiB for each call that is silent."""
    talking_kb: Sequence[Round] = ()
    """KiB for each call whose frames pass."""
    store_us: Sequence[Round] = ()
    """CPU µs of the store for each frame, core nearly full."""
    few_calls: int = 100
    many_calls: dict[str, int] = field(default_factory=dict)
    """How many calls nearly filled the core."""
    notes: Sequence[str] = ()
    """What a reader must know: what was left out, what did not count."""

    def rows(self) -> list[Row]:
        """One for each contender, in the table's order."""
        few, many, most = medians(self.few), medians(self.many), medians(self.most)
        few_ratio, many_ratio, most_ratio = (median_ratios(one, BASELINE) for one in (self.few, self.many, self.most))
        idle, talking, store = medians(self.idle_kb), medians(self.talking_kb), medians(self.store_us)
        return [
            Row(
                name,
                title,
                few.get(name),
                few_ratio.get(name),
                self.many_calls.get(name),
                many.get(name),
                many_ratio.get(name),
                most.get(name),
                most_ratio.get(name),
                idle.get(name),
                talking.get(name),
                store.get(name),
            )
            for name, title in self.titles.items()
        ]

    def verdicts(self) -> list[Verdict]:
        """Every target whose contenders were measured."""
        above = [one[DURABLE] - one[BASELINE] for one in self.idle_kb if DURABLE in one and BASELINE in one]
        found = [
            _at_most("CPU a frame of a conversation, by bare echo's, core nearly full", self.many, TALK, BASELINE, 0.7),
            _at_most(
                f"CPU a frame of a conversation, by bare echo's, {self.few_calls} calls", self.few, TALK, BASELINE, 0.7
            ),
            _at_most(
                "CPU a frame of a conversation, by pipecat's, core nearly full", self.many, TALK, PIPECAT_TALK, 0.1
            ),
            _at_most("CPU a frame, no outbox, by bare echo's, core nearly full", self.many, NO_OUTBOX, BASELINE, 1.2),
            _at_most(f"the same at {self.few_calls} calls", self.few, NO_OUTBOX, BASELINE, 1.2),
            _at_most(
                "CPU a frame, durable outbox, by bare echo's, core nearly full", self.many, DURABLE, BASELINE, 1.2
            ),
            _at_most(f"the same at {self.few_calls} calls", self.few, DURABLE, BASELINE, 1.2),
            _at_most("CPU a frame, durable outbox, by pipecat's, core nearly full", self.many, DURABLE, PIPECAT, 0.2),
        ]
        if above:
            value = median(above)
            found.append(Verdict("KiB an idle call above bare echo's", value, f"≤ {IDLE_KB}", value <= IDLE_KB))
        return [verdict for verdict in found if verdict is not None]

    def as_json(self) -> dict[str, Any]:
        """Everything, for a script: rounds, rows and verdicts."""
        rounds = {
            "few": list(self.few),
            "many": list(self.many),
            "most": list(self.most),
            "idle_kb": list(self.idle_kb),
            "talking_kb": list(self.talking_kb),
            "store_us": list(self.store_us),
        }
        return {
            "few_calls": self.few_calls,
            "many_calls": self.many_calls,
            "versions": self.versions,
            "rounds": rounds,
            "rows": [vars(row) for row in self.rows()],
            "targets": [vars(verdict) for verdict in self.verdicts()],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Row:
    """One contender's medians; None where it was not measured. Ratios are to the baseline."""

    name: str
    title: str
    few_us: float | None
    few_ratio: float | None
    many_calls: int | None
    many_us: float | None
    many_ratio: float | None
    most_calls: float | None
    most_ratio: float | None
    idle_kb: float | None
    talking_kb: float | None
    store_us: float | None


@dataclass(frozen=True)
class Verdict:
    """One target and what was seen."""

    measure: str
    value: float
    target: str
    reached: bool


def _at_most(measure: str, rounds: Sequence[Round], name: str, by: str, limit: float) -> Verdict | None:
    value = median_ratios(rounds, by).get(name)
    return None if value is None else Verdict(measure, value, f"≤ {limit:g} ×", value <= limit)
