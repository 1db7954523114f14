"""Twice as many callers as a pod has room for: those who talk keep talking, the others are told so quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter

from loadtest.fleet import pods
from loadtest.latencies import Latencies
from loadtest.outcome import Check, Outcome
from loadtest.profiles import ProfileRun, Tell, ms
from loadtest.resuming import ResumingCaller
from loadtest.timeline import watched

UNBOUNDED = 100_000
"""Places, where the pod has to find out by itself how many calls are too many."""
LAG_MS = 25
"""`VOICE_OVERLOAD_LAG_MS`, as it is by default."""
RETRY_S = 1.0
"""What `Retry-After` says."""
ECHO_P99_MS = 100.0
REFUSAL_P50_MS = 50.0
"""Above what the lag of the loop explains."""
TURNS = 2
"""A refusal waits for so many turns of the loop: one that accepts the connection, one that reads the request."""
RECOVERED_S = 15.0
"""The second that is under way, five calm ones, and as long again for what is still in the way."""
LOOK_S = 0.05


@dataclass
class Knocking:
    """Callers who want a call and come again when they are refused."""

    run: ProfileRun
    refusals: Latencies = field(default_factory=Latencies)
    """From the start of the connection to the answer."""
    taken: list[ResumingCaller] = field(default_factory=list)
    failed: int = 0
    """Tries that got no answer at all."""
    is_over: bool = False

    async def knock(self, after_s: float) -> None:
        """Until there is a call, or nobody waits for it any more."""
        await asyncio.sleep(after_s)  # they do not come all at once
        findings = self.run.findings
        while not self.is_over:
            caller = ResumingCaller(self.run.fleet.addresses, self.run.fleet.headers, findings)
            began_s = perf_counter()
            try:
                await caller.start()
            except OSError:
                findings.calls -= 1
                if caller.refused_with == HTTPStatus.SERVICE_UNAVAILABLE:
                    self.refusals.add(perf_counter() - began_s)
                else:
                    self.failed += 1
                await asyncio.sleep(RETRY_S)
            else:
                self.run.callers.append(caller)
                self.run.pace.add([caller])
                self.taken.append(caller)
                return


async def overload(tell: Tell, *, calls: int, seconds: float, per_s: float, places: int, outbox_bytes: int) -> Outcome:
    """`calls` talk, and as many again knock all the time; then a third of those who talk hang up.

    `places` 0: the pod has no bound but its core, and calls come until it says that it is overloaded. The figures of
    those who talk are those of the time in which others are refused.
    """
    async with AsyncExitStack() as stack:
        settings = {"VOICE_MAX_CALLS": str(places or UNBOUNDED), "VOICE_OVERLOAD_LAG_MS": str(LAG_MS)}
        fleet = await stack.enter_async_context(pods("blue", outbox_bytes=outbox_bytes, settings=settings))
        run = ProfileRun(fleet, tell)
        run.timeline = await stack.enter_async_context(watched(fleet))
        tell(f"{2 * calls} callers come, {per_s:g} a second")
        knocking = Knocking(run)
        knocks = [asyncio.create_task(knocking.knock(number / per_s)) for number in range(2 * calls)]
        try:
            await run.pace.keep(2 * calls / per_s, until=lambda: knocking.refusals.count > 0)
            talking = len(run.callers)
            tell(f"{talking} calls talk, and others are refused")
            run.findings.echo, before = Latencies(), await fleet.metrics(0)
            await run.pace.keep(seconds)
            echo, after = run.findings.echo, await fleet.metrics(0)
            run.findings.echo, most = Latencies(), len(run.callers)
            for caller in run.callers[: len(run.callers) // 3]:
                run.pace.remove(caller)
                caller.hang_up()
            taken, left_s = len(knocking.taken), perf_counter()
            tell("a third have hung up")
            await run.pace.keep(RECOVERED_S, until=lambda: len(knocking.taken) > taken)
            recovered_s, taken_again = perf_counter() - left_s, len(knocking.taken) - taken
            at_end = await fleet.metrics(0)
        finally:
            knocking.is_over = True
            for task in knocks:
                task.cancel()
            await asyncio.gather(*knocks, return_exceptions=True)
        await run.settle()
        lag_ms = lag_p50_ms(before, after)
        above_ms = round(ms(knocking.refusals.percentile_s(50)) - TURNS * lag_ms, 2)
        run.findings.echo = echo
        return run.outcome(
            "overload",
            Check("echo of those who talk, p99", ms(echo.percentile_s(99)), ECHO_P99_MS, "ms"),
            Check("refusals", knocking.refusals.count, 1, least=True),
            Check("refusal, p50, above the lag of the loop", above_ms, REFUSAL_P50_MS, "ms"),
            Check("knocks without an answer", knocking.failed, 0),
            Check("new calls once there is room", taken_again, 1, least=True),
            recovered_s=round(recovered_s, 2),
            talking=float(talking),
            most_talking=float(most),
            refusal_p50_ms=ms(knocking.refusals.percentile_s(50)),
            refusal_p99_ms=ms(knocking.refusals.percentile_s(99)),
            loop_lag_p50_ms=lag_ms,
            **refused_by_reason(at_end),
        )


def lag_p50_ms(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """The bucket of the loop's lag that half of what was measured between two looks at `/metrics` fell into."""
    buckets: dict[float, float] = {}
    for name, value in after.items():
        if name.startswith("voice_loop_lag_seconds_bucket"):
            upper = float(name.partition('le="')[2].partition('"')[0].replace("+Inf", "inf"))
            buckets[upper] = value - before.get(name, 0.0)
    total = max(buckets.values(), default=0.0)
    for upper in sorted(buckets):
        if total and buckets[upper] >= total / 2:
            return upper * 1000
    return 0.0


def refused_by_reason(page: Mapping[str, float]) -> dict[str, float]:
    """How often the pod refused for what, as it says."""
    found: dict[str, float] = {}
    for name, value in page.items():
        if name.startswith("voice_refusals_total") and value:
            found["refused_" + name.partition('reason="')[2].partition('"')[0]] = value
    return found
