"""What a call costs the store: bytes, writes and CPU while it is idle and while somebody talks; memory then and later.

Run: ``python -m tests.stores.bench_call`` (two and a half minutes), with ``--json`` for scripts. A pod with many calls
on a real Valkey that appends every write to its file. Idle and talking are measured in real time, memory with calls
that are talked through faster: by then a call has said and heard three minutes, so its outbox is as large as it gets.
How much of that is left where somebody acknowledges is measured with processes, in real time: two pods, an edge before
them, callers who talk in turns with `echo`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import redis.asyncio
import uvloop
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.edges import edge
from tests.e2e.pods import pods
from tests.runtime.rig import ANSWER, Caller, Rig, ScriptedAgent, rig
from tests.servers import RedisServer, free_port
from voice_agent.agents.echo import Echo
from voice_agent.client.connection import RealtimeCall
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.embedded import server_binary
from voice_agent.stores.redis import RedisStore

FRAME_S = 0.02
GROUPS = 10
"""Callers say their frames at so many moments of each 20 ms."""
SECOND_BYTES = 48_000
MANUAL = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
COMMIT = {"type": "input_audio_buffer.commit"}
TURNS, TURN_S = 12, 15
"""Three minutes."""
AT_ONCE = 20
HEARD_S, FILLS_S = 5, 60
"""A turn, and its answer; and how long an outbox takes to be full, when half of the time is the agent's."""
EDGE_S = 1.0
"""Between the begin of something and of its measurement."""


def said(seconds: float) -> str:
    """A message with so much of the caller's audio."""
    audio = base64.b64encode(bytes(round(SECOND_BYTES * seconds))).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


@dataclass(frozen=True)
class Rates:
    """What one call takes of the store in a second."""

    sent_bytes: float
    """From the pod to the store: commands and what belongs to them."""
    file_bytes: float
    """Added to the append-only file; replicas get the same."""
    writes: float
    """Scripts that were run for it; many calls' go in one round trip."""
    cpu_us: float

    def without(self, other: Rates) -> Rates:
        """What is left when `other` is taken away; noise may not go below nothing."""
        left = {name: round(max(0.0, value - getattr(other, name)), 2) for name, value in asdict(self).items()}
        return Rates(**left)


@dataclass(frozen=True)
class Memory:
    """Bytes that one call takes in the store, keys and all."""

    new: int
    talking: int
    """The largest found, of many."""
    ended: int


@dataclass(frozen=True)
class Held:
    """Bytes that a talking call has in the store, on average over calls and time."""

    outbox: int
    in_all: int


class Watched:
    """The store's own figures."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def _now(self) -> tuple[float, ...]:
        info: Any = await self._client.info("everything")
        scripts = info.get("cmdstat_evalsha", {}).get("calls", 0)
        cpu_s = info["used_cpu_user"] + info["used_cpu_sys"]
        return info["total_net_input_bytes"], info["aof_current_size"], scripts, cpu_s * 1e6, time.perf_counter()

    async def during(self, act: Callable[[], Awaitable[None]], calls: int) -> Rates:
        """What each of the calls takes a second while something is done."""
        before = await self._now()
        await act()
        spent = [after - earlier for after, earlier in zip(await self._now(), before, strict=True)]
        return Rates(*(round(one / spent[-1] / calls, 2) for one in spent[:-1]))

    async def call_bytes(self, call_id: str) -> int:
        """Memory of a call."""
        return sum([await self._key_bytes(call_id, part) for part in ("", ":items", ":out", ":in")])

    async def outbox_bytes(self, call_id: str) -> int:
        """Memory of what is kept of a call's events."""
        return await self._key_bytes(call_id, ":out")

    async def _key_bytes(self, call_id: str, part: str) -> int:
        client: Any = self._client
        return int(await client.memory_usage(f"call:{{{call_id}}}{part}", samples=0) or 0)


async def talk(callers: list[Caller], seconds: float) -> None:
    """Every caller says a frame each 20 ms."""
    frame, began_s = said(FRAME_S), time.perf_counter()
    for tick in range(round(seconds / FRAME_S * GROUPS)):
        if (early_s := began_s + tick * FRAME_S / GROUPS - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)  # the pace
        for caller in callers[tick % GROUPS :: GROUPS]:
            caller.transport.say(frame)


