"""What a turn of a conversation costs this release beside another one: CPU of pod and store, bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.peers.contenders import Ours
from loadtest.peers.environment import opened
from loadtest.peers.measuring import Tell, store_of
from loadtest.peers.ratios import in_turn
from loadtest.peers.script import FRAMES
from loadtest.peers.talking import TalkLoad, run_talk
from loadtest.releases import unpacked

THIS, BEFORE = "this", "before"
OUTBOX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class TurnCost:
    """Of one turn: three seconds said, as long an answer, two seconds of silence."""

    cpu_ms: float
    store_cpu_ms: float
    store_bytes: float
    """Sent by the pod to the store."""

    @classmethod
    def of(cls, load: TalkLoad) -> TurnCost:
        """From what a heard frame took."""
        assert load.store_us is not None
        assert load.store_bytes is not None
        return cls(load.us_per_frame * FRAMES / 1000, load.store_us * FRAMES / 1000, load.store_bytes * FRAMES)


@dataclass(frozen=True)
class ReleaseCosts:
    """Medians over the rounds that were sound, and of the ratios within each."""

    this: TurnCost
    before: TurnCost
    ratio: TurnCost
    """This release's by the other's."""
    rounds: int
    """So many were sound."""

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


async def release_costs(sources: Path, *, calls: int, rounds: int, seconds: float, tell: Tell) -> ReleaseCosts:
    """Both answer the same conversations in turn, on one store. Raises `NotStarted`, `Refused`, `ValueError`."""
    found: list[dict[str, TurnCost]] = []
    async with opened() as environment:
        pods = {
            THIS: await environment.start(Ours(THIS, "this release", OUTBOX_BYTES, agent="echo")),
            BEFORE: await environment.start(Ours(BEFORE, "before", OUTBOX_BYTES, agent="echo", sources=sources)),
        }
        for number in range(rounds):
            costs: dict[str, TurnCost] = {}
            for name in in_turn(list(pods), number):
                tell(f"round {number + 1} of {rounds}: {name}, {calls} conversations")
                load = await run_talk(pods[name], store_of(environment, pods[name]), calls, seconds)
                if load.fault:
                    tell(f"does not count: {load.fault}")
                else:
                    costs[name] = TurnCost.of(load)
            if len(costs) == len(pods):
                found.append(costs)
    if not found:
        raise ValueError("No round was sound: the machine is too busy, or too slow, for figures; try again.")
    ratios = [_ratio(costs[THIS], costs[BEFORE]) for costs in found]
    this, before = ([costs[name] for costs in found] for name in (THIS, BEFORE))
    return ReleaseCosts(_median(this), _median(before), _median(ratios), len(found))


@contextmanager
def sources_of(before: str) -> Iterator[Path]:
    """The packages of a checkout, or of a revision of this repository. Raises `ValueError` if there is neither."""
    with tempfile.TemporaryDirectory(prefix="va-before-") as directory:
        yield unpacked(before, Path(directory)) / "app"


def _ratio(one: TurnCost, other: TurnCost) -> TurnCost:
    return TurnCost(*(value / asdict(other)[name] for name, value in asdict(one).items()))


def _median(costs: list[TurnCost]) -> TurnCost:
    return TurnCost(*(median(asdict(cost)[name] for cost in costs) for name in TurnCost.__dataclass_fields__))
