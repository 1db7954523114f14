"""Where stock clients find pods: with TLS and without, directly and over an edge behind which pods die."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.edges import EdgeProcess, edge
from tests.e2e.pods import SAMPLES, PodProcess, Pods, pods
from tests.tls import make_certificate, tls_proxies
from tests.waiting import LOOK_S, PATIENCE_S

PROGRAMS = Path(__file__).parent / "programs"
BINARIES = Path(sys.prefix) / "clients" / "bin"
"""Of the venv that `make test-clients` makes for them."""
QUESTION = "Where is my order?"
MOST_STRIKES = 4
"""In one talk: on a busy machine pods would else die before their engines are loaded, again and again."""
BYTES_PER_S = 48_000


@dataclass(frozen=True)
class Place:
    """Where pods are, without TLS and with it."""

    url: str
    tls_url: str
    certificate: Path
    unrest: Unrest | None = None
    """None: nothing happens to the pod."""


class Unrest:
    """Two pods behind an edge; the one that has a call is killed or drained, and started again."""

    def __init__(self, its: Pods, front: EdgeProcess, running: list[PodProcess]) -> None:
        self._its = its
        self._front = front
        self._running = running

    async def during(self, talking: asyncio.Future[Any]) -> bool:
        """Strike while somebody talks, once both pods are well; fails if a call was lost.

        Returns whether one went on: a short talk may be over before it is struck.
        """
        before = await self._gone_on()
        await self._start_those_that_left()
        # A pod that drains waits until the fleet shows it another one: a short talk may be over by then.
        ways = iter([PodProcess.kill, PodProcess.terminate] * (MOST_STRIKES // 2))
        while not talking.done():
            for pod in self._running:
                if (await pod.health())["active_calls"] and not talking.done() and (strike := next(ways, None)):
                    strike(pod)
                    assert await pod.exit_status() in (0, -signal.SIGKILL)
                    break
            await self._start_those_that_left()
            await asyncio.sleep(LOOK_S)
        assert not await self._front.lost()
        return await self._gone_on() > before

    async def _start_those_that_left(self) -> None:
        for number, pod in enumerate(self._running):
            if pod.process.poll() is not None:
                self._running[number] = await self._its.start(pod.color, pod.port)

    async def _gone_on(self) -> float:
        found = re.search(r"^voice_edge_gap_seconds_count (\S+)$", await self._front.get("/metrics"), re.MULTILINE)
        assert found is not None
        return float(found[1])


@asynccontextmanager
async def placed(
    directory: Path, store_url: str, settings: Mapping[str, Any], *, behind_edge: bool
) -> AsyncIterator[Place]:
    """One for the length of a block. `directory`: where packages are found, and where its certificate goes.

    `settings`: of its pods. `store_url` is of pods behind an edge; one alone needs none.
    """
    certificate, key = make_certificate(directory)
    async with pods(store_url if behind_edge else "memory://") as its, AsyncExitStack() as stack:
        its.packages.append(directory)
        its.settings = dict(settings)
        running = [await its.start(color) for color in ("blue", "green")[: 1 + behind_edge]]
        port, unrest = running[0].port, None
        if behind_edge:
            await its.route(blue=50, green=50)
            front = await stack.enter_async_context(edge(its.directory, *(pod.port for pod in running)))
            port, unrest = front.port, Unrest(its, front, running)
        [proxy] = await stack.enter_async_context(tls_proxies(certificate, key, port))
        yield Place(f"ws://127.0.0.1:{port}/v1", f"wss://127.0.0.1:{proxy.port}/v1", certificate, unrest)


async def run(client: str, scenario: str, place: Place, **more: str) -> dict[str, Any]:
    """What a client saw of a scenario; fails on anything it complained of. `more`: what it is told otherwise.

    Over an edge it talks until it was struck while it did.
    """
    given = {
        "name": scenario,
        "url": place.tls_url if client == "openai_node.mjs" else place.url,
        "speech": str(SAMPLES / "caller-books.wav"),
        "question": QUESTION,
        "story": "Tell me a story.",
        **more,
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTHON"))}
    environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
    environment["NODE_EXTRA_CA_CERTS"] = str(place.certificate)
    # What pipecat greets with is no complaint.
    environment["LOGURU_LEVEL"] = "WARNING"
    command = command_of(client, json.dumps(given))

    def talk() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
        )

    while True:
        # In a thread, for the TLS proxy lives on this loop.
        talking = asyncio.ensure_future(asyncio.to_thread(talk))
        went_on = place.unrest is None or await place.unrest.during(talking)
        done = await talking
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        assert (done.returncode, done.stderr, seen.get("errors")) == (0, "", []), f"{seen}\n{done.stderr}"
        if went_on:
            return seen


def command_of(client: str, given: str) -> list[str]:
    """How a client's program is run."""
    program = str(PROGRAMS / client)
    if client.startswith("k6"):
        told = ["--log-output", "stdout", "--log-format", "raw"]
        return [str(BINARIES / "k6"), "run", "--quiet", "--no-summary", *told, "--env", f"GIVEN={given}", program]
    return [str(BINARIES / ("node" if client.endswith(".mjs") else "python")), program, given]
