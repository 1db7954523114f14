"""What TLS costs a pod and an edge: ``python -m tests.web.bench_tls``, a minute.

CPU as the kernel counts it, of a frame there and back (20 ms of audio, `loopback`) and of a new connection, once over
TLS and once without, in turn. Of the edge it is the callers' side: what is behind it speaks none.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import orjson
import pybase64
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.edges import EdgeProcess
from tests.e2e.pods import pods
from tests.tls import make_certificate, trusting
from tests.waiting import until

CALLS = 40
FRAME_S = 0.02
FRAME_BYTES = 960
CONNECTS = 100
NS_PER_US = 1000


@dataclass
class Measured:
    """One server under test."""

    name: str
    url: str
    pid: int
    tls: ssl.SSLContext | None
    frame_us: list[float] = field(default_factory=list)
    connect_us: list[float] = field(default_factory=list)

    def call(self) -> connect:
        """A call, to be entered."""
        return connect(f"{self.url}?model=loopback", ssl=self.tls, proxy=None, compression=None)

    def cpu_us(self) -> float:
        """CPU that it has used, all threads."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / NS_PER_US

    async def cost_us(self, work: Callable[[], Awaitable[int]]) -> float:
        """CPU of one piece of some work, which says how many it was."""
        before = self.cpu_us()
        done = await work()
        return (self.cpu_us() - before) / done

    async def round(self, seconds: float) -> None:
        """Measure both."""
        self.connect_us.append(await self.cost_us(self._connects))
        calls = [await self.call() for _ in range(CALLS)]
        for call in calls:
            await call.recv()
        self.frame_us.append(await self.cost_us(lambda: _talk(calls, seconds)))
        for call in calls:
            await call.close()

    async def _connects(self) -> int:
        for _ in range(CONNECTS):
            async with self.call() as call:
                await call.recv()
        return CONNECTS


async def _talk(calls: list[ClientConnection], seconds: float) -> int:
    """How many frames came back."""
    audio = pybase64.b64encode(bytes(FRAME_BYTES)).decode()
    append = orjson.dumps({"type": "input_audio_buffer.append", "audio": audio}).decode()
    back = 0

    async def listen(call: ClientConnection) -> None:
        nonlocal back
        async for message in call:
            back += "output_audio.delta" in str(message)[:200]

    listening = [asyncio.create_task(listen(call)) for call in calls]
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for _ in range(round(seconds / FRAME_S)):
        for call in calls:
            await call.send(append)
        due_s += FRAME_S
        await asyncio.sleep(max(0.0, due_s - loop.time()))  # the pace of speech
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    return back


async def compare(rounds: int, seconds: float) -> None:
    """Print a line for each server."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        certificate, key = make_certificate(directory)
        believed = trusting(certificate)
        async with pods("memory://") as its:
            plain, safe = await its.start(), await its.start(tls_cert=certificate, tls_key=key)
            edges = [
                EdgeProcess(directory / "plain.log", plain.port),
                EdgeProcess(directory / "safe.log", plain.port, edge_tls_cert=certificate, edge_tls_key=key),
            ]
            measured = [
                Measured("serve", plain.url, plain.process.pid, None),
                Measured("serve, TLS", f"wss://127.0.0.1:{safe.port}/v1/realtime", safe.process.pid, believed),
                Measured("edge", edges[0].url, edges[0].process.pid, None),
                Measured("edge, TLS", f"wss://127.0.0.1:{edges[1].port}/v1/realtime", edges[1].process.pid, believed),
            ]
            try:
                for each in measured:
                    await until(lambda each=each: _answers(each))
                for _ in range(rounds):
                    for each in measured:
                        await each.round(seconds)
            finally:
                for edge in edges:
                    edge.process.kill()
                    edge.process.wait()
    for each in measured:
        print(f"{each.name}: {median(each.frame_us):.1f} µs a frame, {median(each.connect_us):.0f} µs a connection")


async def _answers(each: Measured) -> bool:
    try:
        async with each.call():
            return True
    except Exception:  # noqa: BLE001 - whatever keeps a server from answering yet
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What TLS costs a pod and an edge.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    asyncio.run(compare(asked.rounds, asked.seconds))
