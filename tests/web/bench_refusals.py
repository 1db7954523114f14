"""What a refused call costs a pod, beside one that is taken: ``python -m tests.web.bench_refusals``.

Overload is refused, so a refusal must be cheap: at most a tenth of the CPU of taking a call and letting it go. Both
are measured in one run on pods of their own, as the kernel counts their CPU. Exit 1 if it is more.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.e2e.pods import PodProcess, pods

MOST = 0.1
WARM = 200
REQUEST = (
    b"GET /v1/realtime?model=echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
GREETING = b'"session.created"'
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
TICKS_PER_S = 100
"""Of ``/proc/<pid>/stat``."""


def cpu_s(pod: PodProcess) -> float:
    """CPU that the pod has used."""
    fields = Path(f"/proc/{pod.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


async def knock(pod: PodProcess, expected: bytes) -> None:
    """Ask for a call; hang up once it has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
    writer.write(REQUEST)
    status = await reader.readline()
    assert expected in status, status
    if expected == b"101":
        await reader.readuntil(GREETING)
        writer.write(CLOSE)
    await reader.read()
    writer.close()


async def cost_us(pod: PodProcess, expected: bytes, times: int) -> float:
    """CPU microseconds of one request."""
    for _ in range(WARM):
        await knock(pod, expected)
    began_s = cpu_s(pod)
    for _ in range(times):
        await knock(pod, expected)
    return (cpu_s(pod) - began_s) / times * 1e6


async def compare(times: int) -> float:
    """Print both costs; their ratio."""
    async with pods("memory://") as its:
        full = await its.start(max_calls=1)
        reader, writer = await asyncio.open_connection("127.0.0.1", full.port)
        writer.write(REQUEST)
        await reader.readuntil(GREETING)
        refused_us = await cost_us(full, b"503", 4 * times)
        writer.close()
        taken_us = await cost_us(await its.start(), b"101", times)
    print(f"refused {refused_us:.0f} µs, taken {taken_us:.0f} µs: {refused_us / taken_us:.3f} (at most {MOST})")
    return refused_us / taken_us


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a refused call costs beside one that is taken.")
    parser.add_argument("--times", type=int, default=2000)
    sys.exit(asyncio.run(compare(parser.parse_args().times)) > MOST)
