"""What an edge costs: CPU a frame beside the bare echo's, the latency that it adds to a pod's, memory a held call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from loadtest.peers.contenders import BASELINE, EDGE, Fronted, Ours, Peer, chosen
from loadtest.peers.environment import Environment, opened
from loadtest.peers.load import Load, run_load
from loadtest.peers.measuring import FULL, Tell, cost_rounds, memory
from loadtest.peers.ratios import in_turn, median_ratios, medians
from loadtest.peers.results import Verdict

MIB = 1024 * 1024
POD = Ours("pod", "the pod behind the edge", MIB)
FRONTED = Fronted(EDGE, "`voice-agent edge`", POD)
COST_CALLS = 100
"""As the guard has: with more, frames come together more often, and cost less with whoever is slower. Memory is looked
at with as many: pod, store and callers share a core there, and what a full one is late with waits in the edge."""
CALLS = 200
"""Talking at once where latency is looked at."""
RATIO = 0.9
ADDED_MS = 2.0
IDLE_KB = 30.0
TALKING_KB = 300.0
DIRECT = "direct"
INSTANT = Peer("instant", "a pod that waits for no store", "instant_pod.py", "", ())


@dataclass(frozen=True)
class EdgeCost:
    """Figures of one run on one machine."""

    us: dict[str, float]
    """CPU µs a frame, in and out; the median over the rounds."""
    ratio: float
    """Of the edge's by the bare echo's of the same round, the median again."""
    calls: int
    """Talking at once where latency was looked at."""
    p99_ms: dict[str, list[float]]
    """By way, directly or over the edge: a frame's way there and back, of each round that counts."""
    idle_kb: float
    talking_kb: float
    notes: list[str]

    @property
    def added_ms(self) -> float:
        """What the 99th percentile is longer over the edge."""
        return median(self.p99_ms[EDGE]) - median(self.p99_ms[DIRECT])

    def verdicts(self) -> list[Verdict]:
        """Each figure beside what is to be reached."""
        return [
            _at_most("CPU a frame, by bare echo's", self.ratio, RATIO, "×"),
            _at_most(f"added to the 99th percentile, {self.calls} calls", self.added_ms, ADDED_MS, "ms"),
            _at_most("memory of a held call, silent", self.idle_kb, IDLE_KB, "kB"),
            _at_most("memory of a held call, talking", self.talking_kb, TALKING_KB, "kB"),
        ]


async def edge_cost(rounds: int, seconds: float, tell: Tell, latency_calls: int = CALLS) -> EdgeCost:
    """Measure an edge. Raises `NotStarted`, `Refused`, `ValueError` if the machine was too busy for any round.

    `latency_calls`: fewer for a machine whose core is full with `CALLS`, on which the wait for it would be measured.
    """
    bare = chosen([BASELINE])[0]
    async with opened() as environment:
        servers = [await environment.start(bare), await environment.start(FRONTED)]
        calls = {server.name: COST_CALLS for server in servers}
        cost = await cost_rounds(
            environment, servers, calls, seconds=seconds, rounds=rounds, tell=tell, tries=1, in_time_only=True
        )
        for server in servers:
            await environment.end(server)
        p99_ms = await _latencies(environment, latency_calls, rounds, seconds, tell)
        idle_kb, talking_kb = await _memory(environment, tell)
    ratio = median_ratios(cost.us, BASELINE).get(EDGE)
    if ratio is None or not all(p99_ms.values()):
        raise ValueError("No round was sound: the machine is too busy, or too slow, for figures; try again.")
    notes = [f"{name}: {fault}" for name, fault in sorted(cost.faults.items())]
    return EdgeCost(medians(cost.us), ratio, latency_calls, p99_ms, idle_kb, talking_kb, notes)


async def _latencies(
    environment: Environment, calls: int, rounds: int, seconds: float, tell: Tell
) -> dict[str, list[float]]:
    """The same pod, asked directly and over the edge, in turn; one in which no frame waits for a write."""
    edge = await environment.start(replace(FRONTED, name="edge-latency", pod=INSTANT))
    assert edge.behind is not None
    ways = {DIRECT: edge.behind, EDGE: edge}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in in_turn(list(ways), number):
            tell(f"latency, round {number + 1} of {rounds}: {way}")
            load: Load = await run_load(ways[way], None, calls, seconds)
            if fault := latency_fault(load):
                tell(f"does not count: {fault}")
            else:
                found[way].append(load.p99_s * 1000)
    await environment.end(edge)
    return found


async def _memory(environment: Environment, tell: Tell) -> tuple[float, float]:
    contender = replace(FRONTED, name="edge-memory", pod=replace(POD, name="pod-memory"))
    idle_kib, talking_kib = await memory(environment, contender, talking=COST_CALLS, tell=tell)
    return idle_kib * 1.024, talking_kib * 1.024


def latency_fault(load: Load) -> str:
    """Why a round's latency says nothing of the server's own; empty if it does. A core without room queues."""
    if load.fault or load.core <= FULL:
        return load.fault
    return f"{load.core:.0%} of a core were in use with {load.calls} calls"


def _at_most(measure: str, value: float, limit: float, unit: str) -> Verdict:
    return Verdict(measure, value, f"≤ {limit:g} {unit}", value <= limit)
