"""The guard's measuring: this server and the bare echo, some interleaved rounds, again where they look worse."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from loadtest.peers.contenders import BASELINE, chosen
from loadtest.peers.environment import opened
from loadtest.peers.guard import Judgement, Outcome, Stored, judge, not_measured
from loadtest.peers.measuring import Tell, cost_rounds
from loadtest.peers.ratios import Round, best_ratios

CALLS = 100
"""As many as keep less than half a core busy with either, also on a machine that is half as quick."""
ROUNDS = 4
"""Each is run once, and the best of those counts in which the generator was in time. Where it was late, frames came
together, answers broke off, and both made a conversation look cheap."""
SECONDS = 4.0
"""Half a period of the conversation, at any moment of which as many callers speak and are answered as at any other."""


async def attempts(names: list[str], tell: Tell) -> AsyncGenerator[list[Round], None]:
    """Rounds of CPU µs a frame, as often as they are asked for, on servers that stay up meanwhile."""
    contenders = chosen(names)
    calls = {one.name: CALLS for one in contenders}
    async with opened() as environment:
        servers = [await environment.start(one) for one in contenders]
        await cost_rounds(environment, servers, calls, seconds=1.0, rounds=1, tell=tell, tries=1)
        while True:
            measured = await cost_rounds(
                environment, servers, calls, seconds=SECONDS, rounds=ROUNDS, tell=tell, tries=1, in_time_only=True
            )
            yield list(measured.us)


async def hold(stored: Stored, tell: Tell) -> tuple[Outcome, list[Judgement]]:
    """Measure until it holds or counts as worse."""
    seen: list[list[Round]] = []
    measuring = attempts(list(stored.ratios), tell)
    try:
        async for rounds in measuring:
            seen.append(rounds)
            outcome, judgements = judge(seen, stored, BASELINE)
            if outcome is not Outcome.AGAIN:
                return outcome, judgements
            tell("dearer than stored, or not measured; measuring again, for it may have been the machine")
    finally:
        await measuring.aclose()
    raise AssertionError("attempts never end by themselves")


async def ratios_now(names: list[str], tell: Tell) -> dict[str, float]:
    """What to store: the best of two attempts. Raises `ValueError` if the machine was too busy for any to count."""
    seen: list[Round] = []
    measuring = attempts(names, tell)
    try:
        async for rounds in measuring:
            seen += rounds
            if len(seen) >= 2 * ROUNDS:
                break
    finally:
        await measuring.aclose()
    found = best_ratios(seen, BASELINE)
    if missing := [name for name in names if name not in found]:
        raise not_measured(missing[0])
    return {name: found[name] for name in names}
