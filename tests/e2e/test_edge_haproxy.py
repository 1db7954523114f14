"""Callers who know nothing of resuming, as `deploy/haproxy` says: HAProxy, two edges, HAProxy, two pods."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers

from tests.e2e.edges import EdgeProcess, edge
from tests.e2e.pods import PodProcess, Pods, pods
from tests.e2e.test_edge import PlainCall
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from voice_agent.operate.ports import Routing
from voice_agent.operate.smoke import SmokeOptions, smoke_call
from voice_agent.rehearse.balancer import Balancer
from voice_agent.rehearse.programs import Program, find_haproxy
from voice_agent.runtime.clock import SystemClock

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "edges.cfg"
KEY = "8f0c3a51d2e94b7f8f0c3a51d2e94b7f"
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
AT_ONCE_S = 15
"""Half of the time for which HAProxy waits for an answer."""
SIZES = (960, 1200, 1442, 1922)


@dataclass
class Fleet:
    """All of it."""

    url: str
    """Of the first HAProxy."""
    edges: list[EdgeProcess]
    balancer: Balancer
    """The second one."""
    pods: dict[str, PodProcess]
    its: Pods

    async def count(self, sample: str) -> float:
        """A sample of the edges' metrics, of all of them."""
        return sum([await sample_of(one, sample) for one in self.edges])

    async def first(self, cookie: str = "") -> Headers:
        """What a first connect is answered."""
        headers = {"Cookie": cookie} if cookie else {}
        async with connect(f"{self.url}?model=echo", additional_headers=headers, proxy=None) as socket:
            assert socket.response is not None
            return socket.response.headers


async def sample_of(one: EdgeProcess, sample: str) -> float:
    """A sample of an edge's metrics; the sum of those that begin so."""
    lines = (await one.get("/metrics")).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


@contextlib.asynccontextmanager
async def front(directory: Path, *edges: int) -> AsyncIterator[int]:
    """HAProxy in front of two edges, by their ports; its own."""
    port = free_port()
    known = {"EDGES_BIND": f"127.0.0.1:{port}"}
    known |= {f"EDGE_{number}": f"127.0.0.1:{one}" for number, one in enumerate(edges, 1)}
    command = [str(find_haproxy()), "-db", "-f", str(CONFIGURATION)]
    program = await Program.start(command, directory / "edges.log", {**os.environ, **known})

    async def leads_to_an_edge() -> bool:
        assert program.runs, program.last_words()
        async with httpx.AsyncClient(trust_env=False) as client:
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(f"http://127.0.0.1:{port}/healthz/realtime")).status_code == 200
        return False

    try:
        await until(leads_to_an_edge)
        yield port
    finally:
        await program.stop()


@contextlib.asynccontextmanager
async def fleet(store_url: str, *names: str) -> AsyncIterator[Fleet]:
    """Pods of these names, such as ``blue-1``, with all that stands in front of them."""
    async with contextlib.AsyncExitStack() as stack:
        its = await stack.enter_async_context(pods(store_url))
        started = {name: await its.start(name.partition("-")[0], agent="echo") for name in names}
        ports = {f"{color}-{number}": free_port() for color in ("blue", "green") for number in (1, 2)}
        ports |= {name: pod.port for name, pod in started.items()}
        balancer = Balancer(its.directory, free_port(), ports, SystemClock())
        stack.push_async_callback(balancer.close)
        await balancer.open()
        for color in {name.partition("-")[0] for name in names}:
            await balancer.until_healthy(color, sum(name.startswith(color) for name in names))
        edges = []
        for number in ("1", "2"):
            directory = its.directory / f"edge-{number}"
            directory.mkdir()
            edges.append(await stack.enter_async_context(edge(directory, balancer.port)))
        port = await stack.enter_async_context(front(its.directory, *(one.port for one in edges)))
        yield Fleet(f"ws://127.0.0.1:{port}/v1/realtime", edges, balancer, started, its)


@pytest.mark.parametrize("how", ["kill", "drain"])
async def test_callers_notice_nothing_of_a_pod_that_goes(redis_url: str, how: str) -> None:
    """Killed, or drained: they are on both edges, and their calls go where the weights say."""
    async with fleet(redis_url, "blue-1", "blue-2") as all_of_it:
        calls = [PlainCall(all_of_it.url, size) for size in SIZES]
        talking = asyncio.gather(*(call.run() for call in calls))
        await until(lambda: all(call.turns for call in calls) or talking.done())
        # Which of four that connect at once comes to which is HAProxy's affair.
        assert all([await sample_of(one, "voice_edge_calls ") >= 1 for one in all_of_it.edges])
        gone = all_of_it.pods["blue-1"]
        if how == "kill":
            gone.kill()
        else:
            gone.terminate()
        await talking
        assert await all_of_it.count("voice_edge_gap_seconds_count") == 2
        assert [await one.lost() for one in all_of_it.edges] == [0, 0]


