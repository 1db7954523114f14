"""The most calls that one pod on one core serves well."""

from __future__ import annotations

from time import perf_counter

from loadtest.fleet import pods
from loadtest.latencies import Latencies
from loadtest.outcome import Check, Outcome
from loadtest.peers.load import Load, find_most, run_load
from loadtest.profiles import Tell
from loadtest.resuming import Findings
from loadtest.timeline import watched


async def ramp(tell: Tell, *, guess: int, most: int, seconds: float, outbox_bytes: int) -> Outcome:
    """Grow, then halve the distance; each try is a run of its own with fresh calls."""
    began_s = perf_counter()
    findings = Findings()
    async with pods("blue", outbox_bytes=outbox_bytes) as fleet, watched(fleet) as timeline:
        assert fleet.environment is not None

        async def run(calls: int) -> Load:
            tell(f"{calls} calls")
            assert fleet.environment is not None
            seen = await run_load(fleet.servers[0], fleet.environment.store, calls, seconds)
            findings.calls += calls
            findings.frames += round(calls * seconds * 50)
            return seen

        found, stopped = await find_most(run, guess, most)
        best = await run(found) if found else None
    facts = {"most_calls": float(found)}
    if best is not None:
        facts |= {"p99_ms": round(best.p99_s * 1000, 2), "server_us_per_frame": round(best.us_per_frame, 1)}
        facts |= {"generator_lag_p99_ms": round(best.lag_p99_s * 1000, 2)}
    if stopped:
        tell(stopped)
    checks = [Check("most calls at p99 < 20 ms", found, 1, least=True)]
    return Outcome("ramp", found, perf_counter() - began_s, findings, checks, timeline, Latencies(), facts)
