"""One chaos run, and what came of it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.chaos.caller import Caller
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet
from tests.replicated import sentinel_set

FINISH_S = 150.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    seconds: float = 240.0
    faults: int = 200
    """It goes on until there were so many, however long that takes."""
    callers: int = 32
    seed: int = 0
    failovers: int = 2
    outage_s: float = 30.0
    """0: the store as a whole stays."""

    @property
    def store_wide(self) -> list[tuple[float, str]]:
        """When the whole store is struck, and how."""
        parts = self.failovers + (self.outage_s > 0)
        kinds = ["failover"] * self.failovers + ["outage"] * (self.outage_s > 0)
        return [(self.seconds * (number + 1) / (parts + 1), kind) for number, kind in enumerate(kinds)]


@dataclass(slots=True)
class Verdict:
    """What was found."""

    plan: Plan
    took_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    pod_starts: int = 0
    complaints: list[str] = field(default_factory=list)
    """Errors in the pods' logs."""

    @property
    def breaks_ms(self) -> list[float]:
        """How long callers were without a connection, for each resume."""
        return sorted(resumed.break_s * 1000 for caller in self.callers for resumed in caller.resumes)

    @property
    def figures(self) -> dict[str, Any]:
        """The table."""
        breaks = self.breaks_ms
        cuts = quantiles(breaks, n=100) if len(breaks) > 1 else [0.0] * 99
        found = [caller.found for caller in self.callers]
        return {
            "seconds": round(self.took_s, 1),
            "faults": sum(self.faults.values()),
            "calls": len(self.callers),
            "turns": sum(caller.turns for caller in self.callers),
            "events": sum(caller.events for caller in self.callers),
            "resumes": len(breaks),
            "gap p50 ms": round(cuts[49], 1),
            "gap p99 ms": round(cuts[98], 1),
            "pod processes started": self.pod_starts,
            "calls dropped": sum(bool(one.dropped) for one in found),
            "events lost": sum(one.lost for one in found),
            "events repeated": sum(one.repeated for one in found),
            "replies with other audio or text": sum(len(one.wrong_audio) for one in found),
            "words lost": sum(one.lost_words for one in found),
            "words doubled": sum(one.extra_words for one in found),
            "speech lost ms": sum(one.lost_speech_ms for one in found),
            "errors in logs": len(self.complaints),
        }

    @property
    def is_clean(self) -> bool:
        """Every caller got what it should, and no pod complained."""
        return all(caller.found.is_clean for caller in self.callers) and not self.complaints


async def chaos(plan: Plan, *, on_progress: Callable[[Verdict], None] = lambda verdict: None) -> Verdict:
    """Start everything, do harm for a while, let it heal, and check."""
    chance = random.Random(plan.seed)
    verdict = Verdict(plan)
    with tempfile.TemporaryDirectory(prefix="va-chaos-") as name, sentinel_set() as store:
        fleet = Fleet(Path(name), store, chance)
        try:
            await fleet.open()
            await fleet.until_well()
            await _talk(plan, fleet, store, chance, verdict, on_progress)
            verdict.pod_starts = sum(pod.starts for pod in fleet.pods)
            verdict.complaints = fleet.tracebacks()
        finally:
            await fleet.close()
    return verdict


async def _talk(
    plan: Plan,
    fleet: Fleet,
    store: Any,
    chance: random.Random,
    verdict: Verdict,
    on_progress: Callable[[Verdict], None],
) -> None:
    began_s = time.monotonic()
    callers = [Caller(f"caller-{number}", fleet, plan.seed * 1000 + number) for number in range(plan.callers)]
    verdict.callers = callers
    enough, said_enough = asyncio.Event(), asyncio.Event()
    talking = [asyncio.create_task(caller.run(said_enough)) for caller in callers]
    faults = Faults(fleet, store, callers, chance, outage_s=plan.outage_s)
    harm = asyncio.create_task(faults.run(enough, plan.store_wide))
    while not harm.done():
        verdict.took_s = time.monotonic() - began_s
        verdict.faults, verdict.history = dict(faults.counts), faults.history
        on_progress(verdict)
        if verdict.took_s >= plan.seconds and sum(verdict.faults.values()) >= plan.faults:
            enough.set()
        await asyncio.wait({harm}, timeout=0.5)
    harm.result()
    said_enough.set()
    _, late = await asyncio.wait(talking, timeout=FINISH_S)
    for caller, task in zip(callers, talking, strict=True):
        if task in late:
            caller.found.dropped = caller.found.dropped or f"got no further: {caller.waits}"
            task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)
    verdict.took_s = time.monotonic() - began_s
    verdict.faults = dict(faults.counts)
