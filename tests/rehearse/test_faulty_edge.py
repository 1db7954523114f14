"""A rehearsal's verdict finds each thing that an edge may do wrong when a pod is lost, on real pods."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.pods import PodProcess, pods
from tests.rehearse.faulty_edge import FAULTS
from tests.servers import free_port
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.rehearse.caller import Manners, RehearsedCaller
from voice_agent.rehearse.edges import Edges
from voice_agent.rehearse.figures import CallResult, RehearsalRecording
from voice_agent.rehearse.plain_call import PlainCall
from voice_agent.rehearse.timeline import CallLine
from voice_agent.runtime.clock import SystemClock

CHECKPOINT_MS = 1000
"""So long what is said is in no store, and would be lost with the pod."""
MANNERS = Manners(frame_ms=20, spoken_ms=(1500, 1520), typed=0, thinks_s=(0, 0), answered_s=20)
TURN_BYTES = PCM.size(1500)
TURNS = 3
FOUND = {
    "drop_tail": "bytes and",  # the reply is not what was said
    "say_tail_twice": "bytes and",
    "repeat_event": "1 events repeated",
    "lose_event": "1 events lost",
    "greet_again": "1 events repeated",
    "close_caller": "closed with 1012",
}


class CountedCall(PlainCall):
    """A call of which is known how much was said."""

    said_bytes = 0

    async def append_audio(self, audio: bytes) -> None:
        self.said_bytes += len(audio)
        await super().append_audio(audio)


class HeldCaller:
    """One caller of one edge with a fault."""

    def __init__(self, fault: str, directory: Path, pod: PodProcess, other: PodProcess) -> None:
        self.fault = fault
        directory.mkdir()
        self._clock = SystemClock()
        command = [sys.executable, str(Path(__file__).with_name("faulty_edge.py")), fault]
        to = f"ws://127.0.0.1:{pod.port},ws://127.0.0.1:{other.port}"
        self.edges = Edges(directory, [free_port()], to, self._clock, command)
        line = CallLine(fault, "plain", edge="edge-1")
        url = f"{self.edges.all[0].calls}?model=echo"
        self.call = CountedCall(url, line, self._clock.monotonic_s)
        self._record_from = other.http
        self.caller = RehearsedCaller(fault, self.call, self._record, self._clock, seed=len(fault), manners=MANNERS)

    async def _record(self, call_id: str) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return dict((await client.get(f"{self._record_from}/admin/calls/{call_id}")).json())

    @property
    def speaks(self) -> bool:
        """Whether it is in the middle of its second turn."""
        return self.call.said_bytes >= 1.5 * TURN_BYTES

    async def run(self) -> None:
        """The whole call."""
        await self.caller.run(lambda: self.caller.talk.turns >= TURNS)

    async def verdict(self) -> list[str]:
        """Of a rehearsal with this caller alone."""
        line = self.call.line
        for move in self.edges.new_moves(0.0):
            line.moved(move)
        recording = RehearsalRecording(1, cutovers_planned=0)
        recording.calls = [CallResult(line, self.caller.found, TURNS, self.call.tally.events)]
        recording.edges = await self.edges.counts()
        return recording.verdict


@contextlib.asynccontextmanager
async def held_callers(directory: Path, pod: PodProcess, other: PodProcess) -> AsyncIterator[list[HeldCaller]]:
    """One for each fault, all of them on `pod`."""
    callers = [HeldCaller(fault, directory / fault, pod, other) for fault in FAULTS]
    try:
        await asyncio.gather(*(held.edges.open() for held in callers))
        yield callers
    finally:
        await asyncio.gather(*(held.edges.close() for held in callers))


@pytest.mark.slow
async def test_each_fault_of_an_edge_is_found(redis_url: str, tmp_path: Path) -> None:
    """And nothing of one that is as it should be. They differ in nothing else: same pods, same kill, same words."""
    async with pods(redis_url) as its:
        blue = await its.start("blue", input_checkpoint_ms=CHECKPOINT_MS)
        green = await its.start("green")
        async with held_callers(tmp_path, blue, green) as callers:
            talking = [asyncio.create_task(held.run()) for held in callers]
            await until(lambda: all(held.speaks for held in callers) or all(task.done() for task in talking))
            blue.kill()
            await asyncio.gather(*talking)
            found = {held.fault: await held.verdict() for held in callers}
        green.terminate()
    assert found.pop("nothing") == []
    assert found.keys() == FOUND.keys()
    for fault, told in FOUND.items():
        assert told in " ".join(found[fault]), (fault, found[fault])
