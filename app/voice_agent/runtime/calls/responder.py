"""Has the agent answer: at most one response of a call is being made at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from voice_agent.agents.base import TurnAgent
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.inputs import Input
from voice_agent.call.record import CallRecord
from voice_agent.runtime.calls.responding import ResponseRun
from voice_agent.runtime.durability.call_writer import CallWriter
from voice_agent.runtime.engine.frames import FrameQueue
from voice_agent.runtime.ports import Clock, Observer


class Responder:
    """One call's; the `ResponseHost` of its responses. It changes nothing of the call but by `feed`."""

    def __init__(
        self,
        call: CallRecord,
        agent: TurnAgent,
        feed: Callable[[Input], None],
        writer: CallWriter,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.call = call
        self.agent = agent
        self._feed = feed
        self._writer = writer
        self._clock = clock
        self._observer = observer
        self.taps: list[FrameQueue] = []
        """Nobody reads the client's frames."""
        self._started_at_s: float | None = None
        """When the response was started whose first audio is not visible yet."""
        self._task: asyncio.Task[None] | None = None
        self._run: ResponseRun | None = None
        """What the task does, once the client's words are known."""

    def start(self, transcribed: Callable[[], Awaitable[None]]) -> None:
        """Have the response of the record made, once `transcribed` has returned."""
        self._started_at_s = self._clock.monotonic_s()
        self._task = asyncio.create_task(self._respond(transcribed), name=self.call.call_id)

    async def _respond(self, transcribed: Callable[[], Awaitable[None]]) -> None:
        await transcribed()
        if self.call.response is not None:
            self._run = ResponseRun(self, self.agent, self._clock, self._observer)
            await self._run.run()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel the response's task; returns it, to be waited for. What it still yields has no effect."""
        if self._task is None:
            return []
        self._task.cancel()
        return [self._task]

    def stop(self) -> None:
        """The response is over by the rules: cancel its task and forget it."""
        self.cancel()
        self._task = self._run = None

    def ended(self, outcome: str) -> None:
        """The call is over: nothing is told of it."""

    def stop_silent(self) -> None:
        """End the response of an agent that has yielded nothing for longer than it may."""
        if self._run is not None and self._run.is_silent:
            self._run.give_up()
            self.stop()

    def time_first_audio(self, events: Sequence[OutboxEntry]) -> None:
        """These events are visible now: if they are the first with audio of the response, say how long that took."""
        if self._started_at_s is not None and any(entry.audio for entry in events):
            self._observer.turn_stage("first_audio", self._clock.monotonic_s() - self._started_at_s)
            self._started_at_s = None

    # --- for the response that is being made: see `responding.ResponseHost` --------

    def feed(self, event: Input) -> None:
        """See `responding.ResponseHost`."""
        self._feed(event)

    def wait_for_capacity(self) -> Coroutine[Any, Any, None]:
        """See `responding.ResponseHost`."""
        return self._writer.wait_for_capacity()

    async def wait_durable(self) -> None:
        """See `responding.ResponseHost`."""
        await self._writer.wait_durable()
