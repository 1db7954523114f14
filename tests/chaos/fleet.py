"""Two pods of each color, each with proxies of its own to every server of the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import forked
from tests.chaos.proxy import Proxy, Weather
from tests.replicated import SentinelSet
from tests.servers import free_port
from voice_agent.client.refusals import Unreachable
from voice_agent.client.sockets import Socket, open_socket

COLORS = ("blue", "green")
PODS_PER_COLOR = 2
LOOK_S = 0.25
WELL_FOR_S = 2.5
READY_S = 60.0
DRAIN_DEADLINE_S = 20
SECRET = "s" * 32


@dataclass
class Pod:
    """One place in the fleet: a process comes after the other, under one name and one port."""

    name: str
    color: str
    port: int
    log: Path
    store_url: str = ""
    proxies: list[Proxy] = field(default_factory=list)
    process: forked.ForkedProcess | subprocess.Popen[bytes] | None = None
    health: dict[str, Any] = field(default_factory=dict)
    busy: bool = False
    """A fault is being done to it, or it has not got over the last one."""
    starts: int = 0
    command: tuple[str, ...] = ()
    """What serves, if it is not this release."""
    environment: dict[str, str] = field(default_factory=dict)
    """More than what every pod has."""

    @property
    def http(self) -> str:
        """Base of its HTTP endpoints."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def takes_calls(self) -> bool:
        """What a load balancer thinks."""
        return self.health.get("status") in ("ok", "degraded")

    @property
    def calls(self) -> int:
        """Whom it served when it was last looked at."""
        return int(self.health.get("active_calls", 0))

    @property
    def is_well(self) -> bool:
        """Nothing is wrong with it, nor with its way to the store."""
        return not self.busy and self.health.get("status") == "ok"

    def become(self, weather: Weather) -> None:
        """Change the weather between it and the store."""
        for proxy in self.proxies:
            proxy.become(weather)

    def signal(self, number: signal.Signals) -> None:
        """Tell the process, if there is one."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Fleet:
    """Starts pods and keeps them running; also what a load balancer knows of them."""

    def __init__(self, directory: Path, store: SentinelSet, chance: random.Random) -> None:
        self._directory = directory
        self._store = store
        self._chance = chance
        self.pods: list[Pod] = []
        self.routed = frozenset(COLORS)
        """Where the load balancer sends callers."""
        self.http = httpx.AsyncClient(timeout=2)
        self._looking: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start every pod."""
        for color in COLORS:
            for number in range(PODS_PER_COLOR):
                name = f"{color}-{number}"
                self.pods.append(Pod(name, color, free_port(), self._directory / f"{name}.log"))
        for pod in self.pods:
            await self._connect(pod)
        self._looking = [asyncio.create_task(self._look(pod)) for pod in self.pods]
        await asyncio.gather(*(self.start(pod) for pod in self.pods))

    async def _connect(self, pod: Pod) -> None:
        servers = [Proxy(free_port(), server.port) for server in self._store.servers]
        renamed = {server.port: proxy.port for server, proxy in zip(self._store.servers, servers, strict=True)}
        sentinels = [Proxy(free_port(), port, renamed_ports=renamed) for port in self._store.sentinel_ports]
        pod.proxies = [*servers, *sentinels]
        for proxy in pod.proxies:
            await proxy.open()
        pod.store_url = self._store.url_through([proxy.port for proxy in sentinels])

    async def start(self, pod: Pod) -> None:
        """Start a process in a pod's place, as often as it takes, and wait until it takes calls."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VOICE_")}
        known: dict[str, Any] = {"color": pod.color, "pod": pod.name, "port": pod.port, "store_url": pod.store_url}
        known |= {"secret": SECRET, "agent": "echo", "speech_workers": 1, "drain_deadline": DRAIN_DEADLINE_S}
        known["overload_lag_ms"] = 0  # All of it is on one machine, whose other work makes pods late.
        given = {f"VOICE_{key.upper()}": str(value) for key, value in known.items()}
        async with asyncio.timeout(READY_S):
            while not pod.takes_calls:
                if not pod.runs:
                    pod.starts += 1
                    environment = {**kept, **given, **pod.environment}
                    with pod.log.open("ab") as output:
                        if pod.command:
                            pod.process = subprocess.Popen(pod.command, env=environment, stdout=output, stderr=output)
                        else:
                            # A pod starts on a machine of its own: here it would take a core from all the others.
                            pod.process = forked.start(["serve"], environment, output)
                await asyncio.sleep(LOOK_S)

    async def _look(self, pod: Pod) -> None:
        """The load balancer's health check."""
        while True:
            try:
                pod.health = (await self.http.get(f"{pod.http}/healthz/realtime", timeout=LOOK_S * 2)).json()
            except (httpx.HTTPError, ValueError):
                pod.health = {}
            await asyncio.sleep(LOOK_S)

    async def open_socket(self, url: str, headers: Any) -> Socket:
        """`client.sockets.OpenSocket` through a load balancer: any pod that seems healthy."""
        healthy = [pod for pod in self.pods if pod.takes_calls and pod.color in self.routed]
        if not healthy:
            raise Unreachable("no pod is healthy")
        pod = self._chance.choice(healthy)
        return await open_socket(url.replace("ws://fleet", f"ws://127.0.0.1:{pod.port}"), headers)

    async def until_well(self, pods: list[Pod] | None = None) -> None:
        """Wait until pods have been healthy and have reached their store for a while.

        One that was stopped may learn only some seconds after it woke up that its store is away.
        """
        watched = self.pods if pods is None else pods
        looks = 0
        while looks * LOOK_S < WELL_FOR_S:
            looks = looks + 1 if all(pod.health.get("status") == "ok" for pod in watched) else 0
            await asyncio.sleep(LOOK_S)

    async def record(self, call_id: str) -> dict[str, Any]:
        """A call's record, from any pod; empty if none says it."""
        body: dict[str, Any] = {}
        with contextlib.suppress(httpx.HTTPError, ValueError, StopIteration):
            pod = next(pod for pod in self.pods if pod.takes_calls)
            body = (await self.http.get(f"{pod.http}/admin/calls/{call_id}")).json()
        return body

    async def close(self) -> None:
        """End everything."""
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        for pod in self.pods:
            if pod.process is not None and pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()
            for proxy in pod.proxies:
                await proxy.close()
        await self.http.aclose()

    def tracebacks(self) -> list[str]:
        """What pods wrote that nobody should have to read."""
        return [
            f"{pod.name}: {line}"
            for pod in self.pods
            for line in pod.log.read_text().splitlines()
            if "Traceback" in line or '"level":"error"' in line.replace(" ", "")
        ]
