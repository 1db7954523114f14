"""One mode: pods, talking callers, hostile callers beside them, and what is seen of all three.

With an edge in front of the pods all callers are the edge's, and it is the edge that is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx
import redis.asyncio as redis

from loadtest.fleet import Fleet
from loadtest.latencies import Latencies
from loadtest.profiles import ProfileRun
from loadtest.resuming import Findings, ResumingCaller
from tests.e2e.edges import EdgeProcess, edge
from tests.e2e.pods import PodProcess, Pods, pods
from tests.hostile.modes import Mode
from tests.hostile.verdict import MIB, Verdict
from tests.hostile.wire import HOST
from tests.servers import RedisServer, redis_server
from voice_agent.runtime.pod.ended import ENDED_BYTES
from voice_agent.runtime.pod.parking import STORED_BYTES

TALKERS_KEY, HOSTILE_KEY = "key-of-those-who-talk", "key-of-those-who-mean-harm"
DESCRIPTORS = 1024
"""Of a pod: what a process has by default on most systems."""
WARM_UP_S = 2.0
LOOK_S = 0.1
ASK_S = 0.25
ANSWER_S = 20.0
"""An answer of `/healthz/live` that takes longer is none."""
RECOVERED_S = 30.0
"""A pod that was overloaded takes calls again within that."""
ENDING_S = 30.0
LONGEST_S = 180.0
"""Beside the seconds of harm: a mode that takes longer hangs, and is told so."""
REST_S = 2.0
"""After the harm is over, before it is asked what is left of it."""
CALLER_BYTES = 256 * MIB
OUTBOX_BYTES = MIB
EDGE_CALLS = 300
"""Each takes two descriptors."""
EDGE_BYTES = 2 * MIB
"""Of a caller in an edge: what it does not read, and what it said that no store has."""
CONNECTS_PER_MINUTE = 600
ATTACHED_BYTES = 64 * MIB
"""Of an attached call in the store: audio, conversation, and the same once more while they are written whole."""

Tell = Callable[[Verdict], None]


@dataclass(frozen=True)
class Plan:
    """How each mode is run."""

    seconds: float = 60.0
    talkers: int = 20
    callers: int = 1
    edge: bool = False
    """Whether an edge stands in front of the pods."""


Watched = PodProcess | EdgeProcess
"""What callers connect to."""


async def run_mode(mode: Mode, plan: Plan, tell: Tell = lambda verdict: None) -> Verdict:
    """Start everything for this mode alone, do harm, and look. A pod that breaks is a verdict, too."""
    outboxes = (plan.talkers + plan.callers) * OUTBOX_BYTES
    stored = STORED_BYTES + ENDED_BYTES + plan.callers * ATTACHED_BYTES + outboxes
    held = (plan.talkers + plan.callers) * EDGE_BYTES if plan.edge else outboxes
    verdict = Verdict(mode.name, plan.callers, plan.seconds, (CALLER_BYTES + held) / MIB, stored / MIB)
    verdict.is_slowed = mode.is_slowed
    try:
        async with asyncio.timeout(plan.seconds + LONGEST_S):
            await _run(mode, plan, verdict, tell)
    except (OSError, TimeoutError, RuntimeError, AssertionError, httpx.HTTPError) as error:
        verdict.fault = f"{type(error).__name__}: {str(error)[-2000:]}"
    return verdict


async def _run(mode: Mode, plan: Plan, verdict: Verdict, tell: Tell) -> None:
    with redis_server() as store:
        async with pods(store.url) as its:
            for number in range(mode.pods):
                await _start(its, f"color{number}")
            if plan.edge:
                async with contextlib.AsyncExitStack() as opened:
                    with _few_descriptors():
                        front = await opened.enter_async_context(_edge(its))
                    await _beside(mode, plan, its, front, store, verdict, tell)
            else:
                await _beside(mode, plan, its, its.running[0], store, verdict, tell)


def _edge(its: Pods) -> contextlib.AbstractAsyncContextManager[EdgeProcess]:
    """In front of all pods."""
    return edge(
        its.directory,
        *(pod.port for pod in its.running),
        trusted_proxies="127.0.0.0/8",
        edge_caller_bytes=CALLER_BYTES,
        edge_connects_per_minute=CONNECTS_PER_MINUTE,
        edge_max_calls=EDGE_CALLS,
        edge_log_level="warning",
    )


async def _beside(
    mode: Mode, plan: Plan, its: Pods, watch: Watched, store: RedisServer, verdict: Verdict, tell: Tell
) -> None:
    """Talk, have harm done, and see what the others notice of it."""
    fleet = Fleet([(HOST, watch.port)], {"Authorization": f"Bearer {TALKERS_KEY}"})
    run = ProfileRun(fleet, lambda _: None, verdict.findings, began_s=perf_counter())
    run.pace.lag = verdict.lag
    run.pace.add(await run.connect(plan.talkers))
    await run.pace.keep(min(WARM_UP_S, plan.seconds))
    verdict.alone, verdict.findings.echo = verdict.findings.echo, Latencies()
    seen = [watch, *its.running] if plan.edge else [watch]
    before = [await each.metrics() for each in seen]
    async with _watched(watch, store, verdict):
        ports = [watch.port] if plan.edge else [pod.port for pod in its.running]
        await _harm(mode, plan, ports, run, verdict, tell)
        await run.pace.keep(min(REST_S, plan.seconds))
    await run.settle()
    verdict.missing, verdict.findings.lost = verdict.findings.lost, 0
    verdict.rss_after_mib = _rss_mib(watch)
    for each, then in zip(seen, before, strict=True):
        verdict.count(then, await each.metrics())
    verdict.serves = await _serves(fleet)


@contextlib.contextmanager
def _few_descriptors() -> Iterator[None]:
    """What is started in the block has as many as `DESCRIPTORS`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _start(its: Pods, color: str) -> PodProcess:
    with _few_descriptors():
        return await its.start(
            color,
            api_keys=f"{TALKERS_KEY},{HOSTILE_KEY}",
            caller_bytes=CALLER_BYTES,
            outbox_bytes=OUTBOX_BYTES,
            speech_workers=1,
            trusted_proxies="127.0.0.0/8",
            connects_per_minute=CONNECTS_PER_MINUTE,
            log_level="warning",
        )


