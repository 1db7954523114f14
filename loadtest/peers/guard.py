"""The guard's verdict: whether a frame of a conversation costs more of the bare echo's cost than it used to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from loadtest.peers.ratios import Round, best_ratios

ATTEMPTS = 3
"""So often the measure is taken before it counts as worse: one neighbour on the machine must not stop a merge."""


class Outcome(Enum):
    """What to do after an attempt."""

    HOLDS = "holds"
    AGAIN = "again"
    """Too dear or not measured, yet it may have been the machine."""
    WORSE = "worse"


@dataclass(frozen=True)
class Stored:
    """Ratios to the bare echo that were reached once, and by how much they may be passed."""

    ratios: Mapping[str, float]
    tolerance: float
    """0.15 is 15 %."""

    @classmethod
    def from_json(cls, data: Any) -> Stored:
        """Read `guard.json`. Raises `ValueError` for a file that says nothing of use."""
        try:
            ratios = {str(name): float(value) for name, value in data["ratios"].items()}
            tolerance = float(data["tolerance"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"guard.json: {error} is missing or of the wrong kind; write it with `make bench-guard ARGS=--store`."
            ) from None
        if not ratios or min(ratios.values()) <= 0 or tolerance <= 0:
            raise ValueError("guard.json: ratios and tolerance must be above 0; write it with --store.")
        return cls(ratios, tolerance)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"tolerance": self.tolerance, "ratios": {name: round(value, 3) for name, value in self.ratios.items()}}

    def limit(self, name: str) -> float:
        """The highest ratio that is let pass."""
        return self.ratios[name] * (1 + self.tolerance)


@dataclass(frozen=True)
class Judgement:
    """Of one contender, after one attempt or more."""

    name: str
    ratio: float
    """Of the best rounds of all attempts: more rounds, less of the machine's noise."""
    stored: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether it is within the limit."""
        return self.ratio <= self.limit

    def __str__(self) -> str:
        change = (self.ratio / self.stored - 1) * 100
        word = "holds" if self.holds else "WORSE"
        return (
            f"{self.name}: {self.ratio:.3f} × the bare echo's CPU a frame, stored {self.stored:.3f} ({change:+.0f} %), "
            f"limit {self.limit:.3f}: {word}"
        )


def not_measured(name: str) -> ValueError:
    """The machine was too busy for any round of a contender, or of the bare echo, to count."""
    return ValueError(f"{name} was not measured in any round that counts, so nothing can be said of it.")


def judge(attempts: Sequence[Sequence[Round]], stored: Stored, baseline: str) -> tuple[Outcome, list[Judgement]]:
    """Compare what `attempts` saw (each some interleaved rounds of µs a frame) with what is stored.

    Raises `ValueError` if a stored contender was not measured in any attempt: silence must not pass for success.
    """
    seen = best_ratios([one for rounds in attempts for one in rounds], baseline)
    if missing := [name for name in stored.ratios if name not in seen]:
        if len(attempts) < ATTEMPTS:
            return Outcome.AGAIN, []
        raise not_measured(missing[0])
    judgements = [Judgement(name, seen[name], ratio, stored.limit(name)) for name, ratio in stored.ratios.items()]
    if all(judgement.holds for judgement in judgements):
        return Outcome.HOLDS, judgements
    return (Outcome.WORSE if len(attempts) >= ATTEMPTS else Outcome.AGAIN), judgements
