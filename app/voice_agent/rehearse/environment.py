"""The environment of a rehearsal: a store, two pods of each color, the load balancer and edges, all real processes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx

from voice_agent.errors import StoreError
from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.balancer import Balancer
from voice_agent.rehearse.edges import Edges
from voice_agent.rehearse.programs import Program, free_ports, python_module
from voice_agent.retry import retry
from voice_agent.runtime.pod.fleet import TAKES_CALLS
from voice_agent.runtime.ports import Clock
from voice_agent.settings import environment_of_child
from voice_agent.stores.base import PodState
from voice_agent.stores.embedded import server_binary
from voice_agent.stores.factory import open_store

COLORS = ("blue", "green")
PODS_PER_COLOR = 2
READY_S = 90.0
"""Four pods load their speech models at once."""
LOOK_S = 0.1
ANSWER_S = 2.0
LEAVE_S = 15.0
"""What a pod may take to leave beyond its drain's deadline."""
CALL_TTL_S = 1800


@dataclass
class RehearsedPod:
    """One place in the fleet: a process comes after the other, under one name and one port."""

    name: str
    color: str
    port: int
    program: Program | None = None
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def http(self) -> str:
        """Base of its HTTP endpoints."""
        return f"http://127.0.0.1:{self.port}"


class RehearsalEnvironment:
    """Starts everything and ends everything; a context."""

    def __init__(
        self, directory: Path, clock: Clock, drain_deadline_s: int, *, edges: int = 0, recordings: Path | None = None
    ) -> None:
        """`recordings`: a folder in which pods record the inputs of their calls."""
        port, *ports = free_ports(1 + len(COLORS) * PODS_PER_COLOR + edges)
        names = [(f"{color}-{number + 1}", color) for color in COLORS for number in range(PODS_PER_COLOR)]
        self.pods = {
            name: RehearsedPod(name, color, at) for (name, color), at in zip(names, ports[edges:], strict=True)
        }
        self.balancer = Balancer(directory, port, {pod.name: pod.port for pod in self.pods.values()}, clock)
        self.edges = Edges(directory, ports[:edges], f"ws://127.0.0.1:{port}", clock)
        self.store_url = f"unix://{directory / 'store.sock'}"
        self._directory = directory
        self._clock = clock
        self._drain_deadline_s = drain_deadline_s
        self._recordings = recordings
        self._store: Program | None = None
        self._http = httpx.AsyncClient(timeout=ANSWER_S, trust_env=False)

    async def open(self) -> None:
        """Start all of it and wait until calls are taken. Raises `CutoverError` or `SettingsError`."""
        await self._start_store()
        await self.balancer.open()
        await asyncio.gather(*(self.start(pod) for pod in self.pods.values()))
        for color in COLORS:
            await self._until_healthy(color)
        await self._tell_weights()
        await self.edges.open()

    async def _tell_weights(self) -> None:
        """A pod that drains before the first cutover knows where callers are sent."""
        routing = await self.balancer.router.read()
        store = open_store(self.store_url, ttl_s=CALL_TTL_S)
        try:
            await store.open()
            await store.tell_weights(routing.weights, self._clock.wall_ms())
        finally:
            await store.close()

    async def close(self) -> None:
        """End it all; whatever calls there are, they are over."""
        await self.edges.close()
        programs = [self._store, *(pod.program for pod in self.pods.values())]
        await asyncio.gather(*(program.kill() for program in programs if program is not None))
        await self.balancer.close()
        await self._http.aclose()

    async def _start_store(self) -> None:
        path = self._directory / "store.sock"
        options = {"port": "0", "unixsocket": str(path), "dir": str(self._directory), "appendonly": "yes", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        program = self._store = await Program.start([str(server_binary()), *words], self._directory / "store.log")
        store = open_store(self.store_url, ttl_s=CALL_TTL_S)
        try:
            async with asyncio.timeout(READY_S):
                await retry(
                    store.open,
                    repeat(LOOK_S),
                    for_s=lambda error: READY_S if isinstance(error, StoreError) and program.runs else 0,
                    now_s=self._clock.monotonic_s,
                    sleep=self._clock.sleep,
                )
        except (TimeoutError, StoreError):
            raise CutoverError(f"the store did not start: {program.last_words()}") from None
        finally:
            await store.close()

    async def start(self, pod: RehearsedPod, **settings: object) -> None:
        """Start a process in a pod's place, and wait until it takes calls or drains on request.

        `settings` differ from those of all others. Raises `CutoverError`.
        """
        known: dict[str, object] = {"color": pod.color, "pod": pod.name, "port": pod.port, "store_url": self.store_url}
        known |= {"drain_deadline": self._drain_deadline_s, "speech_workers": 1, "log_level": "warning"}
        # All of it runs on one machine, whose other work makes pods late.
        known["overload_lag_ms"] = 0
        if self._recordings is not None:
            known["record_inputs"] = self._recordings
        environment = environment_of_child(**known, **settings)
        pod.program = await Program.start(python_module("serve"), self._directory / f"{pod.name}.log", environment)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while pod.program.runs:
                    if await self._answers(pod):
                        return
                    await self._clock.sleep(LOOK_S)
        raise CutoverError(f"pod {pod.name} did not start: {pod.program.last_words()}")

    async def redeploy(self, color: str, **settings: object) -> None:
        """Other processes in the places of a color, with other settings."""
        pods = [pod for pod in self.pods.values() if pod.color == color]
        await asyncio.gather(*(pod.program.stop() for pod in pods if pod.program is not None))
        await asyncio.gather(*(self.start(pod, **settings) for pod in pods))
        await self._until_healthy(color)

    async def _until_healthy(self, color: str) -> None:
        try:
            async with asyncio.timeout(READY_S):
                await self.balancer.until_healthy(color, PODS_PER_COLOR)
        except TimeoutError:
            raise CutoverError(
                f"haproxy did not find the {color} pods healthy within {READY_S:g} s: see their logs (--keep DIR)"
            ) from None

    async def kill(self, name: str) -> None:
        """kill -9."""
        program = self.pods[name].program
        if program is not None:
            await program.kill()

    def pause(self, name: str) -> None:
        """SIGSTOP: it is there, and does nothing, as when its host is cut off."""
        program = self.pods[name].program
        if program is not None:
            program.signal(signal.SIGSTOP)

    def unpause(self, name: str) -> None:
        """SIGCONT."""
        program = self.pods[name].program
        if program is not None:
            program.signal(signal.SIGCONT)

    async def drain(self, name: str) -> None:
        """SIGTERM, and wait until it has left. Raises `CutoverError`."""
        program = self.pods[name].program
        if program is not None and not await program.leave(self._drain_deadline_s + LEAVE_S):
            raise CutoverError(f"pod {name} did not leave within its drain's deadline")

    async def _answers(self, pod: RehearsedPod) -> bool:
        try:
            health = (await self._http.get(f"{pod.http}/healthz/realtime")).json()
        except (httpx.HTTPError, ValueError):
            return False
        return bool(health.get("pod") == pod.name and health.get("status") in (*TAKES_CALLS, PodState.DRAINING))

    async def record(self, call_id: str) -> dict[str, Any]:
        """A call's record, from the first pod that shows it; empty if none does."""
        for pod in self.pods.values():
            with contextlib.suppress(httpx.HTTPError, ValueError):
                answer = await self._http.get(f"{pod.http}/admin/calls/{call_id}")
                if answer.status_code == 200:
                    found: dict[str, Any] = answer.json()
                    return found
        return {}

    def complaints(self) -> list[str]:
        """What pods and edges wrote that nobody should have to read."""
        logs = {pod.name: pod.program.log for pod in self.pods.values() if pod.program is not None}
        logs |= {edge.name: edge.program.log for edge in self.edges.all if edge.program is not None}
        return [
            f"{name}: {line}"
            for name, log in logs.items()
            for line in log.read_text(errors="replace").splitlines()
            if "Traceback" in line or '"level":"error"' in line.replace(" ", "")
        ]
