"""Asking the agent for a reply and handing on what it yields.

An agent's fault ends its response and nothing else: it is named in the log, and the client gets an apology.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Protocol, assert_never

import structlog

from voice_agent.agents.base import (
    Audio,
    FunctionCall,
    HangUp,
    Plan,
    Progress,
    ResponsePart,
    RunOnce,
    SideEffect,
    Text,
    Turn,
    TurnAgent,
)
from voice_agent.call.inputs import (
    Input,
    ResponseDiverged,
    ResponseFailed,
    ResponseFinished,
    ResponseFunctionCall,
    ResponsePlanned,
    ResponseText,
    SideEffectBegun,
    SideEffectDone,
)
from voice_agent.call.record import CallRecord
from voice_agent.call.response_items import settings_of
from voice_agent.kit.clip import Clip
from voice_agent.runtime.calls.parts import NoResponsePart, checked, json_of
from voice_agent.runtime.calls.replay import Replay
from voice_agent.runtime.engine.agent_steps import StepWatch, Watched, result_of
from voice_agent.runtime.engine.apology import apology
from voice_agent.runtime.engine.audio_pacer import AudioPacer
from voice_agent.runtime.ports import Clock, Observer

SILENT_S = 30.0
"""So long an agent may take to its next part: a caller who hears nothing for longer has hung up. What it does in the
world (`Turn.once`) counts."""

_END: Any = object()

log = structlog.get_logger(__name__)


class ResponseHost(Protocol):
    """Where a reply is performed: the live call."""

    call: CallRecord

    def feed(self, event: Input) -> None:
        """Let something happen to the call."""

    async def wait_for_capacity(self) -> None:
        """Wait while too much of the call is not durable yet."""

    async def wait_durable(self) -> None:
        """Wait until all that happened so far is durable, or the store is given up for now."""


def turn_of(call: CallRecord, clip: Clip | None, once: RunOnce) -> Turn:
    """Everything the agent may know for the reply under way."""
    response = call.response
    assert response is not None
    settings = settings_of(call)
    return Turn(
        call_id=call.call_id,
        response_id=response.response_id,
        instructions=settings.instructions,
        voice=settings.voice,
        speed=call.session.fields["audio"]["output"]["speed"],
        wants_audio=settings.wants_audio,
        tools=settings.tools,
        tool_choice=settings.tool_choice,
        parallel_tool_calls=settings.parallel_tool_calls,
        max_output_tokens=None if settings.max_output_tokens == "inf" else int(settings.max_output_tokens),
        truncation=settings.truncation,
        metadata=settings.metadata or {},
        items=_conversation_of(call) if settings.input_items is None else settings.input_items,
        clip=clip,
        now_ms=response.asked.started_at_ms,
        state=call.dialogue.agent_state,
        failed_to=call.dialogue.failed_up_to,
        was_cut=response.asked.cut,
        progress=Progress(response.plan, response.said.text, response.said.audio_bytes, response.functions_called),
        once=once,
    )


def _conversation_of(call: CallRecord) -> Sequence[Mapping[str, Any]]:
    """What had been said when the reply was asked for; on every pod the same, without what the reply says itself."""
    assert call.response is not None
    return call.conversation.items(to_rank=call.response.asked.items_up_to)


class ResponseRun:
    """A reply as its agent makes it: fed to the call part by part, until it is over or cancelled."""

    def __init__(self, host: ResponseHost, agent: TurnAgent, clock: Clock, observer: Observer) -> None:
        call = self._call = host.call
        response = call.response
        assert response is not None
        self._host = host
        self._agent = agent
        self._clock = clock
        self._observer = observer
        self._response_id = response.response_id
        self._watch = StepWatch(agent.name, call.call_id, clock, observer)
        self._waits_since_s: float | None = None
        """Since when a part is due from the agent."""
        self._decided_s = self._started_s = clock.monotonic_s()
        self._has_spoken = self._hangs_up = self._told_of_difference = False

    @property
    def is_silent(self) -> bool:
        """Whether the agent has kept the caller waiting for too long."""
        since_s = self._waits_since_s
        return since_s is not None and self._clock.monotonic_s() - since_s >= SILENT_S

    def give_up(self) -> None:
        """The agent is silent: end the reply without it."""
        self._failed("silent", f"it yielded nothing for {SILENT_S:g} s")

    async def run(self) -> None:
        """Have the reply made. Never raises but when it is cancelled."""
        parts: AsyncIterator[ResponsePart] | None = None
        try:
            parts = self._agent.reply(self._begin())
            while (part := await self._next(parts)) is not _END:
                await self._take(checked(part))
                await self._host.wait_for_capacity()
                # An agent that yields without ever waiting leaves the others their turn.
                await asyncio.sleep(0)
            await self._finish()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed("raised", "something it waited for was cancelled")
        except NoResponsePart as error:
            self._failed("no_part", str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 `_failed` logs it
            # The root of the reply's task: whatever an agent does wrong must not end the call, nor the pod.
            self._failed("raised", f"{type(error).__name__}: {error}", error)
        finally:
            await self._close(parts)

    def _begin(self) -> Turn:
        """Not done by the constructor: what is odd about the agent, or in the record, is to end as an apology."""
        call, agent = self._call, self._agent
        response = call.response
        assert response is not None
        target = settings_of(call).output_format
        speaks = settings_of(call).wants_audio and call.session.voice_locked
        self._replay = Replay(response, target, replays=agent.replays, speaks=speaks)
        self._speech = AudioPacer(
            self._host, response, target, self._replay, self._clock, lead_ms=agent.lead_ms, goes_on=not agent.replays
        )
        self._speech.on_piece = self._piece_begins
        clip = Clip(call.clips.answered.audio, call.session.input_format) if call.clips.answered else None
        return turn_of(call, clip, _SideEffects(self._host, response.response_id))

    async def _next(self, parts: AsyncIterator[ResponsePart]) -> ResponsePart:
        self._waits_since_s = self._clock.monotonic_s()
        try:
            return await result_of(anext(parts, _END), self._watch)
        finally:
            self._waits_since_s = None

    async def _close(self, parts: AsyncIterator[ResponsePart] | None) -> None:
        if isinstance(parts, Coroutine):
            parts.close()  # It was to be a generator, and yields nothing: it is never waited for.
        close = getattr(parts, "aclose", None)
        if close is None:
            return
        try:
            await Watched(close(), self._watch)
        except Exception:
            # The agent's way of tidying up; the reply is over.
            log.exception("agent raised at the end of a reply", call_id=self._call.call_id, agent=self._agent.name)

    async def _take(self, part: ResponsePart) -> None:
        feed, response_id = self._host.feed, self._response_id
        match part:
            case Plan(plan, state):
                feed(ResponsePlanned(response_id, dict(plan), dict(state)))
                self._decided_s = self._clock.monotonic_s()
                self._observer.turn_stage("think", self._decided_s - self._started_s)
            case Text(delta):
                await self._speech.begin(delta)
                new = self._replay.text(delta)
                self._compare()
                if new:
                    feed(ResponseText(response_id, new, joins=self._replay.begins_at(0) is not None))
            case Audio(audio, audio_format, words):
                if not self._has_spoken:
                    self._has_spoken = True
                    self._observer.turn_stage("tts", self._clock.monotonic_s() - self._decided_s)
                await self._speech.write(audio, audio_format, words)
            case FunctionCall(name, arguments):
                await self._speech.begin_item()
                if self._replay.is_new_call():
                    feed(ResponseFunctionCall(response_id, name, arguments))
            case HangUp():
                self._hangs_up = True
            case _:
                assert_never(part)

    async def _finish(self) -> None:
        await self._speech.finish()
        self._replay.end()
        self._compare()
        if self._hangs_up:
            await self._wait_played()
        self._host.feed(ResponseFinished(self._response_id, self._hangs_up))

    async def _wait_played(self) -> None:
        """Wait until the caller has heard everything, also of what another pod sent before it lost the call."""
        while (left_ms := self._call.dialogue.playing_until_ms - self._clock.wall_ms()) > 0:
            await self._clock.sleep(left_ms / 1000)

    # --- what goes wrong -------------------------------------------------------

    def _compare(self) -> None:
        """Tell once that the reply, made again, is another; its text goes on in an item of its own."""
        if self._replay.differs == "text" and not self._told_of_difference:
            self._tell_of_difference()
            self._host.feed(ResponseDiverged(self._response_id))

    def _piece_begins(self, from_chars: int) -> None:
        """Let the call know what text the audio says that comes now, where that is not the rest of what it said."""
        at, response = self._replay.begins_at(from_chars), self._call.response
        if at is None or response is None:
            return
        is_other = self._replay.differs == "audio" and not self._told_of_difference
        if is_other:
            self._tell_of_difference()
        if is_other or at != response.said.piece.text_from:
            self._host.feed(ResponseDiverged(self._response_id, at))

    def _tell_of_difference(self) -> None:
        self._told_of_difference = True
        self._observer.agent_fault(f"other_{self._replay.differs}")
        log.warning(
            "a reply that was made again is not what was said of it",
            agent=self._agent.name,
            call_id=self._call.call_id,
            response_id=self._response_id,
            differs=self._replay.differs,
        )

    def _failed(self, kind: str, why: str, error: BaseException | None = None) -> None:
        response = self._call.response
        if response is None or response.response_id != self._response_id:
            return
        self._observer.agent_fault(kind)
        log.error(
            "agent failed to reply",
            agent=self._agent.name,
            call_id=self._call.call_id,
            response_id=self._response_id,
            kind=kind,
            reason=why,
            exc_info=error,
        )
        message = f"The agent {self._agent.name!r} failed to reply."
        self._host.feed(ResponseFailed(self._response_id, message, apology(settings_of(self._call).output_format)))


class _SideEffects:
    """`Turn.once`: side effects under keys that outlive the pod."""

    def __init__(self, host: ResponseHost, response_id: str) -> None:
        self._host = host
        self._response_id = response_id
        self._begun = 0

    async def __call__(self, name: str, run: SideEffect) -> Any:
        host, number = self._host, self._begun
        self._begun += 1
        response = host.call.response
        if response is None or response.response_id != self._response_id:
            raise asyncio.CancelledError
        if number == len(response.side_effects):
            host.feed(SideEffectBegun(self._response_id, name))
            await host.wait_durable()
        step = response.side_effects[number]
        if step["name"] != name:
            raise ValueError(f"step {number} of the reply was {step['name']!r}, now it is {name!r}")
        if "result" not in step:
            result = json_of(await run(step["key"]), "result of a side effect")
            host.feed(SideEffectDone(self._response_id, number, result))
        return step["result"]