async def test_a_cutover_moves_calls_behind_edges(redis_url: str) -> None:
    """By the same weights as without: green alone, blue drained, and nobody waits for a caller to hang up."""
    async with fleet(redis_url, "blue-1", "green-1") as all_of_it:
        calls = [PlainCall(all_of_it.url, size) for size in SIZES]
        talking = asyncio.gather(*(call.run() for call in calls))
        await until(lambda: all(call.turns for call in calls) or talking.done())
        await all_of_it.balancer.router.write(Routing.alone("green"))
        await all_of_it.its.route(green=100)
        all_of_it.pods["blue-1"].terminate()
        assert await all_of_it.pods["blue-1"].exit_status() == 0
        await talking
        assert await all_of_it.count("voice_edge_gap_seconds_count") == len(calls)
        assert [await one.lost() for one in all_of_it.edges] == [0, 0]


async def test_a_first_connect_is_sticky_through_an_edge(redis_url: str) -> None:
    """The cookie is the caller's: an edge hands it on in both directions, so a page that reloads stays on its color."""
    async with fleet(redis_url, "blue-1", "green-1") as all_of_it:
        headers = await all_of_it.first()
        assert headers["X-Voice-Color"] == "blue"
        cookie = headers["Set-Cookie"].partition(";")[0]
        await all_of_it.balancer.router.write(Routing({"blue": 0, "green": 100}))
        assert (await all_of_it.first())["X-Voice-Color"] == "green"
        assert (await all_of_it.first(cookie))["X-Voice-Color"] == "blue"


async def test_a_smoke_call_reaches_the_color_that_it_names(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the key, through edges, at weight 0, also where it resumes; by the name alone it would not."""
    monkeypatch.setenv("ROUTER_COLOR_KEY", KEY)
    monkeypatch.setenv("ROUTER_EDGES", "127.0.0.1")
    async with fleet(redis_url, "blue-1", "green-1") as all_of_it:
        asked = SmokeOptions(
            url=all_of_it.url, color="green", model="echo", expect="", color_key=KEY, first_audio_s=20.0
        )
        report = await smoke_call(asked, SystemClock())
        assert (report.ok, report.color, report.resumes) == (True, "green", 1), report.reason
        report = await smoke_call(replace(asked, color_key=None), SystemClock())
        assert (report.ok, report.color) == (False, "blue")


async def test_an_edge_is_replaced_while_its_callers_end_their_calls(redis_url: str) -> None:
    """It takes nobody new, of which new callers notice nothing, and leaves with the last that it holds."""
    async with fleet(redis_url, "blue-1") as all_of_it:
        calls = [PlainCall(all_of_it.url, size) for size in SIZES]
        talking = asyncio.gather(*(call.run() for call in calls))
        await until(lambda: all(call.turns for call in calls) or talking.done())
        old, kept = all_of_it.edges
        assert "voice_edge_calls 2.0" in await old.get("/metrics")
        old.process.terminate()
        await until(lambda: _drains(old))
        for _ in SIZES:
            assert (await all_of_it.first())["X-Voice-Color"] == "blue"
        assert await old.lost() == 0
        await talking
        assert await asyncio.to_thread(old.process.wait) == 0
        assert await kept.lost() == 0


async def _drains(one: EdgeProcess) -> bool:
    return "voice_edge_draining 1.0" in await one.get("/metrics")


@pytest.mark.parametrize("which", ["pods", "edges"])
async def test_who_is_late_learns_that_nobody_waits_any_more(tmp_path: Path, which: str) -> None:
    """HAProxy by itself waits for the answer, and a pod would take the call from where it goes on meanwhile."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"healthz" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        else:
            asked.set()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            gone.set()
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(late, "127.0.0.1", 0))
        behind = server.sockets[0].getsockname()[1]
        if which == "pods":
            balancer = Balancer(tmp_path, free_port(), dict.fromkeys(("blue-1", "blue-2"), behind), SystemClock())
            await balancer.open()
            stack.push_async_callback(balancer.close)
            port = balancer.port
        else:
            port = await stack.enter_async_context(front(tmp_path, behind, behind))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        writer.close()
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)