async def rates(its: Rig, watched: Watched, calls: int, seconds: float) -> dict[str, Rates]:
    """Of a call that is idle, whose caller talks, and whose agent talks."""
    pod = await its.pod(capacity=calls)

    async def wait() -> None:
        await asyncio.sleep(seconds)  # so long is measured

    # What the pod asks for itself, heartbeats above all, is none of the calls'.
    empty = await watched.during(wait, calls)
    callers = [await its.start(pod, model="echo") for _ in range(calls)]
    for caller in callers:
        caller.transport.say(MANUAL)
        await caller.transport.event("session.updated")
    found = {"idle": (await watched.during(wait, calls)).without(empty)}
    await talk(callers, EDGE_S)
    found["caller talks"] = (await watched.during(lambda: talk(callers, seconds), calls)).without(empty)
    for caller in callers:
        caller.transport.say(COMMIT)
        caller.transport.say(ANSWER)
    for caller in callers:
        await caller.transport.event("response.output_audio.delta")
    # The answer is as long as what was said.
    found["agent talks"] = (await watched.during(wait, calls)).without(empty)
    for caller in callers:
        await caller.gone(1000)
    return found


async def memory(its: Rig, watched: Watched, calls: int) -> Memory:
    """Of calls that last three minutes, a few at once."""
    pod = await its.pod("pod-b", capacity=calls)
    # Callers and pod share one event loop here, which is busy all the time.
    pod.admission.second_is_over = lambda **_: None  # type: ignore[method-assign]
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> tuple[int, int, int]:
        async with places:
            return await one_call(its, pod, watched)

    sizes = await asyncio.gather(*(one() for _ in range(calls)))
    return Memory(*(max(column) for column in zip(*sizes, strict=True)))


async def one_call(its: Rig, pod: Pod, watched: Watched) -> tuple[int, int, int]:
    """Bytes when it is new, at most while it lasts, and when it has ended."""
    caller = await its.start(pod)
    transport = caller.transport
    transport.say(MANUAL)
    await transport.event("session.updated")
    new, most = await watched.call_bytes(caller.call_id), 0
    for turn in range(1, TURNS + 1):
        for _ in range(TURN_S):
            transport.say(said(1))
        most = max(most, await watched.call_bytes(caller.call_id))
        transport.say(COMMIT)
        transport.say(ANSWER)
        await transport.event("response.done", turn)
        most = max(most, await watched.call_bytes(caller.call_id))
        transport.events[:] = [event for event in transport.events if event["type"] == "response.done"]
    await caller.gone(1000)
    return new, most, await watched.call_bytes(caller.call_id)


