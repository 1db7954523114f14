"""The load balancer of a rehearsal: a real HAProxy on the configuration that `deploy/haproxy` offers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path

from voice_agent.operate.ports import CutoverError, RouterError
from voice_agent.operate.routers.haproxy import HaproxyRouter
from voice_agent.rehearse.programs import Program, find_haproxy
from voice_agent.retry import retry
from voice_agent.runtime.ports import Clock
from voice_agent.settings import environment_of_child

CONFIGURATION = Path(__file__).parent / "haproxy.cfg"
READY_S = 10.0
LOOK_S = 0.05


class Balancer:
    """HAProxy in front of ``<color>-<n>`` pods; `open` before use, `close` at the end."""

    def __init__(self, directory: Path, port: int, pods: Mapping[str, int], clock: Clock) -> None:
        """`pods`: the port of each pod by its name, such as ``blue-1``."""
        self.port = port
        self.socket = directory / "haproxy.sock"
        self.router = HaproxyRouter(str(self.socket))
        self._log = directory / "haproxy.log"
        self._pods = pods
        self._clock = clock
        self._program: Program | None = None

    @property
    def calls(self) -> str:
        """Where callers connect."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    async def open(self) -> None:
        """Start it and wait until its socket answers. Raises `SettingsError` or `CutoverError`."""
        known = {"ROUTER_BIND": f"127.0.0.1:{self.port}", "ROUTER_SOCKET": str(self.socket), "ROUTER_LOG": "stderr"}
        pods = {name.upper().replace("-", "_"): f"127.0.0.1:{port}" for name, port in self._pods.items()}
        command = [str(find_haproxy()), "-db", "-f", str(CONFIGURATION)]
        program = self._program = await Program.start(command, self._log, {**environment_of_child(), **known, **pods})
        try:
            async with asyncio.timeout(READY_S):
                await retry(
                    self.router.read,
                    repeat(LOOK_S),
                    for_s=lambda error: READY_S if isinstance(error, RouterError) and program.runs else 0,
                    now_s=self._clock.monotonic_s,
                    sleep=self._clock.sleep,
                )
                return
        except (TimeoutError, RouterError):
            await self.close()
        raise CutoverError(f"haproxy did not start: {program.last_words()}")

    async def until_healthy(self, color: str, count: int) -> None:
        """Wait until so many pods of a color pass the health check."""
        while await self.router.healthy_targets(color) != count:
            await self._clock.sleep(LOOK_S)

    async def spare(self, pod: str) -> None:
        """Send nobody new to a pod, until the next change of weights. Raises `RouterError`."""
        await self.router.spare(pod)

    async def close(self) -> None:
        """End it."""
        if self._program is not None:
            await self._program.stop()
