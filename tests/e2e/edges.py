"""Edges as real processes, as an operator runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests import forked
from tests.servers import free_port
from tests.tls import trusting
from tests.waiting import PATIENCE_S
from voice_agent.settings import EDGE_PREFIX, PREFIX


class EdgeProcess:
    """One `voice-agent edge`."""

    def __init__(self, log: Path, *behind: int, tls: tuple[Path, Path] | None = None, **settings: object) -> None:
        """`behind`: ports of pods, or of a load balancer; `settings`: VOICE_* variables in small letters.

        `tls`: certificate and key, also of what is behind it.
        """
        s = "s" if tls else ""
        self.tls = trusting(tls[0]) if tls else None
        """What callers believe."""
        self.port = free_port()
        self.http = f"http{s}://127.0.0.1:{self.port}"
        self.url = f"ws{s}://127.0.0.1:{self.port}/v1/realtime"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        # What a busy machine makes late is no overload by callers.
        settings = {"edge_overload_lag_ms": 0, **settings}
        kept |= {f"VOICE_{key.upper()}": str(value) for key, value in settings.items()}
        if tls:
            kept |= {f"{EDGE_PREFIX}TLS_CERT": str(tls[0]), f"{EDGE_PREFIX}TLS_KEY": str(tls[1])}
            kept["SSL_CERT_FILE"] = str(tls[0])
        to = [word for port in behind for word in ("--to", f"ws{s}://127.0.0.1:{port}")]
        self.log = log
        with log.open("wb") as output:
            self.process = forked.start(["edge", *to, "--port", str(self.port)], kept, output)

    async def get(self, path: str) -> str:
        """What it says; "" while it does not."""
        async with httpx.AsyncClient(trust_env=False, verify=self.tls or True) as client:
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(self.http + path)).text
        return ""

    async def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by name and labels."""
        lines = (await self.get("/metrics")).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def lost(self) -> float:
        """Callers that it closed though nobody hung up."""
        lines = (await self.get("/metrics")).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("voice_edge_lost_total{"))

    async def is_ready(self) -> bool:
        """Whether it would take a caller."""
        return '"status":"ok"' in await self.get("/healthz/realtime")


@contextlib.asynccontextmanager
async def edge(
    directory: Path, *behind: int, tls: tuple[Path, Path] | None = None, **settings: object
) -> AsyncIterator[EdgeProcess]:
    """An edge in front of these ports for the length of a block; it leaves at the end by itself."""
    one = EdgeProcess(directory / "edge.log", *behind, tls=tls, **settings)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await one.is_ready():
                await asyncio.sleep(0.05)
        yield one
        one.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(asyncio.to_thread(one.process.wait), PATIENCE_S) == 0
    finally:
        one.process.kill()
        one.process.wait()
    assert "Traceback" not in one.log.read_text(), one.log.read_text()
