"""Many calls side by side through a relay whose upstream ends each session after a few seconds.

``python -m tests.agents.relay.renewals --calls 40 --renewals 1000`` says how many sessions were renewed, in how many
replies, and which words were missing or came twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, field

from rich.progress import Progress, TaskID

from tests.agents.relay.counting_caller import CountingCaller, Heard
from tests.agents.relay.upstreams import connections, relay, upstreams
from tests.e2e.pods import PodProcess, pods
from tests.waiting import until
from voice_agent.client.connection import RealtimeCall

STARTED = "voice_calls_started_total"


@dataclass(slots=True)
class Renewed:
    """What came of it."""

    sessions: int = 0
    """Of the upstream."""
    calls: int = 0
    replies: list[Heard] = field(default_factory=list)
    left_here: int = 0
    left_there: int = 0
    """Connections to the upstream once all calls are over, counted on both sides."""

    @property
    def renewals(self) -> int:
        """Sessions that followed another."""
        return self.sessions - self.calls

    @property
    def faults(self) -> list[str]:
        """Of all replies."""
        return [fault for reply in self.replies for fault in reply.faults]

    @property
    def summary(self) -> str:
        """In one line."""
        words = sum(len(reply.wanted) for reply in self.replies)
        fragments = sum(len(reply.fragments) for reply in self.replies)
        return (
            f"{self.calls} calls, {self.sessions} sessions, {self.renewals} renewals; {len(self.replies)} replies, "
            f"{words} words, {len(self.faults)} faults, {fragments} words cut off and said again; "
            f"connections left: {self.left_here} here, {self.left_there} there"
        )


async def sessions_of(upstream: PodProcess) -> tuple[int, int]:
    """How many were opened, and how many are open."""
    metrics = await upstream.metrics()
    opened = sum(value for name, value in metrics.items() if name.startswith(STARTED))
    health = await upstream.health()
    return int(opened), int(health["active_calls"])


async def renew(
    calls: int, renewals: int, limit_s: int, *, most_words: int = 30, progress: Progress | None = None
) -> Renewed:
    """Have so many calls count until so many sessions were renewed."""
    made = Renewed(calls=calls)
    bar = progress.add_task("renewals", total=renewals) if progress is not None else TaskID(0)
    is_enough = asyncio.Event()
    async with upstreams(max_call_seconds=limit_s) as (upstream,), pods("memory://") as its:
        relaying = await relay(its, upstream)

        async def count(number: int) -> None:
            chance = random.Random(number)
            async with RealtimeCall(relaying.url, model="relay") as call:
                caller = CountingCaller(call, made.replies)
                first = 100
                while not is_enough.is_set():
                    await caller.ask(first, many := chance.randint(1, most_words))
                    first = (first + many) % 900
                    await asyncio.sleep(chance.random())

        async def watch() -> None:
            while made.renewals < renewals:
                await asyncio.sleep(0.5)
                made.sessions, _ = await sessions_of(upstream)
                if progress is not None:
                    progress.update(bar, completed=max(0, made.renewals))
            is_enough.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            for number in range(calls):
                group.create_task(count(number))

        async def is_left() -> bool:
            made.left_here = connections(relaying, upstream)
            _, made.left_there = await sessions_of(upstream)
            return not made.left_here and not made.left_there

        await until(is_left)
    return made


def main() -> None:
    """Run it, and fail if a word is missing or came twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--renewals", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=10, help="of a session, in seconds")
    options = parser.parse_args()
    with Progress() as progress:
        made = asyncio.run(renew(options.calls, options.renewals, options.limit, progress=progress))
    for fault in made.faults:
        print(fault)
    print(made.summary)
    if made.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
