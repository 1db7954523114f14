"""What the network and the store are like at a moment: drawn from the seed, changed by the faults of a schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(slots=True)
class Spell:
    """A fault of the way to the store that lasts. `pod` None: all of them."""

    kind: str
    """refused, silent, late, locked (no writes), unanswered (answers are lost) or slow."""
    pod: str | None
    until_s: float


class Weather:
    """Asked for every message."""

    def __init__(self, random: Random, now_s: Callable[[], float]) -> None:
        self._random = random
        self._now_s = now_s
        self._spells: list[Spell] = []
        self.calm = False
        """No more surprises: the end of a run."""

    def begin(self, kind: str, pod: str | None, lasts_s: float) -> None:
        """A spell of bad weather begins."""
        self._spells.append(Spell(kind, pod, self._now_s() + lasts_s))

    def clear(self) -> None:
        """From now on the weather is fine."""
        self._spells.clear()
        self.calm = True

    def _has(self, pod: str, *kinds: str) -> Spell | None:
        if not self._spells:
            return None
        now_s = self._now_s()
        self._spells = [spell for spell in self._spells if spell.until_s > now_s]
        return next((s for s in self._spells if s.kind in kinds and s.pod in (None, pod)), None)

    def store_delay_s(self) -> float:
        """One way between a pod and the store."""
        slow = self._has("", "slow")
        return self._random.uniform(0.0001, 0.9 if slow else 0.002)

    def way_to_store(self, pod: str) -> str:
        """free, refused, silent, late or locked."""
        spell = self._has(pod, "refused", "silent", "late", "locked")
        return spell.kind if spell else "free"

    def loses_answer(self, pod: str) -> bool:
        """Whether this answer never arrives."""
        return self._has(pod, "unanswered") is not None and self._random.random() < 0.7

    def twice(self) -> bool:
        """Whether this question arrives a second time, later."""
        return not self.calm and self._random.random() < 0.02

    def late_s(self) -> float:
        """How much later."""
        return self._random.choice((0.001, 0.05, 0.5, 3.0)) * self._random.random()

    def wire_delay_s(self) -> float:
        """One way between a caller and a pod."""
        return self._random.uniform(0.0005, 0.03)
