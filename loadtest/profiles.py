"""The profiles: each brings callers and pods together in its own way and says what it found."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import redis.asyncio as redis

from loadtest.fleet import Fleet, pods
from loadtest.outcome import Check, Outcome
from loadtest.pacing import Pace
from loadtest.resuming import Findings, ResumingCaller
from loadtest.timeline import Timeline, watched
from voice_agent.call.closing import CloseCode

MIB = 1024 * 1024
AT_ONCE = 20
"""So many handshakes are under way at a time."""
SETTLE_S = 5.0
"""How long at most the last echoes are waited for."""
LATENCY_MS = 20.0
STORM_S = 3.0
RESUMES_PER_S = 50
RESUME_P99_MS = 50.0
REPLAYED = 3
"""Events that a caller of `resume` pretends not to have seen."""
PINGS = 200
THINK_SHARE = 0.3
DROP_SHARE = 0.3

Tell = Callable[[str], None]


@dataclass
class ProfileRun:
    """A run under way."""

    fleet: Fleet
    tell: Tell
    findings: Findings = field(default_factory=Findings)
    pace: Pace = field(default_factory=Pace)
    callers: list[ResumingCaller] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)
    began_s: float = field(default_factory=perf_counter)

    async def connect(self, calls: int, *, at: int = 0) -> list[ResumingCaller]:
        """So many more calls, on one pod."""
        made = [ResumingCaller(self.fleet.addresses, self.fleet.headers, self.findings) for _ in range(calls)]
        for caller in made:
            caller.at = at
        for start in range(0, calls, AT_ONCE):
            await asyncio.gather(*(caller.start() for caller in made[start : start + AT_ONCE]))
        self.callers += made
        return made

    async def settle(self) -> None:
        """Wait for the last echoes; what has not come by then is lost."""
        deadline_s = perf_counter() + SETTLE_S
        while perf_counter() < deadline_s and any(caller.has_pending for caller in self.callers if not caller.done):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.findings.lost += sum(caller.has_pending for caller in self.callers if not caller.done)
        for caller in self.callers:
            caller.hang_up()

    def outcome(self, profile: str, *checks: Check, **facts: float) -> Outcome:
        """All that was found."""
        seconds = perf_counter() - self.began_s
        return Outcome(
            profile, self.findings.calls, seconds, self.findings, list(checks), self.timeline, self.pace.lag, facts
        )


async def _profile_run(stack: AsyncExitStack, fleet: Fleet, tell: Tell) -> ProfileRun:
    run = ProfileRun(fleet, tell)
    run.timeline = await stack.enter_async_context(watched(fleet))
    return run


def ms(seconds: float) -> float:
    """Milliseconds, for people."""
    return round(seconds * 1000, 2)


async def smoke(fleet: Fleet, tell: Tell, *, calls: int, seconds: float) -> Outcome:
    """A few calls for some seconds: every frame comes back, once and in order."""
    async with AsyncExitStack() as stack:
        run = await _profile_run(stack, fleet, tell)
        tell(f"{calls} calls talk for {seconds:g} s")
        run.pace.add(await run.connect(calls))
        await run.pace.keep(seconds)
        await run.settle()
        least = 0.9 * calls * seconds * 50
        return run.outcome("smoke", Check("frames", run.findings.frames, least, least=True))


async def churn(fleet: Fleet, tell: Tell, *, calls: int, seconds: float, seed: int) -> Outcome:
    """Calls come, talk in turns with pauses to think, lose their connections now and then, and end."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with AsyncExitStack() as stack:
        run = await _profile_run(stack, fleet, tell)
        living: list[ResumingCaller] = []
        end_s = perf_counter() + seconds
        while perf_counter() < end_s:
            if len(living) < calls:
                coming = await run.connect(min(AT_ONCE, calls - len(living)), at=chance.randrange(len(fleet.addresses)))
                run.pace.add(coming)
                living += coming
            await run.pace.keep(0.5)
            for caller in list(living):
                luck = chance.random()
                run.pace.remove(caller)
                if luck < THINK_SHARE:
                    continue  # He thinks until the next look.
                run.pace.add([caller])
                if luck > 1 - DROP_SHARE / 6:
                    caller.drop()
                elif luck > 1 - DROP_SHARE / 3 and caller.open.is_set() and not caller.has_pending:
                    run.pace.remove(caller)
                    living.remove(caller)
                    caller.hang_up()
            tell(f"{len(living)} calls, {run.findings.calls} so far, {run.findings.resumes} resumes")
        await run.settle()
        return run.outcome("churn", Check("calls", run.findings.calls, calls, least=True))


