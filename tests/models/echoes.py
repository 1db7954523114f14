"""Callers whose frames come back at once, in a process of its own: how late they are is not its neighbours' doing.

Run: ``python -m tests.models.echoes PORT CALLERS``. For each line that it is given it writes one with the figures since
the last, as JSON; those of its first seconds, in which a pod does much for the first time, are in none.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from pydantic import BaseModel

from loadtest.fleet import Fleet
from loadtest.latencies import Latencies
from loadtest.profiles import ProfileRun
from loadtest.resuming import Findings
from tests.waiting import PATIENCE_S

WARMUP_S = 3.0
STEP_S = 0.1


class EchoTimes(BaseModel):
    """Of one stretch of time."""

    frames: int
    p99_s: float
    """From when a frame was due to when it was back."""
    lag_p99_s: float
    """So late the callers themselves were."""


class EchoCallers:
    """The process, as its parent has it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def times(self) -> EchoTimes:
        """Those since the last time, or since the callers are warm. Raises `TimeoutError`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return EchoTimes.model_validate_json(await self._process.stdout.readline())


@asynccontextmanager
async def echoes(port: int, callers: int) -> AsyncIterator[EchoCallers]:
    """So many callers of the pod at a port for the length of a block, once they are warm."""
    command = (sys.executable, "-m", "tests.models.echoes", str(port), str(callers))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        found = EchoCallers(process)
        await found.times()
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _main(port: int, callers: int) -> None:
    findings = Findings()
    run = ProfileRun(Fleet([("127.0.0.1", port)], {}), lambda _: None, findings)
    run.pace.add(await run.connect(callers))
    gc.freeze()
    await run.pace.keep(WARMUP_S)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    asked = asyncio.ensure_future(reader.readline())
    while True:
        await run.pace.keep(STEP_S)
        if not asked.done():
            continue
        if not asked.result():
            return
        times = EchoTimes(
            frames=findings.echo.count,
            p99_s=findings.echo.percentile_s(99),
            lag_p99_s=run.pace.lag.percentile_s(99),
        )
        findings.echo, run.pace.lag = Latencies(), Latencies()
        sys.stdout.buffer.write(orjson.dumps(times.model_dump()) + b"\n")
        sys.stdout.buffer.flush()
        asked = asyncio.ensure_future(reader.readline())


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
