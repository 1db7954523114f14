"""Has an agent handle the events of a call, on this pod, until the call ends or goes elsewhere.

One task a call. It runs `Agent.run`, and again whenever that ended before the call did: because of an interruption that
the agent did not handle, or of an error. Each run that ends so takes the event in hand with it, so an agent that always
fails does not fail twice for one event.

An agent's fault ends its event and nothing else: it is named in the log, and where a reply was due the client gets an
apology.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.inputs import EventDone, EventFailed, Input, TimersDue
from voice_agent.call.record import CallRecord
from voice_agent.call.response_items import settings_of
from voice_agent.kit.agent import Agent
from voice_agent.kit.speech import NoSpeech
from voice_agent.kit.usage import METER
from voice_agent.kit.voice import VoiceFailed
from voice_agent.kit.watching import WATCH
from voice_agent.runtime.durability.call_writer import CallWriter
from voice_agent.runtime.engine.agent_call import AgentCall
from voice_agent.runtime.engine.agent_steps import Watched, take_back_group_cancel
from voice_agent.runtime.engine.apology import apology
from voice_agent.runtime.engine.handling import Handling
from voice_agent.runtime.engine.interruption import InterruptibleSteps, Interruption, is_interruption
from voice_agent.runtime.engine.live_input import LiveInput
from voice_agent.runtime.engine.metering import CallMeter
from voice_agent.runtime.engine.voicing import is_loading
from voice_agent.runtime.engine.work import AgentWork, NoVoice
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.speech.speech_work import WORK, SpeechWork

SILENT_S = 30.0
"""So long an agent may do nothing while a reply is due: a caller who hears nothing for longer has hung up."""
ENDS_WITHIN_S = 5.0
"""So long an agent may take to handle the end of the call."""

log = structlog.get_logger(__name__)


class AgentRun:
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
        self.agent = agent
        self.work = AgentWork(call, agent, feed, writer, clock, observer)
        self._call = call
        self._clock = clock
        self._observer = observer
        self._meter = CallMeter(call, feed, writer)
        self._interruption = Interruption()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None

    @property
    def live(self) -> LiveInput:
        """What is told of the caller as it happens."""
        return self.work.live

    @property
    def prepared_bytes(self) -> int:
        """Of audio that was made and waits to be said."""
        handling = self.work.handling
        return handling.prepared.held_bytes if handling is not None and handling.prepared is not None else 0

    def deliver(self) -> None:
        """An event waits: have the agent handle it. Of `loopback` there are none."""
        if self._task is None and self._call.agent is not None:
            self._task = asyncio.create_task(self._drive(), name=self._call.call_id)
        self.work.wake()

    def interrupt(self, number: int) -> None:
        """What is said in this event was cut short: raise `SpeechInterrupted` in its handler, or do not begin it.

        One that another pod has begun is begun again, for what its handler remembers: as after a take-over it is
        interrupted where it was.
        """
        handling = self.work.handling
        if handling is not None and handling.number == number and self._task is not None:
            handling.drop_prepared()
            self._interruption.raise_in(self._task)
        elif not self.work.ledger.acts:
            self.work.feed(EventDone(number))

    def set_timer(self, when_ms: int | None) -> None:
        """Feed `TimersDue` at this time, and at no other; None: not at all."""
        if self._timer is not None:
            self._timer.cancel()
        ringing = self._ring(when_ms) if when_ms is not None else None
        self._timer = None if ringing is None else asyncio.create_task(ringing, name=f"{self._call.call_id} timer")

    async def _ring(self, when_ms: int) -> None:
        while (left_ms := when_ms - self._clock.wall_ms()) > 0:
            await self._clock.sleep(left_ms / 1000)
        self._timer = None
        self.work.feed(TimersDue())

    def cancel(self) -> list[asyncio.Task[None]]:
        """Stop: the call goes elsewhere, or is lost. Returns the agent's task, to be waited for."""
        self.work.reset()
        self.set_timer(None)
        task, self._task = self._task, None
        if task is None:
            return []
        task.cancel()
        return [task]

    def ended(self, outcome: str) -> None:
        """The call is over: tell the agent, which may take `ENDS_WITHIN_S` to go."""
        self.set_timer(None)
        self.work.end.outcome = outcome
        if self._task is None:
            return
        if self.work.handling is not None and asyncio.current_task() is not self._task:
            self.work.handling.drop_prepared()
            self._interruption.raise_in(self._task)
        self.work.wake()
        asyncio.get_running_loop().call_later(ENDS_WITHIN_S, self._task.cancel)

    def stop_silent(self) -> None:
        """End the event in which the agent has done nothing for longer than it may, while a reply is due.

        Be it that the reply is due in a later one, or that it has not asked for any. While its voice loads, that is
        what is waited for.
        """
        work, handling, response = self.work, self.work.handling, self._call.response
        if response is None:
            return
        waited_s = (self._clock.wall_ms() - response.asked.started_at_ms) / 1000
        if self.agent.voice is not None and is_loading(self.agent.voice, waited_s):
            work.idle.begin()
        if work.idle.seconds < SILENT_S:
            return
        has_waited = waited_s >= SILENT_S
        is_due_now = handling is not None and response.event_number == handling.number
        if is_due_now or (response.event_number and has_waited):
            self._fail("silent", f"it did nothing for {SILENT_S:g} s")
            self.cancel()
            self.set_timer(work.ledger.earliest_timer_ms)
            self.deliver()

    def time_first_audio(self, events: Sequence[OutboxEntry]) -> None:
        """These events are visible now: if they are the first with audio of the response, say how long that took."""
        self.work.stages.visible(events)

    # --- the task ---------------------------------------------------------------

    async def _drive(self) -> None:
        """Run the agent until the call is over. Never raises but when it is cancelled."""
        work = self.work
        METER.set(self._meter)
        WORK.set(SpeechWork(self._call.call_id))
        WATCH.set(partial(Watched, watch=work.watch))
        while True:
            await work.wait_for_event()
            has_ended = work.end.outcome is not None
            view = work.view = AgentCall(work)
            work.idle.begin()
            try:
                await self._steps(self.agent.run(view))
                if work.end.outcome is None:
                    self._fail("returned", "it returned from `run` before the call had ended")
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 `_fail` logs it
                # The root of the agent's task: whatever it does wrong must not end the call, nor the pod.
                self._run_raised(error)
            if has_ended or work.end.is_told:
                return

    async def _steps(self, work: Awaitable[None]) -> None:
        """Raises `CancelledError` if the task was cancelled, whatever the agent made of that."""
        task = asyncio.current_task()
        try:
            await InterruptibleSteps(work, self.work.watch, self._interruption)
        except Exception as error:
            if self.work.end.outcome is None:  # Else it may have had its time.
                take_back_group_cancel(error)
            if self._is_wanted(task):
                raise
        if not self._is_wanted(task):
            raise asyncio.CancelledError

    def _is_wanted(self, task: asyncio.Task[None] | None) -> bool:
        """Whether this task is the call's, and nobody has cancelled it.

        A voice in it may have taken its cancellation for that of a group (`take_back_group_cancel`): a run that was
        cancelled ends all the same.
        """
        return task is not None and task is self._task and not task.cancelling()

    def _run_raised(self, error: BaseException) -> None:
        """What ended a run. Raises the cancellation of the agent's task."""
        if is_interruption(error) and self.work.handling is not None:
            self._end_interrupted(self.work.handling)
            return
        if isinstance(error, asyncio.CancelledError):
            if not self._is_wanted(asyncio.current_task()):
                raise error
            if self.work.end.outcome is None:
                self._fail("raised", "something it waited for was cancelled")
            return
        if isinstance(error, NoSpeech):
            self._fail("no_part", str(error))
        elif isinstance(error, VoiceFailed):
            self._fail(error.kind, str(error), error)
        elif isinstance(error, NoVoice):
            self._fail("raised", str(error), error)
        else:
            self._fail("raised", f"it raised {type(error).__name__}", error)

    def _end_interrupted(self, handling: Handling) -> None:
        """The agent did not handle its interruption, which ends the event. What it changed of its state is kept."""
        self.work.reset()
        state = None
        with suppress(TypeError, ValueError):
            state = handling.changed_state()
        self.work.feed(EventDone(handling.number, state))

    def _fail(self, kind: str, why: str, error: BaseException | None = None) -> None:
        """The event in hand ends without its agent; where there is none, the next one, so that each is tried once."""
        work, call = self.work, self._call
        handling = work.handling
        work.reset()
        first = work.ledger.first
        number = handling.number if handling is not None else first.number if first is not None else None
        self._observer.agent_fault(kind)
        log.error(
            "agent failed",
            agent=self.agent.name,
            call_id=call.call_id,
            event_number=number,
            kind=kind,
            reason=why,
            exc_info=error,
        )
        if number is not None:
            message = f"The agent {self.agent.name!r} failed to reply."
            work.feed(EventFailed(number, message, apology(settings_of(call).output_format)))
