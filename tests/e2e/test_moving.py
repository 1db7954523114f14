"""Calls that are moved as an operator says, with the real commands on real pods and a real edge.

Tests of `cli.moving` and `cli.progress`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.edges import edge
from tests.e2e.pods import PodProcess, Pods, pods
from tests.e2e.test_operations import voice_agent
from tests.operate.test_plan import PROGRESS
from tests.servers import free_port
from tests.waiting import until
from voice_agent.operate.journal import RECORD
from voice_agent.operate.plan import as_json
from voice_agent.stores.base import Store
from voice_agent.stores.factory import open_store


class TalkingCaller:
    """Knows nothing of resuming, and speaks without a pause until it hangs up."""

    def __init__(self, url: str) -> None:
        self.events: list[int] = []
        self.call_id = ""
        self._url = f"{url}?model=echo"
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with connect(self._url, proxy=None, compression=None, ping_interval=None) as socket:
            speaking = asyncio.create_task(self._speak(socket))
            try:
                async for message in socket:
                    event = orjson.loads(message)
                    if event["type"] == "session.created":
                        self.call_id = event["session"]["id"]
                    self.events.append(int(event["event_id"].removeprefix("evt_")))
            finally:
                speaking.cancel()

    async def _speak(self, socket: ClientConnection) -> None:
        frame = orjson.dumps({"type": "input_audio_buffer.append", "audio": "f39/f39/" * 160}).decode()
        while True:
            await socket.send(frame)
            await asyncio.sleep(0.02)  # a caller speaks at this pace

    def is_whole(self) -> bool:
        """Whether it is on the line, and heard every event once."""
        return not self._task.done() and self.events == list(range(len(self.events)))

    async def hang_up(self) -> None:
        """Leave."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await self._task


@contextlib.asynccontextmanager
async def talking(url: str, number: int) -> AsyncIterator[list[TalkingCaller]]:
    """Callers who speak for the length of a block."""
    callers = [TalkingCaller(url) for _ in range(number)]
    try:
        await until(lambda: all(caller.call_id for caller in callers))
        yield callers
    finally:
        for caller in callers:
            await caller.hang_up()


async def start(its: Pods, **settings: object) -> PodProcess:
    """A pod that tells where it is reached."""
    port = free_port()
    return await its.start("blue", port=port, advertise_address=f"127.0.0.1:{port}", agent="echo", **settings)


async def test_a_pod_is_evacuated_before_its_node_goes(redis_url: str) -> None:
    """Whoever speaks through an edge is moved in mid-word; who cannot resume stays, and the command says so."""
    store = {"VOICE_STORE_URL": redis_url}
    async with pods(redis_url) as its:
        leaving, staying = await start(its, node="node-a"), await start(its, node="node-b")
        async with (
            edge(its.directory, leaving.port, staying.port) as front,
            talking(front.url, 4) as callers,
            talking(leaving.url, 1) as plain,
        ):
            status, told = await voice_agent("evacuate", "node-x", **store)
            assert status == 1
            assert "there is no pod and no node node-x" in told
            status, told = await voice_agent("evacuate", "node-a", "node-b", **store)
            assert status == 2
            assert "there is no other pod" in told
            status, told = await voice_agent("evacuate", "node-a", "--deadline", "4", **store)
            assert status == 1
            assert (told["active_calls"], told["calls_not_resumable"], told["evacuated"]) == (1, 1, False)
            assert all(caller.is_whole() for caller in [*callers, *plain])
            assert (await staying.health())["active_calls"] == 4
            assert (await leaving.health())["status"] == "draining"
            await plain[0].hang_up()
            status, told = await voice_agent("evacuate", "blue-0", **store)
            assert (status, told["evacuated"], told["pods"]) == (0, True, ["blue-0"])
            status, told = await voice_agent("evacuate", "blue-0", "--cancel", **store)
            assert (status, told) == (0, {"pods": ["blue-0"], "cancelled": ["blue-0"]})
            await leaving.until_health(status="ok")


async def test_who_cannot_resume_is_closed_at_the_deadline_only_by_force(redis_url: str) -> None:
    """And is counted as lost."""
    store = {"VOICE_STORE_URL": redis_url}
    async with pods(redis_url) as its:
        leaving = await start(its)
        await start(its)
        async with talking(leaving.url, 1):
            status, told = await voice_agent("evacuate", "blue-0", "--deadline", "1", "--force", **store)
        assert (status, told["evacuated"]) == (0, True)
        assert (await leaving.metrics())['voice_calls_dropped_total{cause="drain"}'] == 1


async def test_calls_go_to_the_very_pod_that_is_named(redis_url: str) -> None:
    """Exactly as many as were asked for, past the load balancer; a fleet that is even is left alone."""
    store = {"VOICE_STORE_URL": redis_url}
    async with pods(redis_url) as its:
        full = await start(its)
        empty = await start(its)
        # The edge knows one of them, as it knows a load balancer.
        async with edge(its.directory, full.port) as front, talking(front.url, 10) as callers:
            await fleet_says(redis_url, {"blue-0": 10, "blue-1": 0})
            status, told = await voice_agent("rebalance", "--from", "blue-0", "--count", "2", "--dry-run", **store)
            assert (status, told["moves"]) == (0, [{"source": "blue-0", "target": "blue-1", "calls": 2}])
            status, told = await voice_agent("rebalance", "--from", "blue-0", "--to", "blue-1", "--count", "2", **store)
            assert (status, told["moved"]) == (0, 2)
            assert [(await pod.health())["active_calls"] for pod in (full, empty)] == [8, 2]
            await fleet_says(redis_url, {"blue-0": 8, "blue-1": 2})
            status, told = await voice_agent("rebalance", **store)
            assert (status, told["planned"], told["moved"]) == (0, 3, 3)
            await fleet_says(redis_url, {"blue-0": 5, "blue-1": 5})
            status, told = await voice_agent("rebalance", **store)
            assert (status, told["moves"], told["remarks"]) == (0, [], ["nothing to move"])
            async with opened(redis_url) as its_store:
                unfinished = orjson.dumps(as_json(PROGRESS))
                await its_store.compare_and_set(RECORD, None, unfinished, ttl_s=60)
                status, told = await voice_agent("rebalance", "--pack", **store)
                assert status == 1
                assert "a cutover to green is unfinished" in told
                await its_store.compare_and_set(RECORD, unfinished, None, ttl_s=60)
            status, told = await voice_agent("rebalance", "--pack", **store)
            assert (status, told["emptied"], told["evacuated"]) == (0, ["blue-0"], True)
            assert (await empty.health())["active_calls"] == 10
            assert all(caller.is_whole() for caller in callers)


@contextlib.asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[Store]:
    """The store of the pods."""
    store = open_store(redis_url, ttl_s=60)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def fleet_says(redis_url: str, calls: dict[str, int]) -> None:
    """Wait until the heartbeats tell what is so already."""
    async with opened(redis_url) as store:

        async def do_they() -> bool:
            return {pod.name: pod.active_calls for pod in await store.pods()} == calls

        await until(do_they)
