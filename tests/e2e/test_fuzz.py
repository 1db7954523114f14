"""Random and mutated messages: the server keeps answering, whatever it is told."""

from __future__ import annotations

import asyncio
import random
import time

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.pods import PodProcess, pods
from tests.protocol.mutations import random_message
from tests.waiting import PATIENCE_S

CALLS = 8
PER_CALL = 200
"""A fresh call after so many messages, so that they meet calls of every age."""
DOCUMENTED = {1000, 1007, 1008, 1009, 1012, 1013, 4408, 4409, 4410}


async def torment(pod: PodProcess, seed: int, messages: int) -> tuple[int, int]:
    """Send messages on calls of one's own; return how many errors and how many closes came back."""
    rng = random.Random(seed)
    errors = closes = sent = 0
    while sent < messages:
        agent = rng.choice(["echo", "loopback", "frontdesk"])
        async with connect(f"{pod.url}?model={agent}", compression=None, max_size=None) as socket:
            reading = asyncio.create_task(read(socket))
            try:
                for _ in range(min(PER_CALL, messages - sent)):
                    sent += 1
                    await socket.send(random_message(rng))
                probe = f"probe_{seed}_{sent}"
                await socket.send(orjson.dumps({"type": "no.such.event", "event_id": probe}).decode())
                found = await asyncio.wait_for(answered(reading, socket, probe), PATIENCE_S)
            except ConnectionClosed:
                found = False
            await socket.close()
            errors += await reading
            if not found:
                assert socket.close_code in DOCUMENTED, f"seed {seed}: closed with {socket.close_code}"
                closes += 1
    return errors, closes


PROBES: dict[object, set[str]] = {}


async def read(socket: object) -> int:
    """Take everything in; count errors and note which probes were answered."""
    errors = 0
    seen = PROBES.setdefault(socket, set())
    try:
        async for text in socket:  # type: ignore[attr-defined]
            event = orjson.loads(text)
            if event["type"] == "error":
                errors += 1
                seen.add(event["error"]["event_id"])
    except ConnectionClosed:
        pass
    return errors


async def answered(reading: asyncio.Task[int], socket: object, probe: str) -> bool:
    """Wait until the probe's error has come, or the connection is gone."""
    while probe not in PROBES[socket]:
        if reading.done():
            return False
        await asyncio.sleep(0.005)
    return True


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(3_000, id="short"),
        pytest.param(100_000, id="long", marks=[pytest.mark.fuzz, pytest.mark.timeout(3000)]),
    ],
)
async def test_any_message_leaves_the_server_answering(redis_url: str, messages: int) -> None:
    """Each call is alive and answers a probe with an `error` event, or was closed with a documented code."""
    seed = time.time_ns() % 1_000_000
    async with pods(redis_url) as its:
        pod = await its.start()
        found = await asyncio.gather(*(torment(pod, seed + n, messages // CALLS) for n in range(CALLS)))
        health = await pod.health()
        await pod.until_health(active_calls=0)
    errors, closes = (sum(column) for column in zip(*found, strict=True))
    print(f"\nseed {seed}: {messages} messages, {errors} error events, {closes} calls closed with a documented code")
    assert health["status"] == "ok"
    assert errors > messages / 10
