"""Pods of this project for a profile to load: a store and one pod of each color, or a server that runs already."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import httpx

from loadtest.peers.contenders import Ours
from loadtest.peers.environment import Environment, Server
from loadtest.peers.processor import cpu_s
from voice_agent.stores.factory import open_store

READY_S = 30.0
ANSWER_S = 2.0
LOOK_S = 0.05


class ColorEnvironment(Environment):
    """An environment whose pods have the color they are named after, and `settings` beside the usual ones."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._own = settings

    async def _settings(self, ours: Ours) -> dict[str, str]:
        return {**await super()._settings(ours), "VOICE_COLOR": ours.name, **self._own}


@dataclass
class Fleet:
    """What is loaded. `servers` and `environment` are empty for a server that somebody else started."""

    addresses: list[tuple[str, int]]
    headers: dict[str, str]
    environment: Environment | None = None
    servers: list[Server] = field(default_factory=list)

    def server_cpu_s(self) -> float:
        """CPU of all pods that live."""
        return sum(server.cpu_s() for server in self.servers if server.process.poll() is None)

    def store_cpu_s(self) -> float:
        """CPU of the store."""
        store = self.environment.store if self.environment is not None else None
        return cpu_s(store.process.pid) if store is not None else 0.0

    async def kill(self, at: int) -> None:
        """kill -9."""
        server = self.servers[at]
        server.process.kill()
        await asyncio.to_thread(server.process.wait)

    async def metrics(self, at: int) -> Mapping[str, float]:
        """Every sample of a pod's `/metrics` by name and labels; nothing if it does not answer."""
        host, port = self.addresses[at]
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
                lines = (await client.get(f"http://{host}:{port}/metrics")).text.splitlines()
            return {
                name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
            }
        return {}

    async def drain(self, at: int) -> None:
        """Have a pod hand its calls off. Raises `httpx.HTTPError`."""
        host, port = self.addresses[at]
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
            answer = await client.post(f"http://{host}:{port}/admin/drain", json={"mode": "handoff"})
            answer.raise_for_status()


@contextlib.asynccontextmanager
async def pods(
    *colors: str,
    outbox_bytes: int,
    agent: Literal["loopback", "echo"] = "loopback",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Fleet]:
    """A pod of each color on one store, ready for calls, which ask for `agent`. Raises `NotStarted`."""
    with TemporaryDirectory(prefix="va-load-") as directory:
        environment = ColorEnvironment(Path(directory), settings)
        try:
            servers = [await environment.start(Ours(color, color, outbox_bytes, agent=agent)) for color in colors]
            addresses = [("127.0.0.1", server.port) for server in servers]
            fleet = Fleet(addresses, servers[0].headers, environment, servers)
            await _all_seen(fleet)
            await _tell_weights(environment, colors)
            yield fleet
        finally:
            environment.end_all()


def running(url: str, api_key: str | None) -> Fleet:
    """A server that runs already, by its WebSocket URL. Raises `ValueError` for one that is none."""
    target = urlsplit(url)
    if target.scheme != "ws" or not target.hostname or not target.port:
        raise ValueError(f"--url: {url} is no address such as ws://127.0.0.1:8080")
    return Fleet([(target.hostname, target.port)], {"Authorization": f"Bearer {api_key}"} if api_key else {})


async def _tell_weights(environment: Environment, colors: Sequence[str]) -> None:
    """Calls that are handed off go to any of the pods: the callers of a profile are their own load balancer."""
    assert environment.store is not None  # started with the first pod
    store = open_store(environment.store.url, ttl_s=1)
    await store.open()
    try:
        await store.tell_weights({color: 100 // len(colors) for color in colors}, 0)
    finally:
        await store.close()


async def _all_seen(fleet: Fleet) -> None:
    """Until each pod is healthy: before that, one that drains sees no other to hand calls to."""
    async with asyncio.timeout(READY_S), httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
        for host, port in fleet.addresses:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"http://{host}:{port}/healthz/realtime")).status_code == 200:
                        break
                await asyncio.sleep(LOOK_S)
