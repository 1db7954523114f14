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

from tests.chaos.caller import CallersVerdict, fleet_callers
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet
from tests.replicated import sentinel_set


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
class Verdict(CallersVerdict):
    """What was found."""

    plan: Plan = field(default_factory=Plan)
    faults: dict[str, int] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    pod_starts: int = 0

    @property
    def figures(self) -> dict[str, Any]:
        """The table."""
        breaks = sorted(resumed.break_s * 1000 for caller in self.callers for resumed in caller.call.resumes)
        cuts = quantiles(breaks, n=100) if len(breaks) > 1 else [0.0] * 99
        found = self.totals
        return {
            "seconds": round(self.took_s, 1),
            "faults": sum(self.faults.values()),
            **self.traffic,
            "gap p50 ms": round(cuts[49], 1),
            "gap p99 ms": round(cuts[98], 1),
            "pod processes started": self.pod_starts,
            "calls dropped": found.dropped,
            "events lost": found.lost,
            "events repeated": found.repeated,
            "replies with other audio or text": found.wrong_replies,
            "words lost": found.lost_words,
            "words doubled": found.extra_words,
            "speech lost ms": found.lost_speech_ms,
            "errors in logs": len(self.complaints),
        }


async def chaos(plan: Plan, *, on_progress: Callable[[Verdict], None] = lambda verdict: None) -> Verdict:
    """Start everything, do harm for a while, let it heal, and check."""
    chance = random.Random(plan.seed)
    verdict = Verdict(plan=plan)
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
    verdict.begin(fleet_callers(fleet, range(plan.seed * 1000, plan.seed * 1000 + plan.callers)))
    enough = asyncio.Event()
    faults = Faults(fleet, store, verdict.callers, chance, outage_s=plan.outage_s)
    harm = asyncio.create_task(faults.run(enough, plan.store_wide))
    while not harm.done():
        verdict.took_s = time.monotonic() - began_s
        verdict.faults, verdict.history = dict(faults.counts), faults.history
        on_progress(verdict)
        if verdict.took_s >= plan.seconds and sum(verdict.faults.values()) >= plan.faults:
            enough.set()
        await asyncio.wait({harm}, timeout=0.5)
    harm.result()
    await verdict.finish()
    verdict.took_s = time.monotonic() - began_s
    verdict.faults = dict(faults.counts)
