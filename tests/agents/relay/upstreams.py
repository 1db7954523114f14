"""Upstreams and a relay as real pods, and what of their connections is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.pods import PodProcess, Pods, pods, session

COUNTING = f"{Path(__file__).parent / 'upstream_agent.py'}:Counting"


@asynccontextmanager
async def upstreams(count: int = 1, **settings: int) -> AsyncIterator[list[PodProcess]]:
    """Pods that count, each with a store of its own."""
    async with pods("memory://") as its:
        yield [await its.start("green", None, agent=COUNTING, **settings) for _ in range(count)]


async def relay(its: Pods, *upstream: PodProcess, color: str = "blue", **settings: object) -> PodProcess:
    """A pod that relays to these, the best first."""
    urls = ",".join(f"{one.url}?model=counting" for one in upstream)
    return await its.start(color, None, agent="relay", agent_relay_url=urls, **settings)


def connections(relaying: PodProcess, upstream: PodProcess) -> int:
    """How many a relay has to an upstream."""
    inodes = set()
    for pid in session(relaying.process.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        is_there = int(fields[2].rpartition(":")[2], 16) == upstream.port
        found += is_there and fields[9] in inodes
    return found