class PlainCall:
    """As `RealtimeCall`, for a client that knows nothing of resuming."""

    def __init__(self, url: str) -> None:
        self.call_id = ""
        self._url = f"{url}?model=echo"
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._socket = await connect(self._url, proxy=None, compression=None)
        self.call_id = orjson.loads(await self._socket.recv())["session"]["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        if self._socket is not None:
            await self._socket.close()

    async def send(self, event: dict[str, Any]) -> None:
        """An event."""
        assert self._socket is not None
        await self._socket.send(orjson.dumps(event), text=True)

    async def append_audio(self, audio: bytes) -> None:
        """Audio."""
        await self.send({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What the server says."""
        assert self._socket is not None
        async for message in self._socket:
            yield orjson.loads(message)


async def talk_in_turns(call: RealtimeCall | PlainCall, its_ids: list[str]) -> None:
    """Say `HEARD_S` and hear as much, again and again."""
    async with call:
        its_ids.append(call.call_id or "")
        await call.send(MANUAL)
        events = call.events()
        while True:
            for _ in range(HEARD_S * 10):
                await call.append_audio(bytes(SECOND_BYTES // 10))
                await asyncio.sleep(0.1)  # the pace
            await call.send(COMMIT)
            await call.send({"type": "response.create"})
            async for event in events:
                if event["type"] == "response.done":
                    break


async def outboxes(url: str, calls: int, watched: Watched) -> dict[str, Held]:
    """Of calls of whose events nobody says that they have come, of the client library, and behind an edge."""
    async with pods(url) as its:
        ports = [(await its.start(color, agent="echo")).port for color in ("blue", "green")]
        async with edge(its.directory, *ports) as front:
            direct = f"ws://127.0.0.1:{ports[0]}/v1/realtime"
            ways: dict[str, Callable[[], RealtimeCall | PlainCall]] = {
                "nobody acknowledges": lambda: PlainCall(direct),
                "the client library": lambda: RealtimeCall(direct, model="echo"),
                "a plain client behind an edge": lambda: PlainCall(front.url),
            }
            ids: dict[str, list[str]] = {way: [] for way in ways}
            talking = [asyncio.create_task(talk_in_turns(ways[way](), ids[way])) for way in ways for _ in range(calls)]
            try:
                await asyncio.sleep(FILLS_S)  # so long an outbox takes to fill
                found: dict[str, list[tuple[int, int]]] = {way: [] for way in ways}
                for _ in range(2 * HEARD_S):
                    for way, one in [(name, call_id) for name in ways for call_id in ids[name]]:
                        found[way].append((await watched.outbox_bytes(one), await watched.call_bytes(one)))
                    await asyncio.sleep(1)  # once a second, over a turn and its answer
            finally:
                for task in talking:
                    task.cancel()
                ended = await asyncio.gather(*talking, return_exceptions=True)
            failed = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
            assert not failed, failed
    return {
        way: Held(*(round(sum(column) / len(column)) for column in zip(*sizes, strict=True)))
        for way, sizes in found.items()
    }


async def measure(
    url: str, calls: int, seconds: float, long_calls: int, held_calls: int
) -> tuple[dict[str, Rates], Memory, dict[str, Held]]:
    """All of it, on one store."""
    store = RedisStore(url, ttl_s=1800)
    await store.open()
    async with (
        redis.asyncio.Redis.from_url(url) as client,
        rig(store, Echo(), ScriptedAgent(chunks=10 * TURN_S)) as its,
    ):
        watched = Watched(client)
        found = await rates(its, watched, calls, seconds), await memory(its, watched, long_calls)
    await store.close()
    async with redis.asyncio.Redis.from_url(url) as client:
        return *found, await outboxes(url, held_calls, Watched(client)) if held_calls else {}


@contextmanager
def appending_server() -> Iterator[RedisServer]:
    """One that is not writing its file anew meanwhile: how the file grows is what is measured."""
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    with tempfile.TemporaryDirectory(prefix="va-bench-", ignore_cleanup_errors=True) as directory:
        server = RedisServer(str(server_binary()), Path(directory), free_port(), options=options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.stores.bench_call", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--calls", type=int, default=100, help="at once, for what is measured by the second (100)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the states (15)")
    parser.add_argument("--long-calls", type=int, default=40, help="of three minutes each, for memory (40)")
    parser.add_argument("--held-calls", type=int, default=10, help="of each kind, for outboxes; 0: none (10)")
    given = parser.parse_args()
    with appending_server() as server:
        seen, kept, held = uvloop.run(
            measure(server.unix_url, given.calls, given.seconds, given.long_calls, given.held_calls)
        )
    if given.json:
        found = {"rates": {k: asdict(v) for k, v in seen.items()}, "held": {k: asdict(v) for k, v in held.items()}}
        print(json.dumps({"calls": given.calls, **found, "memory": asdict(kept)}))
        return
    table = Table("a call, each second", "writes", "bytes sent", "bytes to the file", "CPU µs of the store")
    for name, one in seen.items():
        table.add_row(name, f"{one.writes:g}", f"{one.sent_bytes:,.0f}", f"{one.file_bytes:,.0f}", f"{one.cpu_us:,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"memory of a call: {kept.new:,} bytes new, at most {kept.talking:,} while it lasts, {kept.ended:,} ended"
    )
    table = Table("a call that talks", "bytes of its outbox", "bytes in all")
    for name, each in held.items():
        table.add_row(name, f"{each.outbox:,}", f"{each.in_all:,}")
    console.print(table)


if __name__ == "__main__":
    main()
