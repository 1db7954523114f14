"""A live call without a pod: nothing happens to it but what a test does. What it writes goes to a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tests.call.calls import new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import CountingObserver, ScriptedAgent
from voice_agent.call.record import CallRecord
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip
from voice_agent.protocol.realtime import MAX_APPEND_BYTES
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.ports import ClientOptions

MIB = 1024 * 1024


class TimingObserver(CountingObserver):
    """Notes how long the stages of turns took."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[tuple[str, float]] = []

    def turn_stage(self, stage: str, seconds: float) -> None:
        self.stages.append((stage, seconds))


class Recogniser(ScriptedAgent):
    """Understands how many bytes were said, once it may; notes what it was asked and what was given up."""

    def __init__(self) -> None:
        super().__init__(chunks=0)
        self.asked: list[int] = []
        self.given_up: list[int] = []
        self.may_understand = asyncio.Event()

    async def transcribe(self, clip: Clip) -> str | None:
        self.asked.append(len(clip.audio))
        try:
            await self.may_understand.wait()
        except asyncio.CancelledError:
            self.given_up.append(len(clip.audio))
            raise
        return f"{len(clip.audio)} bytes"


class QuietConnection(Connection):
    """A connection that sends nothing, and whose peer answers when the test does."""

    def __init__(self, *, going_away: bool = False) -> None:
        super().__init__(CountingObserver(), ClientOptions(going_away=going_away), resumable=True)
        self.asked: list[Callable[[], None]] = []

    def probe(self, answered: Callable[[], None]) -> None:
        self.asked.append(answered)

    @property
    def pushed(self) -> list[str]:
        """Types of the events that wait to be sent."""
        return [event["type"] for event in self.events]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that wait to be sent, without their audio."""
        return [orjson.loads(entry.head) for entry in self._unsent]


class Alone:
    """One call and all it needs."""

    def __init__(self, call: CallRecord | None = None, agent: ScriptedAgent | Agent | None = None) -> None:
        self.call = call or new_call()
        self.call.record.write_whole = True
        self.agent = agent or Recogniser()
        self.clock = StoppedClock()
        self.observer = TimingObserver()
        self.store = FaultyStore()
        self.budget = Budget(64 * MIB, 64 * MIB)
        self.gone: list[LiveCall] = []
        self.committer = Committer(self.store, self.clock, self.observer, lambda: [self.live.writer])
        self.live = LiveCall(
            self.call,
            self.agent,
            self.committer,
            self.clock,
            self.observer,
            self.gone.append,
            holder=self.budget.holder("key"),
            max_audio_bytes=MAX_APPEND_BYTES,
        )

    def attach(self, *, going_away: bool = False) -> QuietConnection:
        """Somebody connects."""
        connection = QuietConnection(going_away=going_away)
        self.live.attach(connection, None)
        return connection


@asynccontextmanager
async def alone(call: CallRecord | None = None, agent: ScriptedAgent | Agent | None = None) -> AsyncIterator[Alone]:
    """A call that is written whenever the test waits for something, and stopped at the end."""
    its = Alone(call, agent)
    writing = asyncio.create_task(its.committer.run())
    try:
        yield its
    finally:
        await its.live.stop_work()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def turns_pass(count: int = 20) -> None:
    """Whatever can go on in the event loop without waiting for a time has gone on."""
    for _ in range(count):
        await asyncio.sleep(0)
