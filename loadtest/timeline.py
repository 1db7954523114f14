"""What pods, store and generator did over time, looked at twice a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter, process_time
from typing import Any

from loadtest.fleet import Fleet

LOOK_S = 0.5


@dataclass(frozen=True)
class Moment:
    """One look. Shares are of one core since the look before."""

    at_s: float
    server: float
    store: float
    generator: float
    active_calls: int
    commit_p50_ms: float
    commit_p99_ms: float
    """Of all commits so far, as `/metrics` counts them: upper ends of its buckets."""


@dataclass
class Timeline:
    """All looks at one run."""

    moments: list[Moment] = field(default_factory=list)

    def as_json(self) -> list[dict[str, Any]]:
        """A list of looks."""
        return [asdict(moment) for moment in self.moments]


@contextlib.asynccontextmanager
async def watched(fleet: Fleet) -> AsyncIterator[Timeline]:
    """Look for the length of a block."""
    timeline = Timeline()
    watching = asyncio.create_task(_watch(fleet, timeline))
    try:
        yield timeline
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(fleet: Fleet, timeline: Timeline) -> None:
    began_s = last_s = perf_counter()
    before = (fleet.server_cpu_s(), fleet.store_cpu_s(), process_time())
    while True:
        await asyncio.sleep(LOOK_S)
        pages = [await fleet.metrics(at) for at in range(len(fleet.addresses))]
        now_s, now = perf_counter(), (fleet.server_cpu_s(), fleet.store_cpu_s(), process_time())
        # A pod that was killed takes its CPU time along.
        server, store, generator = (
            max(0.0, new - old) / (now_s - last_s) for new, old in zip(now, before, strict=True)
        )
        last_s, before = now_s, now
        active = sum(int(value) for page in pages for name, value in page.items() if name.startswith("voice_active_"))
        timeline.moments.append(
            Moment(
                at_s=now_s - began_s,
                server=server,
                store=store,
                generator=generator,
                active_calls=active,
                commit_p50_ms=commit_ms(pages, 0.5),
                commit_p99_ms=commit_ms(pages, 0.99),
            )
        )


def commit_ms(pages: list[Mapping[str, float]], share: float) -> float:
    """The bucket of `/metrics` that so great a share of all commits fell into; 0 of none."""
    buckets: dict[float, float] = {}
    for page in pages:
        for name, value in page.items():
            if name.startswith("voice_store_seconds_bucket") and 'op="commit"' in name:
                upper = float(name.partition('le="')[2].partition('"')[0].replace("+Inf", "inf"))
                buckets[upper] = buckets.get(upper, 0.0) + value
    total = max(buckets.values(), default=0.0)
    for upper in sorted(buckets):
        if total and buckets[upper] >= share * total:
            return upper * 1000
    return 0.0
