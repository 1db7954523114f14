"""A call in the hands of its owner: feeds the machine, carries out its effects.

Everything here runs on the event loop without waiting, but for the tasks that the
effects start: one per reply, one per transcription. No task is made per frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, assert_never

import structlog

from voice_agent.agents.base import Agent, Clip
from voice_agent.call import machine
from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.closing import CloseCode
from voice_agent.call.effects import (
    CloseConnection,
    CountLimit,
    Effect,
    LetOut,
    ResetEndpointing,
    StartResponse,
    StopResponse,
    StopTranscribing,
    Transcribe,
)
from voice_agent.call.inputs import (
    AppendAudio,
    AudioStopped,
    ConnectionLost,
    DrainAnnounced,
    EndCall,
    FromCaller,
    HandoffPlanned,
    Input,
    Transcribed,
)
from voice_agent.call.machine import Attached
from voice_agent.call.memory_pressure import apply_memory_pressure
from voice_agent.call.record import Call, Status
from voice_agent.call.writes import skip_write, take_write
from voice_agent.errors import ProtocolError
from voice_agent.protocol.realtime import parse
from voice_agent.runtime.budget import Holder
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.early_transcription import EARLY_PAUSE_MS, EarlyTranscription
from voice_agent.runtime.calls.long_messages import take_slowly
from voice_agent.runtime.calls.responding import ResponseRun
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.speech.endpointing import Endpointer

MAX_UNSAVED_EVENTS = 256
MAX_UNSAVED_BYTES = 1024 * 1024
"""Beyond either a caller or an agent has to wait for the store: so much, and one message, is what one call adds to a
round of writes, and a caller who makes it large takes nobody else's time away."""
MAX_EARLY_BYTES = 1024 * 1024
"""Of an utterance that is recognised before it is surely over, 21 s of PCM: a longer one, recognised from its start in
each of its pauses, would be worked on as often as it has pauses."""
MUTED_S = 2.0
"""So long without a message in the middle of an utterance is silence: a client that is muted, or that sends nothing
while nobody speaks (DTX), sends no silence to hear. Longer than what a mobile network swallows now and then."""
MODEST_BYTES = 1024 * 1024
"""What a call may always hold, twenty seconds of PCM, so that no other caller of its key, or of a pod without keys, can
make it deaf by taking all there is."""
SETTLE_MS = 3000
"""How much of an utterance endpointing hears before it knows the noise around it."""
TRANSCRIPTION_LIMIT_S = 30.0
LAST_FLUSH_S = 0.5
STOPS_WITHIN_S = 5.0
"""So long an agent may take to end once it is cancelled; a call that moves waits for it."""

log = structlog.get_logger(__name__)


