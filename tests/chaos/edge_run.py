"""A chaos run over edges, with callers who know nothing of resuming, and what came of it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.chaos.caller import CallersVerdict
from tests.chaos.edge_faults import EdgeFaults, Fault
from tests.chaos.edge_fleet import EdgeFleet, GoingOn, gone_on
from tests.chaos.timed_call import TimedCall
from tests.servers import redis_server
from voice_agent.rehearse.caller import Manners, RehearsedCaller
from voice_agent.rehearse.plain_call import HABITS
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.collector import settle

QUIET = Manners(frame_ms=100, spoken_ms=(300, 900), thinks_s=(4.0, 12.0), answered_s=120.0, recorded_s=5.0)
"""Of many callers."""
MANNERS = Manners(
    frame_ms=100, spoken_ms=(500, 2500), thinks_s=(0.5, 4.0), turns=(30, 110), answered_s=120.0, recorded_s=20.0
)
"""Light enough for a hundred callers beside all pods on one machine of two cores. A call lasts for five minutes, from
two to eight: a take-over of 900 items, after half an hour, costs a pod four times what 20 do. What is stored is looked
at by way of any pod, also of one that does not answer at the moment."""
AT_ONCE = 16
"""So many connect at a time: the start of a run is no fault."""
LEAST_PAUSE_S = 0.02
"""A shorter one is none: pods pace what they say, and everybody shares the machine."""


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """What is to be done."""

    edges: int = 2
    callers: int = 100
    faults: int = 200
    seed: int = 0
    storm: bool = False
    """Half of the pods die at once, instead of one fault after the other."""


@dataclass(slots=True)
class EdgeVerdict(CallersVerdict):
    """What was found."""

    plan: EdgePlan = field(default_factory=EdgePlan)
    faults: dict[str, int] = field(default_factory=dict)
    history: list[Fault] = field(default_factory=list)
    gone_on: list[GoingOn] = field(default_factory=list)
    """Every call that went on elsewhere, as the edges tell it."""
    served_again_s: float = 0.0
    """After a storm: until each caller had a pod again."""
    lost: float = 0.0
    """Callers that the edges closed though nobody hung up, as they tell it."""

    @property
    def began_on(self) -> dict[str, str]:
        """The pod of each call's first connection."""
        lines = [caller.call.line for caller in self.callers]
        return {line.call_id: line.legs[0].pod for line in lines if line.legs}

    @property
    def figures(self) -> dict[str, Any]:
        """The table."""
        found = self.totals
        return {
            "seconds": round(self.took_s, 1),
            "faults": sum(self.faults.values()),
            **{name: figure for name, figure in self.traffic.items() if name != "resumes"},
            "calls that went on elsewhere": len(self.gone_on),
            **({"all served again (s)": round(self.served_again_s, 2)} if self.plan.storm else {}),
            **self._struck,
            # Not while pods are timed: it would take their cores, longer each time.
            **(self._gaps if self.gone_on else {}),
            "calls not taken at once": sum(caller.call.refused for caller in self.callers),
            "closes seen by callers": sum(caller.call.closed_with is not None for caller in self.callers),
            "callers lost by the edges": self.lost,
            "calls dropped": found.dropped,
            "events lost": found.lost,
            "events repeated": found.repeated,
            "replies with other audio or text": found.wrong_replies,
            "words lost": found.lost_words,
            "words doubled": found.extra_words,
            "errors in logs": len(self.complaints),
        }

    @property
    def _struck(self) -> dict[str, str]:
        """How many calls a pod had that was killed: what a kill's longest gap grows with."""
        calls = [fault.calls for fault in self.history if fault.kind == "kill -9"]
        return {"calls of a pod at kill -9: p50, most": f"{median(calls):.0f}, {max(calls)}"} if calls else {}

    @property
    def _gaps(self) -> dict[str, str]:
        """By kind of fault: how long no pod served a call, and how late a reply's audio went on."""
        told: dict[str, str] = {}
        by_kind = by_struck(self.gone_on, self.history)
        pauses = [pause for caller in self.callers for pause in caller.call.playback.pauses]
        faults = [each for each in self.history if each.kind != "move"]  # A move hides no fault that is still felt.
        heard = by_fault([pause for pause in pauses if pause.pause_s > LEAST_PAUSE_S], faults)
        for name, found in (("no pod", by_kind), ("heard pause", heard)):
            for kind, gaps in sorted(found.items()):
                told[f"{name}, {kind}: p50, p99, most (ms)"] = percentiles_ms(gaps)
        return told


