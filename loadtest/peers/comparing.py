"""A whole comparison: servers up, measures in turn, one `Comparison`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.peers.contenders import Contender
from loadtest.peers.environment import Environment, Server, opened
from loadtest.peers.measuring import (
    HELD_CALLS,
    WARM_CALLS,
    Measured,
    Tell,
    cost_rounds,
    memory,
    most_rounds,
    nearly_full,
)
from loadtest.peers.results import Comparison
from loadtest.peers.venvs import versions

FEW_CALLS = 100


@dataclass(frozen=True)
class Extent:
    """How much is measured: what takes 20 minutes in full takes few where few are compared."""

    rounds: int = 3
    """Of CPU a frame."""
    seconds: float = 4.0
    """Of each run."""
    most_rounds: int = 2
    """Of most calls; 0 leaves the measure out."""
    memory: bool = True
    most_generated: int = 1500
    """Calls that one generator paces without being late; the core of a quick server is then less than full."""


async def compare(contenders: Sequence[Contender], extent: Extent, tell: Tell) -> Comparison:
    """Measure these contenders. Raises `NotStarted` and `Refused`."""
    async with opened() as environment:
        servers = [await environment.start(one) for one in contenders]
        calls = await _nearly_full(environment, servers, extent, tell)
        few_calls = {name: min(FEW_CALLS, calls[name]) for name in calls}
        few = await cost_rounds(
            environment, servers, few_calls, seconds=extent.seconds, rounds=extent.rounds, tell=tell
        )
        many = await cost_rounds(environment, servers, calls, seconds=extent.seconds, rounds=extent.rounds, tell=tell)
        echoes = [server for server in servers if not server.contender.talks]
        most = await most_rounds(
            echoes, calls, most=extent.most_generated, rounds=extent.most_rounds, seconds=extent.seconds / 2, tell=tell
        )
        for server in servers:
            await environment.end(server)
        echoers = [one for one in contenders if not one.talks]
        idle, talking, talkers = await _memory(environment, echoers, calls, tell) if extent.memory else ({}, {}, {})
    return Comparison(
        titles={one.name: one.title for one in contenders},
        versions={one.name: versions(one) for one in contenders},
        few=few.us,
        many=many.us,
        most=most.us,
        idle_kb=[idle],
        talking_kb=[talking],
        store_us=many.store_us,
        few_calls=FEW_CALLS,
        many_calls=calls,
        notes=_notes(contenders, few_calls, talkers, few, many, most),
    )


async def compare_at(contenders: Sequence[Contender], calls: int, extent: Extent, tell: Tell) -> Comparison:
    """CPU a frame alone, with so many calls each: minutes where `compare` takes many. Raises as that does."""
    same = {one.name: calls for one in contenders}
    async with opened() as environment:
        servers = [await environment.start(one) for one in contenders]
        seen = await cost_rounds(
            environment, servers, same, seconds=extent.seconds, rounds=extent.rounds, tell=tell, tries=1
        )
    return Comparison(
        titles={one.name: one.title for one in contenders},
        versions={one.name: versions(one) for one in contenders},
        few=seen.us,
        many=[],
        store_us=seen.store_us,
        few_calls=calls,
        notes=[f"{name}: {fault}." for name, fault in sorted(seen.faults.items())],
    )


async def _nearly_full(
    environment: Environment, servers: Sequence[Server], extent: Extent, tell: Tell
) -> dict[str, int]:
    calls: dict[str, int] = {}
    for server in servers:
        tell(f"how many calls nearly fill the core of {server.name}")
        calls[server.name] = await nearly_full(
            environment, server, probe_calls=PROBE_CALLS, seconds=extent.seconds / 2, most=extent.most_generated
        )
    return calls


PROBE_CALLS = 30
"""Few enough for every contender."""


async def _memory(
    environment: Environment, contenders: Sequence[Contender], calls: dict[str, int], tell: Tell
) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    idle: dict[str, float] = {}
    talking: dict[str, float] = {}
    talkers = {one.name: min(HELD_CALLS + WARM_CALLS, calls[one.name]) for one in contenders}
    for one in contenders:
        idle[one.name], talking[one.name] = await memory(environment, one, talking=talkers[one.name], tell=tell)
    return idle, talking, talkers


def _notes(
    contenders: Sequence[Contender], few_calls: dict[str, int], talkers: dict[str, int], *measured: Measured
) -> list[str]:
    notes = [
        f"{one.title}: {few_calls[one.name]} calls instead of {FEW_CALLS}, which are more than its core takes."
        for one in contenders
        if few_calls[one.name] < FEW_CALLS
    ]
    notes += [
        f"{one.title}: memory of talking calls from {talkers[one.name]} calls instead of {HELD_CALLS + WARM_CALLS}."
        for one in contenders
        if one.name in talkers and talkers[one.name] < HELD_CALLS + WARM_CALLS
    ]
    faults = {(name, fault) for part in measured for name, fault in part.faults.items()}
    titles = {one.name: one.title for one in contenders}
    return notes + [f"{titles[name]}: {fault}." for name, fault in sorted(faults)]
