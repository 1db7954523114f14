"""Scores of many results, and whether they reach what the front desk promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.eval_speech import people
from tests.eval_speech.conditions import NOISY
from tests.eval_speech.direct import Result

KINDS = ("in_grammar", "free", "held_out_grammar", "held_out_free", people.CALLER)


@dataclass(frozen=True, slots=True)
class Score:
    """Of all results of a group. Shares are of 1."""

    count: int
    word_errors: float
    success: float
    at_once: float
    """Of all: right without a question back."""
    asked_back: float
    acted_wrongly: float
    cpu_s: float
    """Of the ear, a turn."""
    latency_p50_ms: float
    latency_p95_ms: float
    """Of the ear, asked alone."""

    @classmethod
    def of(cls, results: Sequence[Result]) -> Score:
        """At least one result."""
        count, turns = len(results), [heard for result in results for heard in result.heard]
        outcomes = [result.outcome for result in results]
        return cls(
            count,
            sum(result.word_errors for result in results) / sum(result.words for result in results),
            sum(outcome.success for outcome in outcomes) / count,
            sum(outcome.success and not outcome.asked_back for outcome in outcomes) / count,
            sum(outcome.asked_back > 0 for outcome in outcomes) / count,
            sum(outcome.acted_wrongly for outcome in outcomes) / count,
            sum(heard.cpu_s for heard in turns) / len(turns),
            percentile([heard.seconds for heard in turns], 50) * 1000,
            percentile([heard.seconds for heard in turns], 95) * 1000,
        )

    def as_json(self) -> dict[str, Any]:
        """Rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Results that are counted together."""

    ear: str
    condition: str
    kind: str
    callers: str
    """espeak, people, or others: flite's and Piper's voices."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that is promised."""

    name: str
    limit: float
    at_least: bool
    holds_for: Callable[[Group], bool]
    """Of each such group by itself."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A target, and the group that is worst at it."""

    target: Target
    worst: float
    group: Group

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.worst >= self.target.limit if self.target.at_least else self.worst <= self.target.limit


TARGETS = (
    Target("task, clean", 0.95, True, lambda it: it.condition == "clean" and it.callers == "others"),
    Target("task, clean, espeak's voices", 0.80, True, lambda it: it.condition == "clean" and it.callers == "espeak"),
    Target("task, telephone", 0.90, True, lambda it: it.condition == "telephone" and it.callers == "others"),
    Target("task, in noise", 0.70, True, lambda it: it.condition in NOISY and it.callers == "others"),
    Target("acted on wrongly", 0.02, False, lambda _: True),
)


def grouped(results: Iterable[Result]) -> dict[Group, Score]:
    """By ear, condition, kind of request and of callers, in the order of `KINDS`."""
    found: dict[Group, list[Result]] = defaultdict(list)
    for result in results:
        trial = result.trial
        engine = trial.caller.partition("-")[0]
        callers = engine if engine in ("espeak", people.CALLER) else "others"
        found[Group(result.ear, trial.condition, trial.request.kind, callers)].append(result)
    ordered = sorted(found, key=lambda group: (group.ear, KINDS.index(group.kind)))
    return {group: Score.of(found[group]) for group in ordered}


def judged(scores: dict[Group, Score], ear: str) -> list[Judgement]:
    """The targets that the scores of an ear tell something of; people make no requests."""
    found = []
    for target in TARGETS:
        values = {
            group: score.success if target.at_least else score.acted_wrongly
            for group, score in scores.items()
            if group.ear == ear and target.holds_for(group) and not (target.at_least and group.kind == people.CALLER)
        }
        if values:
            worst = (min if target.at_least else max)(values, key=lambda group: values[group])
            found.append(Judgement(target, values[worst], worst))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many are; the nearest that there is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
