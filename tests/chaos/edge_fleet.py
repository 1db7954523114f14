"""Pods behind a real HAProxy behind edges; some pods at the end of a wire that can go silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.chaos.fleet import COLORS, LOOK_S, READY_S, Fleet, Pod
from tests.e2e.edges import EdgeProcess
from tests.servers import RedisServer, free_port
from voice_agent.edge.edge_call import RESUMED
from voice_agent.operate.balancing import PlannedMove, balance, loads
from voice_agent.operate.fleet import Fleet as PodFleet
from voice_agent.operate.fleet import FleetError
from voice_agent.operate.ports import Routing
from voice_agent.operate.rebalancing import rebalance
from voice_agent.rehearse.balancer import Balancer
from voice_agent.rehearse.programs import find_haproxy
from voice_agent.runtime.clock import SystemClock
from voice_agent.stores.base import Store
from voice_agent.stores.factory import open_store

MOVE_S = 5
"""After that, what has not moved stays."""
AWAY = re.compile(r"^voice_edge_calls_away (\S+)$", re.MULTILINE)
WIRE = """
defaults
    mode tcp
    timeout connect 5s
    retries 0  # A dead pod is found so at once, as without a wire.
    timeout client 1h
    timeout server 1h
listen wire
    bind 127.0.0.1:{port}
    server pod 127.0.0.1:{to}
"""


@dataclass
class Wire:
    """What stands between the load balancer and a pod. Stopped it is silent: no byte, no FIN, no RST."""

    port: int
    to: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Pass everything on."""
        configuration = self.directory / f"wire-{self.port}.cfg"
        configuration.write_text(WIRE.format(port=self.port, to=self.to))
        command = [str(find_haproxy()), "-db", "-q", "-f", str(configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or have it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def close(self) -> None:
        """Reset all that is on it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class GoingOn(NamedTuple):
    """A call that another pod went on with, as the edge's log tells it."""

    at_s: float
    """When, in wall time."""
    code: int
    """What the connection before ended with."""
    gap_s: float
    pod: str
    """Which had it before; "" if nobody tells."""


def gone_on(edge: EdgeProcess, began_on: Mapping[str, str] | None = None) -> list[GoingOn]:
    """Every call that went on over an edge. `began_on`: on which pod calls began, which the log does not tell."""
    found: list[GoingOn] = []
    served = dict(began_on or {})
    for line in edge.log.read_text().splitlines():
        if RESUMED in line:
            told = orjson.loads(line)
            at_s = datetime.fromisoformat(told["timestamp"]).timestamp()
            found.append(GoingOn(at_s, told["after"], told["gap_ms"] / 1000, served.get(told["call_id"], "")))
            served[told["call_id"]] = told["by"]["pod"]
    return found


class EdgeFleet(Fleet):
    """Four pods on one server of the store, every second one on a wire; HAProxy before them, and edges before that."""

    def __init__(self, directory: Path, server: RedisServer, chance: random.Random, edges: int) -> None:
        super().__init__(directory, None, chance)  # type: ignore[arg-type]  # no Sentinels, no proxies
        self.edges: list[EdgeProcess] = []
        self.wires: dict[str, Wire] = {}
        """By the pod's name."""
        self._balancer: Balancer
        self._server = server
        self._place = directory
        self._edges = edges

    async def open(self) -> None:
        """Start every program, and wait until the edges take calls."""
        await super().open()
        ports: dict[str, int] = {}
        for color in COLORS:
            for number, pod in enumerate((pod for pod in self.pods if pod.color == color), start=1):
                ports[f"{color}-{number}"] = self.wires[pod.name].port if pod.name in self.wires else pod.port
        self._balancer = Balancer(self._place, free_port(), ports, SystemClock())
        await self._balancer.open()
        await self._balancer.router.write(Routing(dict.fromkeys(COLORS, 50)))
        async with self._opened_store() as store:
            await store.tell_weights(dict.fromkeys(COLORS, 50), 0)
        for number in range(self._edges):
            self.edges.append(EdgeProcess(self._place / f"edge-{number}.log", self._balancer.port))
        async with asyncio.timeout(READY_S):
            while not all([await edge.is_ready() for edge in self.edges]):
                await asyncio.sleep(LOOK_S)

    async def _connect(self, pod: Pod) -> None:
        pod.store_url = self._server.url
        port = pod.port
        if self.pods.index(pod) % 2:
            wire = self.wires[pod.name] = Wire(free_port(), pod.port, self._place)
            wire.open()
            port = wire.port
        # Where edges reach it past the load balancer; else what is moved goes to any pod. Loopback has to be told.
        pod.environment["VOICE_ADVERTISE_ADDRESS"] = f"127.0.0.1:{port}"

    async def away(self) -> float:
        """Calls that no pod serves, as the edges say."""
        return sum([float(count) for edge in self.edges for count in AWAY.findall(await edge.get("/metrics"))])

    async def plan(self, sources: frozenset[str]) -> list[PlannedMove]:
        """What evens out the calls of all pods, of both colors; only `sources` give."""
        async with self._opened_store() as store:
            return balance([replace(each, color="") for each in loads(await store.pods())], sources)

    async def move(self, moves: Sequence[PlannedMove]) -> None:
        """Have pods do that, as `voice-agent rebalance` does. What a fault comes between stays where it is."""
        async with self._opened_store() as store:
            with contextlib.suppress(FleetError):
                await rebalance(store, PodFleet(await store.pods()), moves, MOVE_S, SystemClock())

    @contextlib.asynccontextmanager
    async def _opened_store(self) -> AsyncIterator[Store]:
        store = open_store(self._server.url, ttl_s=1)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def lost(self) -> float:
        """Callers that the edges say they closed though nobody hung up."""
        return sum([await edge.lost() for edge in self.edges])

    async def close(self) -> None:
        """End everything."""
        for edge in self.edges:
            edge.process.kill()
            edge.process.wait()
        if hasattr(self, "_balancer"):
            await self._balancer.close()
        for wire in self.wires.values():
            wire.close()
        await super().close()

    def tracebacks(self) -> list[str]:
        """What pods and edges wrote that nobody should have to read."""
        return super().tracebacks() + [
            f"{edge.log.name}: {line}"
            for edge in self.edges
            for line in edge.log.read_text().splitlines()
            if "Traceback" in line or '"level":"error"' in line.replace(" ", "") or "audio of a caller is lost" in line
        ]
