"""A call in the hands of its owner: feeds the rules, carries out their effects.

Everything here runs on the event loop without waiting. What takes time are tasks that the effects start: one for a
response (`responder`), one for each transcription (`listening`). No task is made per frame.

Every input goes to `LiveCall.step`, which is `machine.step`, and nothing else changes the call. What is visible of it
comes later, from the committer by way of the call's writer: `push`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import assert_never

import structlog

from voice_agent.call import machine
from voice_agent.call.beginnings import Beginning
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.closing import CloseCode
from voice_agent.call.effects import (
    Attached,
    CloseConnection,
    CountLimit,
    DeliverEvents,
    Effect,
    InterruptAgent,
    ResetEndpointing,
    SetTimer,
    Skipped,
    SpeechStarted,
    SpeechStopped,
    StopTranscribing,
    Transcribe,
    Write,
)
from voice_agent.call.inputs import (
    AppendAudio,
    ConnectionLost,
    ConnectionMade,
    DrainAnnounced,
    EndCall,
    FromCaller,
    Input,
)
from voice_agent.call.machine import Step
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.kit.agent import Agent
from voice_agent.protocol.realtime import parse
from voice_agent.runtime.budget import Holder
from voice_agent.runtime.calls.call_memory import CallMemory
from voice_agent.runtime.calls.client_activity import ClientActivity
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.handoff import hand_off
from voice_agent.runtime.calls.listening import Listening
from voice_agent.runtime.calls.long_messages import receive_in_slices
from voice_agent.runtime.durability.call_writer import FENCED, CallWriter
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.engine.agent_run import AgentRun
from voice_agent.runtime.engine.frames import put_frame
from voice_agent.runtime.engine.metering import CallMeter
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.runtime.recordings import NoRecordings, Recordings

STOPS_WITHIN_S = 5.0
"""So long an agent may take to end once it is cancelled; a call that moves waits for it."""

log = structlog.get_logger(__name__)


class LiveCall:
    """One call of this pod, attached or parked."""

    def __init__(
        self,
        call: CallRecord,
        agent: Agent,
        committer: Committer,
        clock: Clock,
        observer: Observer,
        on_gone: Callable[[LiveCall], None],
        *,
        holder: Holder,
        max_audio_bytes: int,
    ) -> None:
        """`on_gone`: called once the call has ended or this pod has lost it. `max_audio_bytes`: of one message."""
        self.call = call
        self.connection: Connection | None = None
        """None while the call is parked."""
        self.writer = CallWriter(call, self, committer, clock, observer)
        self.memory = CallMemory(call, holder, observer, unsent_bytes=self._unsent_bytes)
        self.activity = ClientActivity(clock)
        self.listening, self.responder = _work_of(call, agent, self.feed, self.writer, clock, observer)
        self.step: Step = machine.step
        """How inputs come to the rules; by way of a recorder where they are recorded."""
        self._recordings: Recordings = NoRecordings()
        self._committer = committer
        self._clock = clock
        self._observer = observer
        self._on_gone = on_gone
        self._max_audio_bytes = max_audio_bytes
        self._is_over = False
        """Whether the end of the call has been counted."""

    def record(self, recordings: Recordings, beginning: Beginning) -> None:
        """Have all inputs recorded from now on; the call has just begun."""
        self._recordings = recordings
        self.step = recordings.record(self.call, beginning)

    # --- what happens to the call ---------------------------------------------

    def receive(self, message: str | bytes) -> None:
        """One message from the client, of ordinary length."""
        self.receive_event(parse(message, max_audio_bytes=self._max_audio_bytes))

    def receive_in_slices(self, message: str | bytes) -> Iterator[None]:
        """As `receive`, of a long message, or while the call holds more than it may: see `long_messages`."""
        return receive_in_slices(self, message, max_audio_bytes=self._max_audio_bytes)

    def receive_event(self, event: FromCaller) -> None:
        """Let a client event take effect; audio is listened to first.

        The path of every frame: endpointing is fed here, not in a method of `listening`. Between boundaries and
        pauses it is gathered (`HeldAudio`): to the rules it is the same in how many pieces it comes.
        """
        listening, call = self.listening, self.call
        if type(event) is AppendAudio and (event.event_id is None or not call.client_events.is_resent(event.event_id)):
            self._observer.frames.came += 1
            for tap in listening.taps:
                put_frame(tap, event.audio, call.session.input_format)
            if listening.endpointer is not None and len(event.audio) % call.session.input_format.sample_bytes == 0:
                boundaries = listening.endpointer.feed(event.audio)
                if (spoken_to := listening.endpointer.spoken_to) != listening.spoken_to:
                    # Before the rules learn of it: another pause, or the end, may be in the same piece.
                    listening.went_on(spoken_to)
                held = listening.held
                is_plain = not boundaries and event.event_id is None
                if is_plain and (most_bytes := held.most_bytes(listening.endpointer.pause_ms)):
                    held.audio += event.audio
                    if len(held.audio) < most_bytes:
                        return
                    event = AppendAudio(held.take())
                elif boundaries or held.audio:
                    # In one piece: were it two, and the rules made endpointing begin anew after the first, it would
                    # not hear the second.
                    event = AppendAudio(held.take() + event.audio, event.event_id, boundaries)
        self.feed(event)
        if listening.stream is not None:
            listening.stream.advance()
            if not listening.heeds_pauses:
                return
        if listening.endpointer is not None and call.input_audio.speaking:
            listening.note_pause(listening.endpointer.pause_ms)

    def feed(self, event: Input) -> None:
        """Let something happen: the rules decide, this object acts. Nothing happens to a call that this pod lost."""
        if self.writer.state is FENCED:
            return
        if self.listening.held.audio:
            self.listening.held.give()
        effects = self.step(self.call, event, self._clock.wall_ms())
        if self.call.has_changes:
            self._committer.mark(self.writer)
        for effect in effects:
            self._carry_out(effect)

    def apply(self, event: Input) -> list[Effect]:
        """See `call_writer.WrittenCall`."""
        return self.step(self.call, event, self._clock.wall_ms())

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case DeliverEvents():
                self.responder.deliver()
            case InterruptAgent(event_number):
                self.responder.interrupt(event_number)
            case SetTimer(when_ms):
                self.responder.set_timer(when_ms)
            case SpeechStarted(item_id):
                self.listening.speech_started(item_id)
            case SpeechStopped(turn_id):
                self.listening.speech_stopped(turn_id)
            case Transcribe(item_id, audio, said_bytes):
                self.listening.transcribe(item_id, audio, said_bytes)
            case StopTranscribing(item_id):
                self.listening.stop_transcribing(item_id)
            case ResetEndpointing():
                self.listening.restart()
            case CountLimit(limit):
                self._observer.limit_reached(limit)
            case CloseConnection(code, reason, outcome):
                self.finish(outcome, code, reason)
            case Attached() | Write() | Skipped():
                pass  # An answer; who asked for it has it from `apply`.
            case _:
                assert_never(effect)

    def resume_work(self) -> None:
        """On a call taken over from another pod: go on with its response, its transcriptions and its utterance."""
        for effect in machine.resume(self.call):
            self._carry_out(effect)
        self.responder.deliver()  # Also where no event waits: it is told of the end.
        self.listening.resume_utterance()

    async def stop_work(self) -> None:
        """Cancel the response and the transcriptions; what is durable of them can go on elsewhere.

        One that swallows its cancellation is left behind after `STOPS_WITHIN_S`: what it still yields is not taken.
        """
        tasks = [*self.responder.cancel(), *self.listening.cancel()]
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=STOPS_WITHIN_S)
            if stuck:
                log.warning("an agent does not stop", call_id=self.call.call_id, agent=self.responder.agent.name)

    def change_agent(self, agent: Agent) -> None:
        """Go on under another agent of the same name, as after a take-over.

        Nothing is taken of what the old one still does.
        """
        self.responder.cancel()
        self.listening.held.give()
        self.listening.cancel()
        work = _work_of(self.call, agent, self.feed, self.writer, self._clock, self._observer)
        self.listening, self.responder = work
        self.resume_work()

    # --- connections ------------------------------------------------------------

    def attach(self, connection: Connection, last_event: int | None) -> Attached:
        """Give the call to a new connection; an older one is closed with 4409."""
        if self.connection is not None:
            self.connection.close(CloseCode.ATTACHED_ELSEWHERE, at_once=True)
        self.connection = connection
        self.activity.attached()
        self.listening.held.give()  # So that it is taken back, too, if the client is to send it again.
        [attached] = self.apply(ConnectionMade(last_event, connection.resumable, connection.client.received))
        assert isinstance(attached, Attached)
        if attached.rewound:
            self.listening.restart()
        self.responder.deliver()
        connection.push(attached.replay)
        self._committer.mark(self.writer)
        return attached

    def detach(self, connection: Connection, *, hung_up: bool, planned: bool) -> None:
        """A connection is gone. One that was replaced meanwhile no longer matters."""
        if self.connection is not connection:
            return
        self.connection = None
        self.feed(ConnectionLost(hung_up, planned))
        if self.call.lifecycle.status is Status.ENDED:
            self._over("hangup")

    def push(self, events: list[OutboxEntry]) -> None:
        """Events that the client may see from now on: send them, if it has a connection."""
        if self.connection is not None:
            self.connection.push(events)
            if self.connection.receipts is not None and self.writer.saved is not None:
                self.connection.receipts.saved(self.writer.saved, counts_in=self.call.session.input_format)
            self.responder.time_first_audio(events)

    def _unsent_bytes(self) -> int:
        return (self.connection.unsent_bytes if self.connection is not None else 0) + self.responder.prepared_bytes

    def warn_of_drain(self, time_left_ms: int) -> None:
        """Tell a client that asked for it that its connection will be closed."""
        if self.connection is not None and self.connection.client.going_away and self.connection.closing is None:
            self.feed(DrainAnnounced(time_left_ms))

    async def hand_off(self, *, force: bool = False, to: str = "") -> bool:
        """See `handoff.hand_off`."""
        return await hand_off(self, self._committer, force=force, to=to)

    # --- the end ----------------------------------------------------------------

    def finish(self, outcome: str, code: int = CloseCode.CALL_ENDED, reason: str = "") -> None:
        """End the call from this side and close its connection once all events have been sent."""
        self.feed(EndCall(outcome))
        self._over(outcome)
        connection = self.connection
        if connection is not None:
            code = CloseCode.CALL_TIMED_OUT if outcome == "timeout" else code
            connection.close_after(partial(self._committer.flush, self.writer), code, reason)

    def _over(self, outcome: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.listening.cancel()
        self.responder.ended(outcome)
        self._observer.call_ended(outcome)
        self.memory.release()
        self._on_gone(self)

    def drop(self, code: int, *, outcome: str = "") -> None:
        """See `call_writer.WrittenCall`."""
        if outcome and not self._is_over:
            self._is_over = True
            self._observer.call_ended(outcome)
        if outcome:
            self._recordings.erase(self.call.call_id)
        self.responder.cancel()
        self.listening.cancel()
        if self.connection is not None:
            self.connection.close(code, at_once=True)
        self.memory.release()
        self._on_gone(self)


def _work_of(
    call: CallRecord,
    agent: Agent,
    feed: Callable[[Input], None],
    writer: CallWriter,
    clock: Clock,
    observer: Observer,
) -> tuple[Listening, AgentRun]:
    """What listens to the client, and what has the agent answer."""
    meter = CallMeter(call, feed, writer)
    listening = Listening(call, agent, feed, clock, observer, meter.without_responses())
    responder = AgentRun(call, agent, feed, writer, clock, observer)
    listening.taps, listening.hearing = responder.live.taps, responder.live.hearing
    return listening, responder
