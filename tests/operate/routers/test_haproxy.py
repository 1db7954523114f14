"""The HAProxy router against a real HAProxy on the configuration of `deploy/haproxy`, in front of small pods."""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from tests.waiting import PATIENCE_S
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.haproxy import HaproxyRouter, server_weights
from voice_agent.rehearse.balancer import Balancer
from voice_agent.rehearse.programs import free_ports
from voice_agent.runtime.clock import SystemClock

POD_NAMES = ("blue-1", "blue-2", "green-1", "green-2")


@dataclass
class SmallPod:
    """Says its name to whoever connects, and echoes."""

    name: str
    port: int
    is_healthy: bool = True
    refuses: bool = False
    server: Server | None = None
    seen: list[Request] = field(default_factory=list)

    async def open(self) -> None:
        self.server = await serve(self._talk, "127.0.0.1", self.port, process_request=self._answer)

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()

    async def _talk(self, socket: ServerConnection) -> None:
        await socket.send(self.name)
        async for message in socket:
            await socket.send(f"{self.name}:{message!s}")

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz/realtime":
            return socket.respond(http.HTTPStatus.OK if self.is_healthy else http.HTTPStatus.SERVICE_UNAVAILABLE, "")
        self.seen.append(request)
        if self.refuses:
            return socket.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "draining")
        return None


@dataclass
class RoutedPods:
    """HAProxy and what is behind it."""

    balancer: Balancer
    pods: dict[str, SmallPod]

    @property
    def router(self) -> HaproxyRouter:
        return self.balancer.router

    async def call(
        self, query: str = "", cookie: str = "", color: str = "", path: str = "", headers: dict[str, str] | None = None
    ) -> ClientConnection:
        headers = {key: value for key, value in (("Cookie", cookie), ("X-Voice-Color", color)) if value} | (
            headers or {}
        )
        url = f"{self.balancer.calls}{query}" if not path else f"ws://127.0.0.1:{self.balancer.port}{path}"
        return await connect(url, additional_headers=headers, proxy=None)

    async def reached(self, **how: Any) -> str:
        """The pod that a new call comes to."""
        async with await self.call(**how) as socket:
            return str(await socket.recv())

    async def split(self, calls: int, **how: Any) -> Counter[str]:
        return Counter([(await self.reached(**how)).partition("-")[0] for _ in range(calls)])

    async def cookie(self) -> tuple[str, str]:
        """The pod of a first connect, and the cookie that it came with."""
        async with await self.call() as socket:
            assert socket.response is not None
            return str(await socket.recv()), socket.response.headers["Set-Cookie"].partition(";")[0]


