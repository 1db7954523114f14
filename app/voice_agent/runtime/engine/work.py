"""What a run of an agent and its call have in common: the event in hand, time, and the way into the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from voice_agent.call.agent_ledger import AgentLedger, EventKind
from voice_agent.call.inputs import EventDone, Input
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.response_items import settings_of
from voice_agent.call.status import Status
from voice_agent.kit.agent import Agent
from voice_agent.kit.events import Ended, Event
from voice_agent.kit.voice import Voice
from voice_agent.runtime.durability.call_writer import CallWriter
from voice_agent.runtime.engine.agent_steps import StepWatch
from voice_agent.runtime.engine.handling import Handling
from voice_agent.runtime.engine.idle import IdleTime
from voice_agent.runtime.engine.live_input import LiveInput
from voice_agent.runtime.engine.notices import notice_of
from voice_agent.runtime.engine.pacing import Pacing
from voice_agent.runtime.engine.stages import StageTimes
from voice_agent.runtime.ports import Clock, Observer

LATE_S = 0.1
"""Before a run that is over, or has been told of the end, is refused another event: one that takes no cancellation, or
asks for ever, does not spin."""
AWAY_LOOK_MS = 50
"""How often to look whether a caller is back."""

log = structlog.get_logger(__name__)


class NoVoice(Exception):
    """An agent has a sentence to say, and there is no voice that says it."""

    def __str__(self) -> str:
        return "There is no voice on this server: install the extra `demo`, or give the agent one of its own."


class NoEvent(Exception):
    """An agent acted while it had no event in hand."""

    def __str__(self) -> str:
        return "An agent acts in an event: ask `call.events()` for one first."


@dataclass(slots=True)
class CallEnd:
    """How the call ended, and whether the agent knows."""

    outcome: str | None = None
    """None while it goes on."""
    is_told: bool = False
    was_refused: bool = False
    """Whether the agent has asked for another event since."""


class AgentWork:
    """One call's, as long as this pod owns it."""

    def __init__(
        self,
        call: CallRecord,
        agent: Agent,
        feed: Callable[[Input], None],
        writer: CallWriter,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.call = call
        self.agent = agent
        self.clock = clock
        self.observer = observer
        self.feed = feed
        self.handling: Handling | None = None
        """The event in the agent's hands; None while it waits for one."""
        self.view: object | None = None
        """What the run under way was given. Of one that is over nothing is taken any more."""
        self.live = LiveInput()
        self.end = CallEnd()
        self.idle = IdleTime(clock)
        self.watch = StepWatch(agent.name, call.call_id, clock, observer)
        self.stages = StageTimes(clock, observer)
        self._pacing: Pacing | None = None
        """Of the response that was said something in last."""
        self._writer = writer
        self._came = asyncio.Event()

    @property
    def ledger(self) -> AgentLedger:
        """What the record keeps for the agent."""
        assert self.call.agent is not None
        return self.call.agent

    # --- events -----------------------------------------------------------------

    def wake(self) -> None:
        """Something has come, or the call has ended."""
        self._came.set()

    async def wait_for_event(self) -> None:
        """Wait until an event waits, or the call has ended."""
        while not self.ledger.waiting and self.end.outcome is None:
            self._came.clear()
            await self._came.wait()

    async def next_event(self, view: object) -> Event | None:
        """Acknowledge the event in hand, and wait for the next. None once the call is over, and that was told."""
        if view is not self.view or self.end.was_refused:
            await asyncio.sleep(LATE_S)
        self.check(view)
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()  # The agent has kept it to itself; nobody wants this run to stop.
        try:
            self.acknowledge()
        except (TypeError, ValueError):
            await asyncio.sleep(0)  # One that asks again and again leaves the others their turn.
            raise
        with self.waiting():
            await self._writer.wait_for_capacity()
            await self.wait_for_event()
        self.check(view)
        if self.end.outcome is not None:
            return self._end(self.end.outcome)
        stored = self.ledger.first
        assert stored is not None
        self.handling = Handling(self.ledger, stored, self.call.dialogue.agent_state)
        self.idle.begin()
        if stored.kind is EventKind.ASKED and (response := self.call.response) is not None:
            self.stages.asked(waited_s=max(0, self.clock.wall_ms() - response.asked.started_at_ms) / 1000)
        return notice_of(self.call, stored)

    def acknowledge(self) -> None:
        """The event in hand is done. Raises what `AgentState.packed` raises: then it is not."""
        handling = self.handling
        if handling is None:
            return
        state = handling.changed_state()
        handling.drop_unsaid()  # Of a speech that its author has never left.
        self.handling = None
        if diverged := handling.diverged():
            self.tell_divergence("acts", diverged)
        self.feed(EventDone(handling.number, state, handling.incomplete_reason))

    def reset(self) -> None:
        """The run under way is over; what it did not acknowledge comes again."""
        if self.handling is not None:
            self.handling.drop_unsaid()
        self.view = self.handling = self._pacing = None
        self.live.end()

    def handling_of(self, view: object) -> Handling:
        """The event in the hands of a run. Raises `NoEvent`; `CancelledError` for a run that is over."""
        self.check(view)
        if self.handling is None:
            raise NoEvent
        return self.handling

    def is_current(self, view: object) -> bool:
        """Whether this run is not over."""
        return view is self.view

    def check(self, view: object) -> None:
        """Raise `CancelledError` for a run that is over."""
        if view is not self.view:
            raise asyncio.CancelledError

    def _end(self, outcome: str) -> Ended | None:
        self.live.end()
        if self.end.is_told:
            self.end.was_refused = True
            return None
        self.end.is_told = True
        return Ended(number=0, at_ms=self.clock.wall_ms(), outcome=outcome)

    # --- speech -----------------------------------------------------------------

    @property
    def voice(self) -> Voice:
        """What says the agent's sentences. Raises `NoVoice`."""
        if self.agent.voice is None:
            raise NoVoice
        return self.agent.voice

    def pacing(self, response: Response) -> Pacing:
        """What sends the audio of a response."""
        if self._pacing is None or self._pacing.response_id != response.response_id:
            lead_ms = self.agent.lead_ms
            if lead_ms is None:
                lead_ms = self.agent.voice.lead_ms if self.agent.voice is not None else 0
            self._pacing = Pacing(self, response, settings_of(self.call), lead_ms)
        return self._pacing

    def drop_audio(self) -> None:
        """What waits to be sent of what was being said is not."""
        if self._pacing is not None:
            self._pacing.drop()

    # --- waiting ----------------------------------------------------------------

    def waiting(self) -> AbstractContextManager[None]:
        """While this is open, it is not the agent that keeps the caller waiting."""
        return self.idle.waiting()

    async def wait_for_capacity(self) -> None:
        """Wait while too much of the call is not durable yet; others have a turn in any case."""
        await self._writer.wait_for_capacity()
        await asyncio.sleep(0)

    async def wait_durable(self) -> None:
        """Wait until all that happened so far is durable, or the store is given up for now."""
        await self._writer.wait_durable()

    async def wait_played(self) -> None:
        """Wait until the caller has heard everything, also of what another pod sent before it lost the call.

        One who is away has not: to a call that ended meanwhile nobody can come back, and learn how it ended.
        """
        with self.waiting():
            while (left_ms := self._unheard_ms()) > 0:
                await self.clock.sleep(left_ms / 1000)

    def _unheard_ms(self) -> int:
        if self.call.lifecycle.status is Status.PARKED:
            return AWAY_LOOK_MS
        return self.call.dialogue.playing_until_ms - self.clock.wall_ms()

    # --- what is told -----------------------------------------------------------

    def tell_divergence(self, what: str, count: int = 1) -> None:
        """What an agent does again on this pod is not what it did on another."""
        for _ in range(count):
            self.observer.agent_fault(f"other_{what}")
        log.warning(
            "what an agent does again is not what it did",
            agent=self.agent.name,
            call_id=self.call.call_id,
            differs=what,
            event_number=self.handling.number if self.handling is not None else None,
        )
