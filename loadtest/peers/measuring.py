"""The measures of a comparison, in interleaved rounds on servers that all stay up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from loadtest.peers.caller import FRAME_S
from loadtest.peers.contenders import Contender, Ours
from loadtest.peers.environment import Environment, Server, Store
from loadtest.peers.holding import silent_calls
from loadtest.peers.load import Load, find_most, run_load
from loadtest.peers.ratios import in_turn
from loadtest.peers.talking import run_talk

Tell = Callable[[str], None]
"""Takes a line about what is going on."""

TRIES = 3
FULL = 0.8
"""A core that is nearly full: from here on a server queues more than it works."""
WARM_CALLS = 20
"""So many calls come before memory is looked at: what a server loads with its first ones is nobody's call."""
HELD_CALLS = 200
SETTLED_S = 1.0
"""A server's tidying up after a hundred handshakes, which is not waited for in any other way."""


@dataclass
class Measured:
    """Rounds of one measure, and what a reader must know of them."""

    us: list[dict[str, float]] = field(default_factory=list)
    store_us: list[dict[str, float]] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    """By contender: why a round of its did not count."""


async def cost_rounds(
    environment: Environment,
    servers: Sequence[Server],
    calls: dict[str, int],
    *,
    seconds: float,
    rounds: int,
    tell: Tell,
    tries: int = TRIES,
    in_time_only: bool = False,
) -> Measured:
    """CPU µs a frame of each server, with so many calls each, interleaved.

    A server that lost frames or was too slow is counted all the same: it had its core
    full, and what it got done in that time is its cost. A run whose generator was
    late is made again, `tries` times in all, and counted and told if that does not help;
    not counted if `in_time_only`, for frames that come late come together, and cost less.
    """
    measured = Measured()
    by_name = {server.name: server for server in servers}
    for number in range(rounds):
        us: dict[str, float] = {}
        store_us: dict[str, float] = {}
        for name in in_turn(list(by_name), number):
            tell(f"round {number + 1} of {rounds}: {name}, {calls[name]} calls")
            seen = await _in_time(by_name[name], store_of(environment, by_name[name]), calls[name], seconds, tries)
            if seen.fault:
                measured.faults[name] = seen.fault
            if in_time_only and not seen.counts:
                tell(f"does not count: {seen.fault}")
                continue
            us[name] = seen.us_per_frame
            if seen.store_us is not None:
                store_us[name] = seen.store_us
        measured.us.append(us)
        measured.store_us.append(store_us)
    return measured


async def nearly_full(environment: Environment, server: Server, *, probe_calls: int, seconds: float, most: int) -> int:
    """How many calls take about `FULL` of the server's core, at most `most`, with every frame back in time.

    Found from what a frame costs at `probe_calls`, and once more from what it costs there, for a frame gets cheaper
    as they come closer together; then less, until a run is sound.
    """
    store = store_of(environment, server)
    calls = probe_calls
    for _ in range(2):
        seen = await _in_time(server, store, calls, seconds)
        calls = max(1, min(most, round(FULL / (seen.us_per_frame * 1e-6) * FRAME_S)))
    for _ in range(TRIES):
        if not (await _in_time(server, store, calls, seconds)).fault:
            break
        calls = max(1, round(calls * 0.8))
    return calls


async def _in_time(server: Server, store: Store | None, calls: int, seconds: float, tries: int = TRIES) -> Load:
    """A run in which the generator kept its time; the last of `tries` if none did."""
    run = run_talk if server.contender.talks else run_load
    for _ in range(tries - 1):
        seen = await run(server, store, calls, seconds)
        if seen.counts:
            return seen
    return await run(server, store, calls, seconds)


async def most_rounds(
    servers: Sequence[Server], guesses: dict[str, int], *, most: int, rounds: int, seconds: float, tell: Tell
) -> Measured:
    """The most calls of each server whose 99th percentile stays below 20 ms, interleaved."""
    measured = Measured()
    by_name = {server.name: server for server in servers}
    for number in range(rounds):
        found: dict[str, float] = {}
        for name in in_turn(list(by_name), number):
            tell(f"round {number + 1} of {rounds}: most calls of {name}, from {guesses[name]}")
            calls, limited_by = await find_most(partial(_run, by_name[name], seconds), guesses[name], most)
            if calls:
                found[name] = calls
            if limited_by:
                measured.faults[name] = limited_by
        measured.us.append(found)
    return measured


async def _run(server: Server, seconds: float, calls: int) -> Load:
    return await _in_time(server, None, calls, seconds)


def store_of(environment: Environment, server: Server) -> Store | None:
    """The store, for a server that has one."""
    return environment.store if isinstance(server.contender, Ours) else None


async def memory(environment: Environment, contender: Contender, *, talking: int, tell: Tell) -> tuple[float, float]:
    """KiB that one more call takes: silent, and with frames passing. On fresh servers.

    The slope between few calls and many, so that what every server holds anyway is not in it. Silent: from
    `WARM_CALLS` to `HELD_CALLS` more; talking: from `WARM_CALLS` to `talking` calls.
    """
    tell(f"memory of {contender.name}, {HELD_CALLS} silent calls")
    server = await environment.start(contender)
    async with silent_calls(server.url, server.headers, WARM_CALLS):
        # What a server does once calls are connected is not to be seen from outside.
        await asyncio.sleep(SETTLED_S)
        few_kb = server.pss_kb()
        async with silent_calls(server.url, server.headers, HELD_CALLS):
            await asyncio.sleep(SETTLED_S)  # as above
            idle_kb = (server.pss_kb() - few_kb) / HELD_CALLS
    await environment.end(server)
    tell(f"memory of {contender.name}, {talking} talking calls")
    server = await environment.start(contender)
    few = await run_load(server, None, WARM_CALLS, 2.0)
    many = await run_load(server, None, talking, 4.0)
    await environment.end(server)
    return idle_kb, (many.pss_kb - few.pss_kb) / (talking - WARM_CALLS)
