"""How much later than an upstream's first audio a relay's is: ``python -m tests.agents.relay.first_audio``.

The same question is asked of the upstream itself and through the relay, in turn, by two callers.
"""

from __future__ import annotations

import asyncio
from statistics import median, quantiles

from tests.agents.relay.counting_caller import CountingCaller
from tests.agents.relay.upstreams import relay, upstreams
from tests.e2e.pods import pods
from voice_agent.client.connection import RealtimeCall

TURNS = 50


async def measure(turns: int = TURNS) -> tuple[list[float], list[float]]:
    """Seconds from the question to the first audio: of the upstream itself, and through a relay."""
    async with upstreams() as (upstream,), pods("memory://") as its:
        relaying = await relay(its, upstream)
        async with (
            RealtimeCall(upstream.url, model="counting") as direct,
            RealtimeCall(relaying.url, model="relay") as relayed,
        ):
            callers = CountingCaller(direct), CountingCaller(relayed)
            for turn in range(turns):
                for caller in callers:
                    await caller.ask(100 + 2 * turn, 1)
            without, through = ([reply.first_audio_s or 0.0 for reply in caller.heard] for caller in callers)
            return without, through


def main() -> None:
    """Say both, and the difference."""
    without, through = asyncio.run(measure())
    later = [(b - a) * 1000 for a, b in zip(without, through, strict=True)]
    print(f"the upstream itself: {median(without) * 1000:.1f} ms; through the relay: {median(through) * 1000:.1f} ms")
    print(f"later by {median(later):.1f} ms (p95 {quantiles(later, n=20)[-1]:.1f} ms), {len(later)} turns")


if __name__ == "__main__":
    main()
