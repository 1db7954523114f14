"""A pod that does what a test says, behind the real server and a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from tests.tls import trusting
from tests.waiting import until
from voice_agent.errors import ConnectionRefused
from voice_agent.observe.metrics import Metrics
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.ports import CallSummary, PodStatus, ResumeCall, StartCall, Transport
from voice_agent.settings import Settings
from voice_agent.stores.base import PodHeartbeat, PodState
from voice_agent.web.application import build_app
from voice_agent.web.handshakes import HandshakeLimits
from voice_agent.web.listening import bind
from voice_agent.web.server import VoiceServer

SECRET = b"a secret for tests"
CALL_ID = "call_" + "a2" * 13
CALL_KEY = "0123456789abcdef0123456789abcdef"


class ScriptedAttachment:
    """Runs the test's `script` on the transport; keeps what the pod would learn."""

    def __init__(self, pod: ScriptedPod) -> None:
        self.call_id = CALL_ID
        self.abandoned = False
        self.over = asyncio.Event()
        self._pod = pod

    async def serve(self, transport: Transport) -> None:
        try:
            await self._pod.script(transport)
        finally:
            self._leave()

    async def abandon(self) -> None:
        self.abandoned = True
        self._leave()

    def _leave(self) -> None:
        self.over.set()
        self._pod.active -= 1
        self._pod.look_whether_drained()


async def echo(transport: Transport) -> None:
    """Send every text back until the caller leaves."""
    while isinstance(message := await transport.receive(), str):
        await transport.send(message.encode())


class ScriptedPod:
    """`web.ports.CallPod` by the test's orders: `refusal` is raised, `script` serves, everything asked is kept."""

    def __init__(self) -> None:
        self.name = "pod-a"
        self.color = "green"
        self.started_at_ms = 0
        self.observer = Metrics(version="1.2", color="green")
        self.active = 0
        self.health = PodState.OK
        self.draining = False
        self.drains_as_requested = False
        self.drained = asyncio.Event()
        self.refusal: Exception | None = None
        self.full: ConnectionRefused | None = None
        self.script: Callable[[Transport], Any] = echo
        self.requests: list[StartCall | ResumeCall] = []
        self.attachments: list[ScriptedAttachment] = []
        self.drains: list[tuple[str, float]] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.heartbeats: list[PodHeartbeat] = []
        self.fleet_error: Exception | None = None
        self.taking_over = ReadyPods(("pod-b",))

    async def start(self, request: StartCall) -> ScriptedAttachment:
        return self._attach(request)

    async def resume(self, request: ResumeCall) -> ScriptedAttachment:
        return self._attach(request)

    def _attach(self, request: StartCall | ResumeCall) -> ScriptedAttachment:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        self.active += 1
        self.attachments.append(ScriptedAttachment(self))
        return self.attachments[-1]

    def status(self) -> PodStatus:
        status = PodState.DRAINING if self.draining else self.health
        return PodStatus(status, self.name, self.color, "1.2", self.active, 1, 10, "memory:ok")

    def calls(self) -> list[CallSummary]:
        return [CallSummary(it.call_id, "echo", "attached", 1, 5, 7, 2, True) for it in self.attachments]

    async def all_calls(self) -> list[CallSummary]:
        return self.calls()

    async def call_record(self, call_id: str) -> dict[str, Any] | None:
        return self.records.get(call_id)

    async def erase(self, call_id: str) -> bool:
        return self.records.pop(call_id, None) is not None

    async def fleet(self) -> list[PodHeartbeat]:
        if self.fleet_error is not None:
            raise self.fleet_error
        return self.heartbeats

    async def ready_pods(self) -> ReadyPods:
        return self.taking_over

    async def begin_drain(self, mode: str, deadline_s: float, *, only: str | None = None) -> bool:
        if only not in {None, self.name}:
            return False
        self.drain(mode, deadline_s)
        return True

    async def end_drain(self, *, only: str | None = None) -> bool | None:
        return self.cancel_drain() if only in {None, self.name} else None

    def drain(self, mode: str, deadline_s: float) -> None:
        self.drains.append((mode, deadline_s))
        self.draining = True
        self.look_whether_drained()

    def look_whether_drained(self) -> None:
        if self.draining and self.active == 0:
            self.drained.set()

    def cancel_drain(self) -> bool:
        was, self.draining = self.draining, False
        self.drained.clear()
        return was

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        return self.full

    async def wait_drained(self) -> None:
        await self.drained.wait()


class Running:
    """A server under test, and clients for it."""

    def __init__(
        self,
        pod: ScriptedPod,
        server: VoiceServer,
        port: int,
        task: asyncio.Task[None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.pod = pod
        self.server = server
        self.port = port
        self.task = task
        self.tls = tls
        """What its clients believe, if it speaks TLS."""
        base = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=base, trust_env=False, verify=tls or True)

    def connect(self, path: str = "/v1/realtime", **options: Any) -> connect:
        """A WebSocket to `path`, to be awaited or entered."""
        if self.tls is not None:
            return connect(f"wss://127.0.0.1:{self.port}{path}", proxy=None, **{"ssl": self.tls} | options)
        return connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, **options)

    async def refused(self, path: str = "/v1/realtime", **options: Any) -> Response:
        """The HTTP answer to a connection that must not be upgraded."""
        try:
            connection: ClientConnection = await self.connect(path, **options)
        except InvalidStatus as error:
            return error.response
        await connection.close()
        raise AssertionError(f"{path} was upgraded")


def free_socket() -> socket.socket:
    """Bound to a free port between 20000 and 32000."""
    while True:
        with contextlib.suppress(Exception):
            return bind("127.0.0.1", random.randint(20_000, 32_000))


@asynccontextmanager
async def running(
    *, limits: HandshakeLimits | None = None, now_s: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A server on a loopback port over a `ScriptedPod`; it is made to exit at the end."""
    pod = ScriptedPod()
    made = Settings(**({"color": "green", "pod": "pod-a"} | settings))
    metrics = Metrics(version=pod.status().version, color=pod.color)
    metrics.registry.watch(pod.status)
    server = VoiceServer(build_app(pod, made, metrics.registry, SECRET), pod, made, limits=limits, now_s=now_s)
    listener = free_socket()
    port: int = listener.getsockname()[1]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    one = Running(pod, server, port, task, trusting(made.tls.certificate) if made.tls else None)
    try:
        yield one
    finally:
        await one.http.aclose()
        server.force_exit = server.should_exit = True
        await task


def refuse(status: int, code: str, *, retry_after_s: int | None = None) -> ConnectionRefused:
    """What a pod raises."""
    return ConnectionRefused(status, code, "No.", retry_after_s=retry_after_s)
