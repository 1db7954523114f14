"""A pod with 200 talking callers, none of whom can resume by itself, is drained behind an edge."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Sequence
from functools import partial

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.edges import edge
from tests.e2e.pods import PodProcess, pods
from tests.servers import free_port
from tests.waiting import until

CALLS = 200
AT_ONCE = 10
"""So many connect at a time."""
FRAME_S = 0.3
FRAME = base64.b64encode(os.urandom(14_400)).decode()
"""Loud noise: speech to whoever listens for some."""
EMPTY_S = 10.0


class NoisyCaller:
    """Talks without an end, and keeps the number of each event."""

    def __init__(self, url: str) -> None:
        self.numbers: list[int] = []
        self.task = asyncio.create_task(self._run(url))

    async def _run(self, url: str) -> None:
        async with connect(url, proxy=None, compression=None, ping_interval=None, open_timeout=60) as socket:
            speaking = asyncio.create_task(_speak(socket))
            try:
                async for message in socket:
                    self.numbers.append(int(orjson.loads(message)["event_id"].removeprefix("evt_")))
            finally:
                speaking.cancel()


async def _speak(socket: ClientConnection) -> None:
    frame = orjson.dumps({"type": "input_audio_buffer.append", "audio": FRAME}).decode()
    while True:
        await socket.send(frame)
        await asyncio.sleep(FRAME_S)


@pytest.mark.soak
async def test_a_drain_of_two_hundred_who_talk_takes_seconds(redis_url: str) -> None:
    """In the middle of a word, and no caller sees more of it than a pause."""
    async with pods(redis_url) as its:
        blue = await its.start("blue", agent="echo", max_calls=2 * CALLS)
        later = free_port()
        async with edge(its.directory, blue.port, later) as front:
            callers: list[NoisyCaller] = []
            while len(callers) < CALLS:
                callers += [NoisyCaller(f"{front.url}?model=echo") for _ in range(AT_ONCE)]
                await until(partial(_are_greeted, callers))
            green = await its.start("blue", port=later, agent="echo", max_calls=2 * CALLS)
            await until(lambda: _has(blue, CALLS))
            began_s = time.monotonic()
            blue.terminate()
            assert await blue.exit_status() == 0
            took_s = time.monotonic() - began_s
            await until(lambda: _has(green, CALLS))
            assert took_s <= EMPTY_S
            assert await front.lost() == 0
            assert not any(caller.task.done() for caller in callers)
            for caller in callers:
                caller.task.cancel()
            await asyncio.wait([caller.task for caller in callers])
        for caller in callers:
            assert caller.numbers == list(range(len(caller.numbers)))


def _are_greeted(callers: Sequence[NoisyCaller]) -> bool:
    return all(caller.numbers for caller in callers)


async def _has(pod: PodProcess, calls: int) -> bool:
    return bool((await pod.health())["active_calls"] == calls)
