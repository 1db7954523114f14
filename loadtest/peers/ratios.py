"""Ratios that hold on a busy machine: each round against its own baseline, then the median over the rounds.

A machine that is shared gets slower and quicker by the minute. Values of one round were
measured within seconds of each other, so their ratio stays when both drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

Round = Mapping[str, float]
"""What one round saw, by contender's name; a contender that could not be measured is absent."""


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Each contender's median value over the rounds that have it."""
    return {name: median(values) for name, values in _by_name(rounds).items()}


def median_ratios(rounds: Sequence[Round], baseline: str) -> dict[str, float]:
    """Each contender's median over the rounds of its value by the baseline's of the same round.

    Rounds without the baseline, or in which it was 0, say nothing.
    """
    told = [
        {name: value / one[baseline] for name, value in one.items()} for one in rounds if one.get(baseline, 0.0) > 0.0
    ]
    return medians(told)


def best_ratios(rounds: Sequence[Round], baseline: str) -> dict[str, float]:
    """Each contender's lowest value by the baseline's lowest: what both cost while the machine was least busy.

    For values that a busy machine only makes higher, and rounds enough that each had its quiet moment.
    """
    best = {name: min(values) for name, values in _by_name(rounds).items()}
    least = best.get(baseline, 0.0)
    return {name: value / least for name, value in best.items()} if least > 0.0 else {}


def in_turn(names: Sequence[str], round_number: int) -> list[str]:
    """The order of one round: there, then back, so that whoever comes late in a round comes early in the next."""
    return list(names) if round_number % 2 == 0 else list(reversed(names))


def _by_name(rounds: Sequence[Round]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in rounds:
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return found
