"""The edges of a rehearsal: real processes in front of the load balancer, and what they tell of the calls they hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
import orjson

from voice_agent.edge.edge_call import RESUMED
from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.edge_figures import EdgeCounts, counts_in
from voice_agent.rehearse.programs import Program, python_module
from voice_agent.rehearse.timeline import Move
from voice_agent.retry import retry
from voice_agent.runtime.ports import Clock
from voice_agent.settings import EDGE_PREFIX, environment_of_child
from voice_agent.stores.base import PodState

READY_S = 30.0
LOOK_S = 0.1
ANSWER_S = 2.0


@dataclass
class RehearsedEdge:
    """One process."""

    name: str
    port: int
    log: Path
    program: Program | None = None
    read_bytes: int = 0
    """How much of its log was read."""

    @property
    def http(self) -> str:
        """Base of its HTTP endpoints."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> str:
        """Where its callers connect."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"


class Edges:
    """`open` before use, once calls are taken behind them; `close` at the end."""

    def __init__(
        self,
        directory: Path,
        ports: Sequence[int],
        to: str,
        clock: Clock,
        command: Sequence[str] = tuple(python_module("edge")),
    ) -> None:
        """`to`: the load balancer, as ``ws://host:port``. `command`: what starts an edge."""
        self.all = [
            RehearsedEdge(f"edge-{number}", port, directory / f"edge-{number}.log")
            for number, port in enumerate(ports, 1)
        ]
        self._to = to
        self._clock = clock
        self._command = command
        self._http = httpx.AsyncClient(timeout=ANSWER_S, trust_env=False)

    async def open(self) -> None:
        """Start them, and wait until they take callers. Raises `CutoverError`."""
        await asyncio.gather(*map(self._start, self.all))

    async def close(self) -> None:
        """End them; whatever callers there are, they are cut off."""
        await asyncio.gather(*(edge.program.kill() for edge in self.all if edge.program is not None))
        await self._http.aclose()

    async def _start(self, edge: RehearsedEdge) -> None:
        # What a machine is late with that all of them share is no overload by callers.
        given = {"to": self._to, "name": edge.name, "port": edge.port, "overload_lag_ms": 0}
        settings = {EDGE_PREFIX + name.upper(): str(value) for name, value in given.items()}
        program = edge.program = await Program.start(self._command, edge.log, {**environment_of_child(), **settings})

        async def ask() -> None:
            health = (await self._http.get(f"{edge.http}/healthz/realtime")).json()
            if health.get("status") != PodState.OK:
                raise ValueError(health)

        try:
            await retry(
                ask,
                repeat(LOOK_S),
                for_s=lambda error: READY_S if isinstance(error, httpx.HTTPError | ValueError) and program.runs else 0,
                now_s=self._clock.monotonic_s,
                sleep=self._clock.sleep,
            )
        except (httpx.HTTPError, ValueError):
            raise CutoverError(f"{edge.name} did not start: {program.last_words()}") from None

    def new_moves(self, began_s: float) -> list[Move]:
        """Calls that went on with another pod, as the logs tell it since the last time; in seconds since `began_s`."""
        ahead_s = self._clock.monotonic_s() - began_s - self._clock.wall_ms() / 1000
        return [move_in(line, ahead_s) for edge in self.all for line in _new_lines(edge) if line["event"] == RESUMED]

    async def counts(self) -> list[EdgeCounts]:
        """What each has counted; of one that does not answer, nothing."""
        return [counts_in(edge.name, await self._page(edge)) for edge in self.all]

    async def _page(self, edge: RehearsedEdge) -> str:
        with contextlib.suppress(httpx.HTTPError):
            return (await self._http.get(f"{edge.http}/metrics")).text
        return ""


def _new_lines(edge: RehearsedEdge) -> list[dict[str, Any]]:
    """Whole lines of its log that are JSON objects."""
    if not edge.log.exists():
        return []
    with edge.log.open("rb") as log:
        log.seek(edge.read_bytes)
        whole = log.read().rpartition(b"\n")[0]
    edge.read_bytes += len(whole) + bool(whole)
    found = []
    for line in whole.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            parsed = orjson.loads(line)
            if isinstance(parsed, dict) and "event" in parsed:
                found.append(parsed)
    return found


def move_in(line: dict[str, Any], ahead_s: float) -> Move:
    """What a line says; `ahead_s`: by how much the clock of the timeline is ahead of the one of the log."""
    return Move(
        call_id=line["call_id"],
        color=line["by"]["color"],
        pod=line["by"]["pod"],
        at_s=datetime.fromisoformat(line["timestamp"]).timestamp() + ahead_s,
        gap_s=line["gap_ms"] / 1000,
        after=line["after"],
        reason=line["reason"],
    )