def by_fault(gaps: Sequence[tuple[float, float]], faults: Sequence[Fault]) -> dict[str, list[float]]:
    """Gaps, each with when it began, by the kind of fault that began last before it."""
    begins = [fault.began_s for fault in faults]
    found: dict[str, list[float]] = defaultdict(list)
    for began_s, gap_s in gaps:
        # The clocks of two processes are read in no order.
        index = bisect_right(begins, began_s + 0.005) - 1
        found[faults[index].kind if index >= 0 else "none"].append(gap_s)
    return found


def by_struck(gone_on: Sequence[GoingOn], faults: Sequence[Fault]) -> dict[str, list[float]]:
    """Gaps by the kind of the newest fault of the pod that had the call: another pod's may have begun since."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in gone_on:
        kinds = [fault.kind for fault in faults if fault.pod == each.pod and fault.began_s <= each.at_s]
        if kinds:
            found[kinds[-1]].append(each.gap_s)
    return found


def percentiles_ms(gaps: Sequence[float]) -> str:
    """``p50, p99, most (how many)``."""
    cuts = quantiles(gaps, n=100, method="inclusive") if len(gaps) > 1 else [*gaps] * 99
    return f"{1000 * cuts[49]:.0f}, {1000 * cuts[98]:.0f}, {1000 * max(gaps):.0f} ({len(gaps):,})"


class Lines:
    """On which callers call, one after the other; spread over edges and habits."""

    def __init__(self, fleet: EdgeFleet, first_seed: int, manners: Manners) -> None:
        self._fleet = fleet
        self._seeds = count(first_seed)
        self._manners = manners
        self._turn = asyncio.Semaphore(AT_ONCE)

    def call(self, line: int) -> RehearsedCaller[TimedCall]:
        """The next one."""
        seed, edges = next(self._seeds), self._fleet.edges
        call = TimedCall(f"{edges[line % len(edges)].url}?model=echo", HABITS[line % len(HABITS)], self._turn)
        return RehearsedCaller(f"caller-{seed}", call, self._fleet.record, SystemClock(), seed, self._manners)


async def chaos_over_edges(
    plan: EdgePlan, *, on_progress: Callable[[EdgeVerdict], None] = lambda verdict: None
) -> EdgeVerdict:
    """Start everything, do harm for a while, let it heal, and check."""
    chance = random.Random(plan.seed)
    verdict = EdgeVerdict(plan=plan)
    with tempfile.TemporaryDirectory(prefix="va-chaos-") as name, redis_server() as server:
        fleet = EdgeFleet(Path(name), server, chance, plan.edges)
        try:
            await fleet.open()
            await fleet.until_well()
            settle()  # All that callers said is kept, and looked at again and again while pods are timed.
            await _talk(plan, fleet, chance, verdict, on_progress)
            verdict.gone_on = [each for edge in fleet.edges for each in gone_on(edge, verdict.began_on)]
            verdict.lost = await fleet.lost()
            verdict.complaints = fleet.tracebacks()
        finally:
            await fleet.close()
    return verdict


async def _talk(
    plan: EdgePlan,
    fleet: EdgeFleet,
    chance: random.Random,
    verdict: EdgeVerdict,
    on_progress: Callable[[EdgeVerdict], None],
) -> None:
    began_s = time.monotonic()
    lines = Lines(fleet, plan.seed * 10_000, QUIET if plan.storm else MANNERS)
    verdict.begin([lines.call(line) for line in range(plan.callers)], lines.call)
    await verdict.until_all_talk()
    faults = EdgeFaults(fleet, chance)
    if plan.storm:
        verdict.served_again_s = await faults.storm(plan.callers)
        plan = replace(plan, faults=0)
    harm = asyncio.create_task(faults.run(lambda: len(faults.done) >= plan.faults))
    while not harm.done():
        verdict.took_s = time.monotonic() - began_s
        verdict.faults, verdict.history = faults.counts, faults.history
        on_progress(verdict)
        await asyncio.wait({harm}, timeout=0.5)
    harm.result()
    await verdict.finish()
    verdict.took_s = time.monotonic() - began_s
    verdict.faults, verdict.history = faults.counts, faults.history