async def storm(tell: Tell, *, calls: int, seconds: float, outbox_bytes: int) -> Outcome:
    """A pod is killed with all its calls: they resume at once on the other one."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(pods("blue", "green", outbox_bytes=outbox_bytes))
        run = await _profile_run(stack, fleet, tell)
        tell(f"{calls} calls talk on blue")
        run.pace.add(await run.connect(calls))
        await run.pace.keep(seconds)
        tell("blue is killed")
        await fleet.kill(0)
        killed_s = perf_counter()
        await run.pace.keep(
            30.0,
            until=lambda: (
                all(caller.done or caller.open.is_set() for caller in run.callers)
                and run.findings.resumes + run.findings.dropped >= calls
            ),
        )
        all_back_s = perf_counter() - killed_s
        tell(f"all are back after {all_back_s:.2f} s")
        await run.pace.keep(seconds)
        await run.settle()
        return run.outcome(
            "storm",
            Check("resumed", run.findings.resumes, calls, least=True),
            Check("until all are resumed", round(all_back_s, 3), STORM_S, "s"),
            all_resumed_s=round(all_back_s, 3),
        )


async def resume(tell: Tell, *, calls: int, seconds: float, per_s: float, outbox_bytes: int) -> Outcome:
    """A steady stream of resumes between two pods, beside a bare handshake and a store round trip in the same run."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(pods("blue", "green", outbox_bytes=outbox_bytes))
        run = await _profile_run(stack, fleet, tell)
        handshakes_s = await _handshakes(fleet)
        run.pace.add(await run.connect(calls))
        await run.pace.keep(2.0)
        tell(f"{per_s:g} resumes a second for {seconds:g} s")
        for caller in run.callers:
            caller.replay = REPLAYED
        round_trips_s = asyncio.create_task(_round_trips(fleet, seconds))
        for number in range(round(seconds * per_s)):
            run.callers[number % calls].drop()
            await run.pace.keep(1 / per_s)
        await run.pace.keep(1.0)
        await run.settle()
        handshake_ms, trip_ms = ms(median(handshakes_s)), ms(median(await round_trips_s))
        took = run.findings.first_event
        bound_ms = round(handshake_ms + 2 * trip_ms, 2)
        return run.outcome(
            "resume",
            Check("resumes", run.findings.resumes, round(0.95 * seconds * per_s), least=True),
            Check("first replayed event, p99", ms(took.percentile_s(99)), RESUME_P99_MS, "ms"),
            Check(
                "first replayed event, p50 (a handshake and 2 round trips)", ms(took.percentile_s(50)), bound_ms, "ms"
            ),
            handshake_p50_ms=handshake_ms,
            store_round_trip_p50_ms=trip_ms,
        )


async def _handshakes(fleet: Fleet) -> list[float]:
    """Seconds from connect to greeting of new calls, one after the other, before anybody talks."""
    found = []
    for number in range(PINGS // 4):
        seen = Findings()
        caller = ResumingCaller(fleet.addresses, fleet.headers, seen)
        caller.at = number % len(fleet.addresses)
        began_s = perf_counter()
        await caller.start()
        found.append(perf_counter() - began_s)
        caller.hang_up()
    return found


async def _round_trips(fleet: Fleet, seconds: float) -> list[float]:
    """Seconds of PINGs to the store, spread over the run."""
    assert fleet.environment is not None
    assert fleet.environment.store is not None
    found = []
    async with redis.Redis.from_url(fleet.environment.store.url) as client:
        for _ in range(PINGS):
            began_s = perf_counter()
            await client.ping()
            found.append(perf_counter() - began_s)
            await asyncio.sleep(seconds / PINGS)  # spread over the run
    return found


async def cutover(tell: Tell, *, calls: int, seconds: float, outbox_bytes: int) -> Outcome:
    """Blue is drained under load: every call is handed off to green at a quiet moment."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(pods("blue", "green", outbox_bytes=outbox_bytes))
        run = await _profile_run(stack, fleet, tell)
        tell(f"{calls} calls talk on blue")
        run.pace.add(await run.connect(calls))
        await run.pace.keep(seconds)
        tell("blue drains")
        await fleet.drain(0)
        began_s = perf_counter()
        await run.pace.keep(120.0, until=lambda: run.findings.resumes + run.findings.dropped >= calls)
        drained_s = perf_counter() - began_s
        tell(f"blue is empty after {drained_s:.1f} s")
        await run.pace.keep(seconds)
        await run.settle()
        return run.outcome(
            "cutover",
            Check("handed off", run.findings.codes.get(CloseCode.SERVICE_RESTART, 0), calls, least=True),
            drained_s=round(drained_s, 2),
        )