@pytest.fixture
def router(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """HAProxy's variables beside those of a rehearsal; a test's parameter."""
    for name, value in getattr(request, "param", {}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def routed(router: None, tmp_path: Path) -> AsyncIterator[RoutedPods]:
    port, *ports = free_ports(5)
    pods = {name: SmallPod(name, at) for name, at in zip(POD_NAMES, ports, strict=True)}
    balancer = Balancer(tmp_path, port, {pod.name: pod.port for pod in pods.values()}, SystemClock())
    try:
        for pod in pods.values():
            await pod.open()
        await balancer.open()
        async with asyncio.timeout(PATIENCE_S):
            await balancer.until_healthy("blue", 2)
            await balancer.until_healthy("green", 2)
        yield RoutedPods(balancer, pods)
    finally:
        await balancer.close()
        for pod in pods.values():
            await pod.close()


async def test_weights_are_exact(routed: RoutedPods) -> None:
    """First connects and resumes alike, on both kinds of address, once the round under way is over."""
    await routed.router.write(Routing({"blue": 75, "green": 25}))
    for how in ({}, {"query": "?call_key=0123456789abcdef0123456789abcdef"}, {"path": "/realtime/call_a?x=1"}):
        await routed.split(8, **how)
        assert await routed.split(40, **how) == {"blue": 30, "green": 10}


async def test_a_new_configuration_serves_blue(routed: RoutedPods) -> None:
    """With green in the rule at weight 0, which is where a cutover begins."""
    assert await routed.router.read() == Routing({"blue": 100, "green": 0})
    assert await routed.split(10) == {"blue": 10}


async def test_a_cookie_is_honoured_at_weight_0_and_not_once_the_other_color_is_alone(routed: RoutedPods) -> None:
    """The two phases of a shift."""
    first, cookie = await routed.cookie()
    await routed.router.write(Routing.split("green", 100, "blue"))
    assert await routed.split(6) == {"green": 6}
    assert {await routed.reached(cookie=cookie) for _ in range(4)} == {first}
    await routed.router.write(Routing.alone("green"))
    assert await routed.split(6, cookie=cookie) == {"green": 6}


async def test_resumes_follow_the_weights_whatever_their_cookie(routed: RoutedPods) -> None:
    """What they need is in the store."""
    _, cookie = await routed.cookie()
    await routed.router.write(Routing.split("green", 100, "blue"))
    for how in (
        {"query": "?call_id=call_a&last_event_id=evt_1"},
        {"query": "?call_key=k"},
        {"path": "/realtime/call_a"},
    ):
        assert await routed.split(4, cookie=cookie, **how) == {"green": 4}
    async with await routed.call(query="?call_key=k") as socket:
        assert socket.response is not None
        assert "Set-Cookie" not in socket.response.headers


async def test_open_calls_never_move(routed: RoutedPods) -> None:
    """Neither by weights, nor by maintenance, nor when their pod's health check fails."""
    async with await routed.call() as socket:
        pod = str(await socket.recv())
        await routed.router.write(Routing.split("green", 100, "blue"))
        await routed.router.write(Routing.alone("green"))
        for one in routed.pods.values():
            one.is_healthy = one.name.startswith("green")
        async with asyncio.timeout(PATIENCE_S):
            await routed.balancer.until_healthy("blue", 0)
        await socket.send("still there?")
        assert await socket.recv() == f"{pod}:still there?"


async def test_the_smoke_header_reaches_a_color_at_any_weight(routed: RoutedPods) -> None:
    """Weight 0, and not even in the rule; never another color than the one that was named."""
    assert await routed.split(4, color="green") == {"green": 4}
    await routed.router.write(Routing.alone("blue"))
    assert await routed.split(4, color="green") == {"green": 4}
    with pytest.raises(InvalidStatus, match="503"):
        await routed.call(color="purple")


KEY = "8f0c3a51d2e94b7f8f0c3a51d2e94b7f"
ELSEWHERE = "192.0.2.0/24"
"""Where nobody connects from here."""


@pytest.mark.parametrize("forwarded", [{"X-Forwarded-For": "203.0.113.7"}, {"Forwarded": "for=203.0.113.7"}])
async def test_a_caller_through_another_proxy_does_not_choose_a_color(
    routed: RoutedPods, forwarded: dict[str, str]
) -> None:
    """What ends TLS on this machine makes callers no insiders: they follow the weights."""
    for color in ("green", "purple"):
        assert await routed.split(4, color=color, headers=forwarded) == {"blue": 4}


@pytest.mark.parametrize("router", [{"ROUTER_COLOR_FROM": ELSEWHERE, "ROUTER_COLOR_KEY": KEY}], indirect=True)
async def test_a_caller_from_outside_chooses_a_color_by_the_key(routed: RoutedPods) -> None:
    """Any other value means nothing, and is told to no pod; nor is the key."""
    assert await routed.split(4, color=f"green:{KEY}") == {"green": 4}
    for wrong in (
        "green",
        "green:",
        f"green:{KEY[:-1]}",
        f"green:{KEY}x",
        f"blue,green:{KEY[1:]}",
        KEY,
        f"purple:{KEY}",
    ):
        assert await routed.split(2, color=wrong) == {"blue": 2}
    seen = {(pod.name[:-2], it.headers.get("X-Voice-Color")) for pod in routed.pods.values() for it in pod.seen}
    assert seen == {("green", "green"), ("blue", None)}


@pytest.mark.parametrize(
    "router",
    [{"ROUTER_COLOR_FROM": ELSEWHERE}, {"ROUTER_COLOR_FROM": ELSEWHERE, "ROUTER_COLOR_KEY": "short"}],
    indirect=True,
)
async def test_without_a_key_that_cannot_be_guessed_nobody_outside_chooses_a_color(routed: RoutedPods) -> None:
    """None, and one of a few letters."""
    for guess in ("green", "green:", "green:short"):
        assert await routed.split(2, color=guess) == {"blue": 2}


async def test_a_pod_that_fails_is_somebody_elses_work(routed: RoutedPods) -> None:
    """At once: a refused connection and a 503 of a pod that has just begun to drain lead to another pod."""
    first, cookie = await routed.cookie()
    routed.pods[first].refuses = True
    assert {await routed.reached(cookie=cookie) for _ in range(3)} == {"blue-1", "blue-2"} - {first}
    await routed.pods["blue-1"].close()
    routed.pods["blue-2"].refuses = False
    assert {await routed.reached() for _ in range(4)} == {"blue-2"}


async def test_read_says_what_write_set(routed: RoutedPods) -> None:
    """Percents, colors at 0 and colors left out."""
    for weights in ({"blue": 95, "green": 5}, {"blue": 0, "green": 100}, {"green": 100}, {"blue": 100}):
        routing = Routing(weights)
        await routed.router.write(routing)
        assert await routed.router.read() == routing
        assert not await routed.router.changes(routing)


async def test_a_change_that_stopped_half_way_is_seen_and_finished(routed: RoutedPods) -> None:
    """`differing` names the backend that says something else, and writing again mends it."""
    await routed.router.write(Routing.split("green", 25, "blue"))
    await routed.router._tell("set server voice_resume/blue-1 weight 9")
    assert (await routed.router.read()).differing == ("voice_resume",)
    assert await routed.router.changes(Routing.split("green", 25, "blue")) == [
        "set server voice_resume/blue-1 weight 3",
    ]
    await routed.router.write(Routing.split("green", 25, "blue"))
    assert not (await routed.router.read()).differing


async def test_there_is_always_somebody_to_take_a_call(routed: RoutedPods) -> None:
    """While weights go to and fro, not one connect fails."""
    done = asyncio.Event()

    async def turn() -> None:
        for routing in [Routing.split("green", 100, "blue"), Routing.alone("green"), Routing.alone("blue")] * 5:
            await routed.router.write(routing)
        done.set()

    turning = asyncio.create_task(turn())
    while not done.is_set():
        assert await routed.reached()
    await turning


async def test_health_is_counted_by_color(routed: RoutedPods) -> None:
    """As the router's own checks see it."""
    assert await routed.router.healthy_targets("green") == 2
    routed.pods["green-2"].is_healthy = False
    async with asyncio.timeout(PATIENCE_S):
        await routed.balancer.until_healthy("green", 1)


async def test_a_spared_pod_gets_nobody_new(routed: RoutedPods) -> None:
    """Until weights are written the next time."""
    await routed.balancer.spare("blue-2")
    assert {await routed.reached() for _ in range(4)} == {"blue-1"}
    assert await routed.router.read() == Routing({"blue": 100, "green": 0})
    await routed.router.write(Routing({"blue": 100, "green": 0}))
    assert {await routed.reached() for _ in range(4)} == {"blue-1", "blue-2"}


async def test_retiring_keeps_the_last_color(routed: RoutedPods) -> None:
    """The one that serves cannot be retired; the other one's own backend stays for the next smoke call."""
    with pytest.raises(RouterError, match="blue is the only color"):
        await routed.router.retire("blue")
    await routed.router.write(Routing.alone("green"))
    assert (await routed.router.retire("blue"))[-1].startswith("blue gets no calls")
    assert await routed.split(2, color="blue") == {"blue": 2}


async def test_admin_and_metrics_stay_inside(routed: RoutedPods) -> None:
    """However the path is written."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{routed.balancer.port}") as client:
        for path in ("/admin/calls", "/metrics", "/%61dmin/drain", "/admin"):
            assert (await client.get(path)).status_code == 404
    assert not any(pod.seen for pod in routed.pods.values())


async def test_what_a_client_says_of_its_address_is_not_passed_on(routed: RoutedPods) -> None:
    """Pods learn the address that HAProxy saw."""
    async with connect(routed.balancer.calls, additional_headers={"X-Forwarded-For": "10.1.1.1"}, proxy=None):
        pass
    (request,) = [request for pod in routed.pods.values() for request in pod.seen]
    assert request.headers.get_all("X-Forwarded-For") == ["127.0.0.1"]


EDGES = "203.0.113.0/24 127.0.0.1 198.51.100.7"


@pytest.mark.parametrize("router", [{"ROUTER_EDGES": EDGES, "ROUTER_COLOR_KEY": KEY}], indirect=True)
async def test_an_edge_is_believed_in_where_its_caller_connects_from(routed: RoutedPods) -> None:
    """Beside its own address; a color, however, it is given by the key alone, as its callers are."""
    async with await routed.call(headers={"X-Forwarded-For": "192.0.2.9"}):
        pass
    (request,) = [request for pod in routed.pods.values() for request in pod.seen]
    assert request.headers.get_all("X-Forwarded-For") == ["192.0.2.9", "127.0.0.1"]
    assert await routed.split(2, color="green") == {"blue": 2}
    assert await routed.split(2, color=f"green:{KEY}") == {"green": 2}


async def test_its_faults_are_told_in_words(routed: RoutedPods, tmp_path: Path) -> None:
    """A color without servers, a backend that is not there, nobody at the socket."""
    with pytest.raises(RouterError, match="no server of purple"):
        await routed.router.write(Routing.alone("purple"))
    with pytest.raises(RouterError, match="no backend voice_purple"):
        await routed.router.healthy_targets("purple")
    with pytest.raises(RouterError, match="cannot be reached") as caught:
        await HaproxyRouter(str(tmp_path / "nobody.sock")).read()
    assert caught.value.retryable
    with pytest.raises(RouterError, match="neither a socket's path nor host:port"):
        await HaproxyRouter("host:http").read()
    with contextlib.suppress(RouterError):
        for server in POD_NAMES:
            await routed.router._tell(f"set server voice_first/{server} weight 0")
    with pytest.raises(RouterError, match="no server of voice_first gets new calls"):
        await routed.router.read()


async def test_a_silent_socket_is_an_error() -> None:
    """Over TCP, and without an answer: it may pass."""
    (port,) = free_ports(1)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        with pytest.raises(RouterError, match="no backend voice_first"):
            await HaproxyRouter(f"127.0.0.1:{port}").read()


@pytest.mark.parametrize(
    ("percents", "counts", "weights"),
    [
        ({"blue": 75, "green": 25}, {"blue": 2, "green": 2}, {"blue": 3, "green": 1}),
        ({"blue": 0, "green": 100}, {"blue": 2, "green": 2}, {"blue": 0, "green": 1}),
        ({"green": 100}, {"green": 3}, {"green": 1}),
        ({"blue": 50, "green": 50}, {"blue": 2, "green": 3}, {"blue": 3, "green": 2}),
        ({"blue": 95, "green": 5}, {"blue": 2, "green": 6}, {"blue": 57, "green": 1}),
        ({"blue": 99, "green": 1}, {"blue": 1, "green": 7}, {"blue": 256, "green": 1}),
    ],
)
def test_percents_hold_however_many_servers_a_color_has(
    percents: dict[str, int], counts: dict[str, int], weights: dict[str, int]
) -> None:
    """Exactly where HAProxy's 0 to 256 allow it; a color that gets something is never rounded to nothing."""
    assert server_weights(percents, counts) == weights