class LiveCall:
    """One call of this pod, attached or parked."""

    def __init__(
        self,
        call: Call,
        agent: Agent,
        committer: Committer,
        clock: Clock,
        observer: Observer,
        on_gone: Callable[[LiveCall], None],
        *,
        holder: Holder,
        max_audio_bytes: int,
    ) -> None:
        self.call = call
        self.holder = holder
        """What of the pod's budget this call takes; released when the call is gone."""
        self.is_over_budget = False
        """Whether what makes the pod hold more is refused."""
        self.taking_bytes = 0
        self.connection: Connection | None = None
        self.is_fenced = False
        self.key_kept_at_s = clock.monotonic_s()
        """When the call key was bound last."""
        self.in_doubt = False
        """The connection was given the call while the store could not be asked; another pod may own it."""
        self.committed_at_s = clock.monotonic_s()
        self.heard_from_at_s = clock.monotonic_s()
        """As of the last look; see `was_heard`."""
        self.was_heard = False
        """Whether the caller has sent anything since somebody looked: cheaper than the time of every frame."""
        self.attached_at_s = clock.monotonic_s()
        self._agent = agent
        self._committer = committer
        self._clock = clock
        self._observer = observer
        self._frames = observer.frames
        self._on_gone = on_gone
        self._max_audio_bytes = max_audio_bytes
        self._held = False
        self._is_over = False
        self._reply: asyncio.Task[None] | None = None
        self._response_run: ResponseRun | None = None
        """What that task does, once the caller's words are known."""
        self._understanding = EarlyTranscription(agent, clock, observer, call.call_id)
        self._transcribing: dict[str, asyncio.Task[None]] = {}
        self._durable = asyncio.Event()
        self._endpointer: Endpointer | None = None
        self._speech_ended_at_s: float | None = None
        self._listen_afresh()

    # --- what happens to the call -------------------------------------------

    def receive(self, message: str | bytes) -> None:
        """One message from the caller, of ordinary length."""
        self.hear(parse(message, max_audio_bytes=self._max_audio_bytes))

    def take_slowly(self, message: str | bytes) -> Iterator[None]:
        """As `receive`, of a long message, or while the call holds more than it may: see `long_messages`."""
        return take_slowly(self, message, max_audio_bytes=self._max_audio_bytes)

    def hear(self, event: FromCaller) -> None:
        """Let something take effect that the caller sent, and listen to it if it is audio."""
        if type(event) is AppendAudio:
            if self.call.reserved and self._let_out(event):
                return
            if event.event_id is not None and self.call.recognises(event.event_id):
                return
            self._frames.came += 1
            if self._endpointer is not None and len(event.audio) % self.call.input_format.sample_bytes == 0:
                boundaries = self._endpointer.feed(event.audio)
                if boundaries:
                    event = AppendAudio(event.audio, event.event_id, boundaries)
        self.feed(event)
        if self._endpointer is not None and self.call.input_audio.speaking:
            self._listen_ahead(self._endpointer.pause_ms)

    def _let_out(self, frame: AppendAudio) -> bool:
        """Send a mirrored frame straight back, if that may be done unsaved; see `machine.let_out`."""
        connection = self.connection
        if connection is None or self.is_fenced or (event := machine.let_out(self.call, frame)) is None:
            return False
        self._frames.came += 1
        connection.push_one(event)
        if self.call.dirty:
            self._committer.mark(self)
        return True

    def _listen_ahead(self, pause_ms: int) -> None:
        """In a pause that may be the end of the turn, start to understand it."""
        buffer = self.call.input_audio
        if pause_ms < EARLY_PAUSE_MS:
            self._understanding.forget()
        elif buffer.item_id is not None and not self._understanding.is_early and len(buffer.audio) <= MAX_EARLY_BYTES:
            self._understanding.begin(buffer.item_id, Clip(bytes(buffer.audio), self.call.input_format))

    def feed(self, event: Input) -> None:
        """Let something happen: the machine decides, this object does."""
        if self.is_fenced:
            return
        effects = machine.step(self.call, event, self._clock.wall_ms())
        if self.call.has_changes:
            self._committer.mark(self)
        for effect in effects:
            self._carry_out(effect)

    def start_what_was_under_way(self) -> None:
        """On a call taken over from another pod: go on with its reply, its transcriptions and its utterance."""
        for effect in machine.resume(self.call):
            self._carry_out(effect)

        self._hear_again()

    def _hear_again(self) -> None:
        """Listen to the end of what was saved of an utterance, for the pause that may end it could have begun there."""
        heard, listening = self.call.input_audio, self.call.listening
        if self._endpointer is None or not heard.speaking or listening is None:
            return
        size = self.call.input_format.size(listening.silence_duration_ms + SETTLE_MS)
        said = bytes(heard.audio[-size:])
        self._listen_afresh(at_bytes=heard.position - len(said))
        boundaries = self._endpointer.feed(said)
        if boundaries and not boundaries[-1].started:
            self.feed(AppendAudio(b"", None, boundaries[-1:]))

    @property
    def is_backlogged(self) -> bool:
        """Whether too much is not durable yet, in bytes or in events."""
        call = self.call
        unsaved_bytes = call.unsaved_bytes + call.conversation.unsaved_bytes
        is_much = unsaved_bytes > MAX_UNSAVED_BYTES or len(call.unsaved_events) > MAX_UNSAVED_EVENTS
        return is_much and not self.is_fenced

    async def wait_for_capacity(self) -> None:
        """Wait while too much is not durable yet."""
        if self.is_backlogged:
            self._observer.limit_reached("unsaved_bytes")
        while self.is_backlogged:
            self._durable.clear()
            self._committer.mark(self)
            await self._durable.wait()

    async def wait_durable(self) -> None:
        """Wait until all that happened so far is durable, or the store is given up for now."""
        while True:
            await self._committer.flush(self)
            if not self._held or self.is_fenced:
                return
            self._durable.clear()
            await self._durable.wait()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case LetOut(event):
                if self.connection is not None:
                    self.connection.push_one(event)
            case StartResponse():
                self._speech_ended_at_s = self._clock.monotonic_s()
                self._reply = self._start(self._run_when_transcribed())
            case StopResponse():
                self._stop_response()
            case Transcribe(item_id, audio):
                clip = Clip(audio, self.call.input_format)
                self._transcribing[item_id] = self._start(self._transcribe(item_id, clip))
            case StopTranscribing(item_id):
                if (task := self._transcribing.pop(item_id, None)) is not None:
                    task.cancel()
            case ResetEndpointing():
                self._listen_afresh()
            case CountLimit(limit):
                self._observer.limit_reached(limit)
            case CloseConnection(code, reason):
                self.finish("agent", code, reason)
            case _:
                assert_never(effect)

    def _stop_response(self) -> None:
        if self._reply is not None:
            self._reply.cancel()
        self._reply = self._response_run = None

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=self.call.call_id)

    def _listen_afresh(self, *, at_bytes: int | None = None) -> None:
        call = self.call
        detection = call.listening
        if detection is None or call.mirror:
            self._endpointer = None
            return
        buffer = call.input_audio
        at_bytes = buffer.position if at_bytes is None else at_bytes
        self._endpointer = Endpointer(
            call.input_format,
            threshold=detection.threshold,
            prefix_padding_ms=detection.prefix_padding_ms,
            silence_duration_ms=detection.silence_duration_ms,
            speaking=buffer.speaking,
            spoken_bytes=at_bytes - buffer.start,
            at_bytes=at_bytes,
        )

    async def _run_when_transcribed(self) -> None:
        if self._transcribing:
            await asyncio.wait(self._transcribing.values(), timeout=TRANSCRIPTION_LIMIT_S)
        if self.call.response is not None:
            self._response_run = ResponseRun(self, self._agent, self._clock, self._observer)
            await self._response_run.run()

    async def _transcribe(self, item_id: str, clip: Clip) -> None:
        try:
            async with asyncio.timeout(TRANSCRIPTION_LIMIT_S):
                text = await self._understanding.text_of(item_id, clip)
        except TimeoutError:
            log.warning("transcription took too long", call_id=self.call.call_id, item_id=item_id)
            text = None
        finally:
            # An item of the same id may have been made since.
            if self._transcribing.get(item_id) is asyncio.current_task():
                del self._transcribing[item_id]
        if not self._is_over:
            self.feed(Transcribed(item_id, text))

    def notice_silent_agent(self) -> None:
        """Whoever waits for an answer waits no longer than an agent may take."""
        if self._response_run is not None and self._response_run.is_silent:
            self._response_run.give_up()
            self._stop_response()

    def notice_silence(self, silent_s: float) -> None:
        """Nothing has come for so long: if that was in an utterance, and the caller is there, the utterance is over.

        A network that swallows some seconds is silent, too. So the caller is asked for a sign of life, which comes
        behind all audio that was sent before it.
        """
        connection = self.connection
        if not self.call.input_audio.speaking or silent_s < MUTED_S or connection is None:
            return
        if not connection.reading_paused and not self.is_backlogged:
            heard_from_at_s = self.heard_from_at_s
            connection.probe(lambda: self._caller_is_there(connection, heard_from_at_s))

    @property
    def has_said_nothing(self) -> bool:
        """Whether no message has come since the upgrade of the present connection."""
        return not self.was_heard and self.heard_from_at_s == self.attached_at_s

    def _caller_is_there(self, connection: Connection, heard_from_at_s: float) -> None:
        has_come = self.was_heard or self.heard_from_at_s != heard_from_at_s
        if self.connection is connection and connection.closing is None and not has_come:
            self.feed(AudioStopped())

    # --- what it takes of the pod's memory ------------------------------------

    @property
    def held_bytes(self) -> int:
        """What this call makes the pod hold, beside the outbox."""
        call = self.call
        audio_bytes = (
            kept_audio_bytes(call) + sum(len(entry.audio) for entry in call.unsaved_speech) + self.taking_bytes
        )
        unsent_bytes = self.connection.unsent_bytes if self.connection is not None else 0
        return audio_bytes + call.conversation.held_bytes + call.unsaved_bytes + call.session_bytes + unsent_bytes

    def weigh(self, more_bytes: int) -> ProtocolError | None:
        """What is wrong with holding so many bytes more; None: nothing, and they count from now on."""
        if self._is_over or self.is_fenced:
            return None
        size_bytes = self.held_bytes + more_bytes
        if size_bytes <= MODEST_BYTES:
            self.holder.force(size_bytes)
            return None
        if self.holder.resize(size_bytes):
            return None
        self._observer.limit_reached("caller_bytes")
        budget = self.holder.budget
        return ProtocolError(
            f"Not taken: with {more_bytes} bytes more, what this API key's callers hold in the server's memory would "
            f"exceed {min(budget.key_bytes, budget.limit_bytes)} bytes, or what all callers hold {budget.limit_bytes}.",
            code="server_memory_budget",
        )

    def weigh_again(self) -> None:
        """Count what is held by now, whether or not there is room for it; until there is, nothing more is taken."""
        if not self._is_over and not self.is_fenced:
            self.holder.force(self.held_bytes)
            self.is_over_budget = self.holder.size_bytes > MODEST_BYTES and not self.holder.may_grow

    # --- connections ----------------------------------------------------------

    def attach(self, connection: Connection, last_event: int | None) -> Attached:
        """Give the call to a new connection; an older one is closed with 4409."""
        if self.connection is not None:
            self.connection.close(CloseCode.ATTACHED_ELSEWHERE, at_once=True)
        self.connection = connection
        self.heard_from_at_s = self.attached_at_s = self._clock.monotonic_s()
        attached = machine.attach(self.call, last_event, self._clock.wall_ms(), resumable=connection.resumable)
        if attached.rewound:
            self._listen_afresh()
        connection.push(attached.replay)
        self._committer.mark(self)
        return attached

    def detach(self, connection: Connection, *, hung_up: bool, planned: bool) -> None:
        """A connection is gone. One that was replaced meanwhile no longer matters."""
        if self.connection is not connection:
            return
        self.connection = None
        self.feed(ConnectionLost(hung_up, planned))
        if self.call.status is Status.ENDED:
            self._over("hangup")

    def warn_of_drain(self, time_left_ms: int) -> None:
        """Tell a client that asked for it that its connection will be closed."""
        if self.connection is not None and self.connection.going_away and self.connection.closing is None:
            self.feed(DrainAnnounced(time_left_ms))

    def finish(self, outcome: str, code: int = CloseCode.CALL_ENDED, reason: str = "") -> None:
        """End the call from this side and close its connection once all events have been sent."""
        self.feed(EndCall(outcome))
        self._over(outcome)
        connection = self.connection
        if connection is not None:
            code = CloseCode.CALL_TIMED_OUT if outcome == "timeout" else code
            self._start(self._close_when_sent(connection, code, reason))

    async def hand_off(self, *, whatever_is_lost: bool = False) -> None:
        """Close the connection with 1012 so that the client comes back on another pod.

        Nothing happens while the store lacks something of the call, for then another pod would know less
        than this one; with `whatever_is_lost` it happens all the same.
        """
        connection = self.connection
        if connection is None:
            return
        with suppress(TimeoutError):
            # Past its deadline a drain waits for nobody, not even for a store that hangs.
            async with asyncio.timeout(LAST_FLUSH_S if whatever_is_lost else None):
                await self._save_for_handoff(connection)
        if whatever_is_lost or not self._committer.lacks(self):
            connection.close(CloseCode.SERVICE_RESTART)
        connection.resume_reading()

    async def _save_for_handoff(self, connection: Connection) -> None:
        self.feed(HandoffPlanned())
        await self._committer.flush(self)
        if self.connection is connection and (self._committer.has_pending(self) or not machine.is_saved(self.call)):
            # The caller spoke on while that was written; what comes from now on is sent again to the next owner.
            connection.pause_reading()
            self.feed(HandoffPlanned())
            await self._committer.flush(self)

    async def _close_when_sent(self, connection: Connection, code: int, reason: str) -> None:
        await self._committer.flush(self)
        connection.close(code, reason)

    async def stop_work(self) -> None:
        """Cancel the reply and the transcriptions; what is durable of them can go on elsewhere.

        One that swallows its cancellation is left behind after `STOPS_WITHIN_S`: what it still says is not taken.
        """
        self._understanding.forget()
        tasks = [task for task in (self._reply, *self._transcribing.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=STOPS_WITHIN_S)
            if stuck:
                log.warning("an agent does not stop", call_id=self.call.call_id, agent=self._agent.name)

    def _over(self, outcome: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._understanding.forget()
        for task in self._transcribing.values():
            task.cancel()
        self._observer.call_ended(outcome)
        self.holder.release()
        self._on_gone(self)

    # --- the committer's side ---------------------------------------------------

    @property
    def writes_paused(self) -> bool:
        """Whether somebody is about to take the call up again."""
        return self._held

    async def pause_writes(self) -> None:
        """Write what changed, then let no new write start: the epoch is about to change."""
        await self._committer.flush(self)
        self._held = True
        await self._committer.settle(self)

    def resume_writes(self) -> None:
        """Writes may start again."""
        self._held = False
        self._committer.mark(self)

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """See `committer.Writer`."""
        if self._held or self.is_fenced:
            return None
        memory = self._committer.memory
        if memory.is_scarce or memory.is_nearly_full or self.call.under_memory_pressure or not self.call.keeps_turns:
            apply_memory_pressure(self.call, is_scarce=memory.is_scarce, is_nearly_full=memory.is_nearly_full)
        waiting = self.call.unsaved_events
        return take_write(self.call, self._clock.wall_ms()), waiting

    @property
    def has_ended(self) -> bool:
        """See `committer.Writer`."""
        return self.call.status is Status.ENDED

    def question(self) -> CallWrite | None:
        """See `committer.Writer`."""
        if self._held or self.is_fenced:
            return None
        call = self.call
        return CallWrite(call.call_id, call.epoch, claim=call.claim, doubted=call.doubted_claim)

    def release_unsaved(self) -> None:
        """See `committer.Writer`."""
        if not self._held and not self.is_fenced:
            self.committed(skip_write(self.call))

    def committed(self, events: list[OutboxEntry]) -> None:
        """See `committer.Writer`."""
        self.committed_at_s = self._clock.monotonic_s()
        self.in_doubt = self.in_doubt and self._committer.degraded
        self._durable.set()
        events = events + machine.release(self.call, events)
        if self.connection is not None:
            self.connection.push(events)
            if self._speech_ended_at_s is not None and any(entry.audio for entry in events):
                self._observer.turn_stage("first_audio", self._clock.monotonic_s() - self._speech_ended_at_s)
                self._speech_ended_at_s = None

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        """See `committer.Writer`."""
        self.call.write_whole = True
        self.call.requeue_events(waiting)

    def unwritable(self) -> None:
        """See `committer.Writer`: a fault of ours. The store keeps the last good state, which can be resumed."""
        self._observer.call_dropped("error")
        self._drop_locally(CloseCode.INTERNAL_ERROR)

    def superseded(self) -> None:
        """See `committer.Writer`: another pod owns the call now."""
        if not self.is_fenced:
            log.info("call taken over elsewhere", call_id=self.call.call_id, epoch=self.call.epoch)
            # A caller who came back in doubt has no other connection: the owner is to be found with a resume.
            self._drop_locally(CloseCode.SERVICE_RESTART if self.in_doubt else CloseCode.ATTACHED_ELSEWHERE)

    def erased(self) -> None:
        """See `committer.Writer`."""
        if self.is_fenced:
            return
        log.info("call erased by an administrator", call_id=self.call.call_id)
        if not self._is_over:
            self._is_over = True
            self._observer.call_ended("admin")
        self._drop_locally(CloseCode.CALL_ENDED)

    def _drop_locally(self, code: int) -> None:
        self.is_fenced = True
        self._durable.set()
        if self._reply is not None:
            self._reply.cancel()
        self._understanding.forget()
        for task in self._transcribing.values():
            task.cancel()
        if self.connection is not None:
            self.connection.close(code, at_once=True)
        self.holder.release()
        self._on_gone(self)