async def _harm(mode: Mode, plan: Plan, ports: Sequence[int], run: ProfileRun, verdict: Verdict, tell: Tell) -> None:
    """Let the hostile callers loose while the others talk, until they have ended."""
    command = [sys.executable, "-m", "tests.hostile.caller", mode.name, "--key", HOSTILE_KEY]
    command += ["--ports", ",".join(map(str, ports)), "--callers", str(plan.callers), "--seconds", str(plan.seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    ending = asyncio.create_task(process.communicate())
    try:
        end_s = perf_counter() + plan.seconds + ENDING_S
        while not ending.done() and perf_counter() < end_s:
            await run.pace.keep(0.5, until=ending.done)
            tell(verdict)
        if not ending.done():
            raise TimeoutError("the hostile callers did not end")
        out, _ = ending.result()
    finally:
        if process.returncode is None:
            process.kill()
        await ending
    told = json.loads(out)
    verdict.got, verdict.examples = told["counts"], told["examples"]


@contextlib.asynccontextmanager
async def _watched(pod: Watched, store: RedisServer, verdict: Verdict) -> AsyncIterator[None]:
    """Look at the memory, and ask whether the pod lives, for the length of a block."""
    verdict.rss_before_mib = verdict.rss_most_mib = _rss_mib(pod)
    async with redis.Redis.from_url(store.url) as client:
        verdict.store_before_mib = verdict.store_most_mib = await _used_mib(client)
        over = asyncio.Event()
        looking = (_look(pod, client, verdict, over), _ask(pod, verdict, over))
        tasks = [asyncio.create_task(look) for look in looking]
        try:
            yield
        finally:
            # Not cancelled: a connection to the store that is left in the middle of a question may never close.
            over.set()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _look(pod: Watched, client: redis.Redis, verdict: Verdict, over: asyncio.Event) -> None:
    looks = 0
    while not over.is_set():
        verdict.rss_most_mib = max(verdict.rss_most_mib, _rss_mib(pod))
        if looks % 10 == 0:
            verdict.store_most_mib = max(verdict.store_most_mib, await _used_mib(client))
        looks += 1
        await asyncio.sleep(LOOK_S)


async def _ask(pod: Watched, verdict: Verdict, over: asyncio.Event) -> None:
    while not over.is_set():
        began_s = perf_counter()
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(HOST, pod.port)
                writer.write(b"GET /healthz/live HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
            verdict.unanswered += not answer.startswith(b"HTTP/1.1 200")
        except (OSError, TimeoutError):
            verdict.unanswered += 1
        verdict.dead.add(perf_counter() - began_s)
        await asyncio.sleep(ASK_S)


async def _serves(fleet: Fleet) -> bool:
    """Whether a new call is greeted and gets its echo; a pod that was overloaded has some seconds to get over it."""
    end_s = perf_counter() + RECOVERED_S
    while perf_counter() < end_s:
        with contextlib.suppress(OSError, TimeoutError):
            return await _echoes(fleet)
        await asyncio.sleep(ASK_S)
    return False


async def _echoes(fleet: Fleet) -> bool:
    """Raises `OSError`, `TimeoutError`."""
    seen = Findings()
    caller = ResumingCaller(fleet.addresses, fleet.headers, seen)
    try:
        await caller.start()
        caller.say(perf_counter())
        async with asyncio.timeout(ANSWER_S):
            while caller.has_pending:
                await asyncio.sleep(0.01)
    finally:
        caller.hang_up()
    return seen.frames == 1


def _rss_mib(pod: Watched) -> float:
    """Resident memory; 0 of a pod that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pod.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return round(int(line.split()[1]) / 1024, 1)
    return 0.0


async def _used_mib(client: redis.Redis) -> float:
    return round(int((await client.info("memory"))["used_memory"]) / MIB, 1)
