"""What it costs to make events durable: the committer with many calls on a real Valkey.

Run: ``python -m tests.stores.bench_commit`` (half a minute), with ``--json`` for scripts, ``--turns`` for the cost of a
turn at the start and at the end of a long call. Every call gets one 20 ms frame of audio to mirror each 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import redis
import uvloop

from tests.call.calls import FRAME, new_call, release
from tests.runtime.rig import CountingObserver
from tests.servers import RedisServer, free_port
from voice_agent.call import inputs, machine
from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import take_write
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.durability.committer import Committer
from voice_agent.stores.embedded import server_binary
from voice_agent.stores.redis import RedisStore

FRAME_S = 0.02
GROUPS = 20
SECONDS = 5.0
LAST_S = 5.0
TURNS = 1000


class Talking:
    """A call as the committer sees it, and when its oldest unwritten event was made."""

    writes_paused = False

    def __init__(self, call: CallRecord, took_s: list[float]) -> None:
        self.call = call
        self.took_s = took_s
        self.waits_since_s = 0.0

    def hear(self) -> None:
        machine.step(self.call, inputs.AppendAudio(FRAME), 0)
        self.waits_since_s = self.waits_since_s or time.perf_counter()

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]]:
        self.made_s, self.waits_since_s = self.waits_since_s, 0.0
        waiting = self.call.outbox.unsaved
        return take_write(self.call, 0), waiting

    def stored(self) -> None: ...

    def committed(self, events: list[OutboxEntry]) -> None:
        release(self.call, events)
        self.took_s.append(time.perf_counter() - self.made_s)

    def release_unsaved(self) -> None:
        raise RuntimeError("the store was given up: the machine is too slow for so many calls")

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        raise RuntimeError("the store lost a write")

    def superseded(self) -> None:
        raise RuntimeError("superseded")

    def erased(self) -> None:
        raise RuntimeError("erased")

    has_ended = False

    def ownership_check(self) -> None:
        return None

    def unwritable(self) -> None:
        raise RuntimeError("unwritable")


@dataclass
class Cost:
    """Of one run."""

    calls: int
    events: int
    commits: int
    writes: int
    """Of one call each, many to a commit."""
    us_per_event: float
    """CPU of this process: hearing the frame, packing, reading the answer, letting the event out."""
    store_us_per_event: float
    events_per_core_s: int
    p50_ms: float
    p99_ms: float
    """From an event's making until it may be sent."""


async def measure(url: str, calls: int, seconds: float) -> Cost:
    """So many calls for some seconds."""
    store = RedisStore(url, ttl_s=600)
    await store.open()
    observer = CountingObserver()
    took_s: list[float] = []
    talking = [Talking(named(new_call(mirror=True), number), took_s) for number in range(calls)]
    committer = Committer(store, SystemClock(), observer, lambda: ())
    for one in talking:
        one.call.record.write_whole = True
        one.waits_since_s = time.perf_counter()
        committer.mark(one)
    running = asyncio.create_task(committer.run())
    for one in talking:
        await committer.flush(one)
    took_s.clear()
    observer.counts.clear()
    with redis.Redis.from_url(url) as client:
        store_s, cpu_s, began_s = used_s(client), time.process_time(), time.perf_counter()
        events = 0
        for tick in range(round(seconds / FRAME_S * GROUPS)):
            due_s = began_s + tick * FRAME_S / GROUPS
            if (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)  # the pace
            for one in talking[tick % GROUPS :: GROUPS]:
                one.hear()
                committer.mark(one)
                events += 1
        async with asyncio.timeout(LAST_S):
            while any(one.call.outbox.unsaved or committer.has_pending(one) for one in talking):
                await asyncio.sleep(0.005)
        cpu_s, store_s = time.process_time() - cpu_s, used_s(client) - store_s
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    took_s.sort()
    return Cost(
        calls=calls,
        events=events,
        commits=observer.counts[("store_call", "commit")],
        writes=len(took_s),
        us_per_event=round(cpu_s / events * 1e6, 1),
        store_us_per_event=round(store_s / events * 1e6, 1),
        events_per_core_s=round(events / cpu_s),
        p50_ms=round(took_s[len(took_s) // 2] * 1000, 2),
        p99_ms=round(took_s[len(took_s) * 99 // 100] * 1000, 2),
    )


def named(call: CallRecord, number: int) -> CallRecord:
    """A call of its own."""
    call.call_id = f"call_{number:026d}"
    return call


def used_s(client: redis.Redis) -> float:
    """CPU seconds of the store."""
    cpu = client.info("cpu")
    assert isinstance(cpu, dict)
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


def turn_costs(turns: int) -> dict[str, float]:
    """Bytes and CPU µs of what a typed turn writes, over turns 6 to 15 and over the last ten."""
    call = new_call()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a few words of text"}]}
    seen: list[tuple[int, float]] = []
    for _ in range(turns):
        machine.step(call, inputs.CreateItem(dict(item)), 0)
        began_s = time.process_time_ns()
        write = take_write(call, 0)
        took_us = (time.process_time_ns() - began_s) / 1000
        release(call, write.events)
        seen.append((write.size_bytes + sum(map(len, write.fields.values())), took_us))
    early, late = seen[5:15], seen[-10:]
    size = sum(size for size, _ in late) / sum(size for size, _ in early)
    cpu = sorted(us for _, us in late)[5] / sorted(us for _, us in early)[5]
    return {"bytes_late_by_early": round(size, 3), "cpu_late_by_early": round(cpu, 2)}


def main() -> None:
    """Print a table, or JSON."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--json", action="store_true", help="print JSON")
    arguments.add_argument("--turns", action="store_true", help="only the cost of a turn, early and late in a call")
    arguments.add_argument("--calls", type=int, nargs="*", default=[1, 100, 1000], help="1 100 1000")
    arguments.add_argument("--seconds", type=float, default=SECONDS)
    given = arguments.parse_args()
    costs: list[Cost] = []
    if not given.turns:
        with tempfile.TemporaryDirectory(prefix="va-bench-") as directory:
            options = ("--appendonly", "yes", "--appendfsync", "everysec")
            server = RedisServer(str(server_binary()), Path(directory), free_port(), options=options)
            server.start()
            try:
                costs = [uvloop.run(measure(server.unix_url, calls, given.seconds)) for calls in given.calls]
            finally:
                server.stop()
    turns = turn_costs(TURNS)
    if given.json:
        print(json.dumps({"commits": [asdict(cost) for cost in costs], "turns": turns}, indent=2))
        return
    for cost in costs:
        print(
            f"{cost.calls:>5} calls: {cost.us_per_event} µs of CPU an event ({cost.events_per_core_s} a second and "
            f"core), store {cost.store_us_per_event} µs, {cost.events / max(1, cost.commits):.1f} events a commit, "
            f"durable after {cost.p50_ms} ms (p50), {cost.p99_ms} ms (p99)"
        )
    print(
        f"a turn's write, turn {TURNS} by turn 10: bytes {turns['bytes_late_by_early']} ×, CPU "
        f"{turns['cpu_late_by_early']} ×"
    )


if __name__ == "__main__":
    main()
