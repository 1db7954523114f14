"""Many calls at once: every frame comes back in order, memory stays flat, the store sees no per-frame round trip."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
import redis.asyncio

from tests.e2e.pods import PodProcess, pods
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.pacing import FRAME_MS, Metronome

FRAME_BYTES = 960


def frame(call: int, number: int) -> bytes:
    """20 ms of audio that says whose and which it is."""
    return (call.to_bytes(2, "little") + number.to_bytes(4, "little")).ljust(FRAME_BYTES, b"\x2a")


async def mirrored(pod: PodProcess, call_number: int, frames: int) -> int:
    """Send frames at the pace of speech; check that each comes back, in order; return how many did."""
    async with RealtimeCall(pod.url, model="loopback") as call:

        async def speak() -> None:
            metronome = Metronome(FRAME_MS)
            for number in range(frames):
                await metronome.tick()
                await call.append_audio(frame(call_number, number))

        speaking = asyncio.create_task(speak())
        back = 0
        async for event in call.events():
            if event["type"] == "response.output_audio.delta":
                assert base64.b64decode(event["delta"]) == frame(call_number, back)
                back += 1
                if back == frames:
                    break
        await speaking
        assert (call.tally.gaps, call.tally.repeats) == (0, 0)
        return back


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
    per_second = 1000 // FRAME_MS
    async with pods(redis_url) as its:
        pod = await its.start(max_calls=calls)
        before = await evals(watch)
        total_s = warm_up_s + seconds
        talking = [asyncio.create_task(mirrored(pod, n, total_s * per_second)) for n in range(calls)]
        sizes = []
        for second in range(total_s):
            await asyncio.sleep(1)
            if second >= warm_up_s:
                sizes.append(resident_kb(pod))
        returned = await asyncio.gather(*talking)
        asked = await evals(watch) - before
        metrics = await pod.metrics()
    await watch.aclose()
    assert returned == [total_s * per_second] * calls
    frames = sum(returned)
    commits = metrics['voice_store_seconds_count{op="commit"}']
    print(f"\n{calls} calls, {frames} frames, {commits:.0f} commits, {asked} reads by the store")
    print(f"memory after warm-up: {sizes[0]} kB, at the end: {sizes[-1]} kB")
    assert commits < frames / 2
    assert asked < frames
    growth = (sizes[-1] - sizes[0]) / sizes[0]
    assert growth < (0.02 if seconds >= 60 else 0.25)
