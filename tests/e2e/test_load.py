"""Many calls at once: every frame comes back in order, memory stays flat, the store sees no per-frame round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis.asyncio

from loadtest.fleet import Fleet
from loadtest.profiles import ProfileRun
from loadtest.resuming import FRAME_MS
from tests.e2e.pods import PodProcess, pods


def resident_kb(pod: PodProcess) -> int:
    """Memory of the pod's process."""
    for line in Path(f"/proc/{pod.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


async def evals(watch: redis.asyncio.Redis) -> int:
    """How often the store was asked, by packets that held a command."""
    return int((await watch.info("stats"))["total_reads_processed"])


@pytest.mark.parametrize(
    ("calls", "warm_up_s", "seconds"),
    [
        pytest.param(10, 2, 4, id="short"),
        # The bounded outbox fills within the warm-up: 1 MiB at 48 kB/s takes 22 s.
        pytest.param(50, 30, 60, id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(300)]),
        # A million frames.
        pytest.param(50, 30, 370, id="million", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
async def test_loopback_loses_no_frame(redis_url: str, calls: int, warm_up_s: int, seconds: int) -> None:
    """Paced at 20 ms: no frame lost or out of order, fewer store round trips than frames, no growth after warm-up."""
    watch = redis.asyncio.Redis.from_url(redis_url)
    async with pods(redis_url) as its:
        pod = await its.start(max_calls=calls)
        before = await evals(watch)
        run = ProfileRun(Fleet([("127.0.0.1", pod.port)], {}), lambda _: None)
        run.pace.add(await run.connect(calls))
        await run.pace.keep(warm_up_s)
        sizes = []
        for _ in range(seconds):
            await run.pace.keep(1)
            sizes.append(resident_kb(pod))
        await run.settle()
        asked = await evals(watch) - before
        metrics = await pod.metrics()
    await watch.aclose()
    seen = run.findings
    assert (seen.faults, seen.codes) == ({}, {})
    frames = calls * (warm_up_s + seconds) * 1000 // FRAME_MS
    assert seen.frames == frames
    commits = metrics['voice_store_seconds_count{op="commit"}']
    print(f"\n{calls} calls, {frames} frames, {commits:.0f} commits, {asked} reads by the store")
    print(f"memory after warm-up: {sizes[0]} kB, at the end: {sizes[-1]} kB")
    assert commits < frames / 2
    assert asked < frames
    growth = (sizes[-1] - sizes[0]) / sizes[0]
    assert growth < (0.02 if seconds >= 60 else 0.25)
