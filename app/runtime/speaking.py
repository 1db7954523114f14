"""Asking the agent for a reply and handing it on at the pace of speech.

Audio is cut into chunks of 100 ms and let out at most the agent's `lead_ms` ahead of
real time: so the server knows roughly what the caller has heard when barge-in cuts the
reply, and a pod that dies has not sent what nobody has listened to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, assert_never

import structlog

from app.agents.base import Agent, Audio, Clip, Deed, FunctionCall, HangUp, Once, Plan, Progress, Text, Turn
from app.call.alignment import Alignment
from app.call.audio import AudioFormat, Converter
from app.call.inputs import (
    Input,
    ReplyAudio,
    ReplyFailed,
    ReplyFinished,
    ReplyFunctionCall,
    ReplyPlanned,
    ReplyStepBegun,
    ReplyStepDone,
    ReplyText,
)
from app.call.record import Call
from app.call.replying import settings_of
from app.runtime.ports import Clock, Observer

CHUNK_MS = 100
PIECE_BYTES = 24 * 1024
"""Of an agent's audio: what is converted in one turn of the event loop, a millisecond's work."""

log = structlog.get_logger(__name__)


class Stage(Protocol):
    """Where a reply is performed: the live call."""

    call: Call

    def feed(self, happened: Input) -> None:
        """Let something happen to the call."""

    async def wait_for_capacity(self) -> None:
        """Wait while too much of the call is not durable yet."""

    async def durable(self) -> None:
        """Wait until all that happened so far is durable, or the store is given up for now."""


def turn_of(call: Call, clip: Clip | None, once: Once) -> Turn:
    """Everything the agent may know for the reply under way."""
    reply = call.reply
    assert reply is not None
    settings = settings_of(call)
    return Turn(
        call_id=call.call_id,
        response_id=reply.response_id,
        instructions=settings.instructions,
        voice=settings.voice,
        speed=call.session["audio"]["output"]["speed"],
        wants_audio=settings.wants_audio,
        tools=settings.tools,
        tool_choice=settings.tool_choice,
        parallel_tool_calls=settings.parallel_tool_calls,
        max_output_tokens=None if settings.max_output_tokens == "inf" else int(settings.max_output_tokens),
        truncation=settings.truncation,
        metadata=settings.metadata or {},
        items=_conversation_of(call) if settings.input_items is None else settings.input_items,
        clip=clip,
        now_ms=reply.started_at_ms,
        state=call.agent_state,
        failed_to=call.failed_to,
        was_cut=reply.cut,
        progress=Progress(reply.plan, reply.text, reply.audio_bytes, reply.functions_called),
        once=once,
    )


def _conversation_of(call: Call) -> Sequence[Mapping[str, Any]]:
    """What had been said when the reply was asked for; on every pod the same, without what the reply says itself."""
    assert call.reply is not None
    return call.conversation.items(to_rank=call.reply.items_to)


async def perform(stage: Stage, agent: Agent, clock: Clock, observer: Observer) -> None:
    """Have the agent reply and feed the parts to the call, until the reply is over or cancelled."""
    call = stage.call
    assert call.reply is not None
    response_id = call.reply.response_id
    clip = Clip(call.answered.audio, call.input_format) if call.answered else None
    turn = turn_of(call, clip, _Steps(stage, response_id))
    speech = _Speech(stage, response_id, settings_of(call).output_format, agent, clock, turn.progress)
    unheard = len(turn.progress.text) if agent.replays else 0
    uncalled = turn.progress.functions_called if agent.replays else 0
    decided_s = started_s = clock.monotonic_s()
    spoke = False
    hang_up = False
    try:
        async with aclosing(agent.reply(turn)) as parts:  # type: ignore[type-var]
            async for part in parts:
                match part:
                    case Plan(plan, state):
                        stage.feed(ReplyPlanned(response_id, dict(plan), dict(state)))
                        decided_s = clock.monotonic_s()
                        observer.turn_stage("think", decided_s - started_s)
                    case Text(delta):
                        await speech.finish_piece()
                        skipped, unheard = min(unheard, len(delta)), max(0, unheard - len(delta))
                        if delta:
                            speech.begin_piece()
                        stage.feed(ReplyText(response_id, delta[skipped:]))
                    case Audio(audio, audio_format, words):
                        if not spoke:
                            spoke = True
                            observer.turn_stage("tts", clock.monotonic_s() - decided_s)
                        await speech.say(audio, audio_format, words)
                    case FunctionCall(name, arguments):
                        await speech.finish_piece()
                        if uncalled:
                            uncalled -= 1
                        else:
                            stage.feed(ReplyFunctionCall(response_id, name, arguments))
                    case HangUp():
                        hang_up = True
                    case _:
                        assert_never(part)
                await stage.wait_for_capacity()
        await speech.finish_piece()
        if hang_up:
            await speech.heard()
        stage.feed(ReplyFinished(response_id, hang_up))
    except Exception:
        # The root of the reply's task: whatever an agent does wrong must not end the call.
        log.exception("agent failed", call_id=call.call_id, agent=agent.name, response_id=response_id)
        stage.feed(ReplyFailed(response_id, f"The agent {agent.name!r} failed to reply."))


class _Steps:
    """`Turn.once`: deeds under keys that outlive the pod."""

    def __init__(self, stage: Stage, response_id: str) -> None:
        self._stage = stage
        self._response_id = response_id
        self._begun = 0

    async def __call__(self, name: str, deed: Deed) -> Any:
        stage, number = self._stage, self._begun
        self._begun += 1
        reply = stage.call.reply
        if reply is None or reply.response_id != self._response_id:
            raise asyncio.CancelledError
        if number == len(reply.steps):
            stage.feed(ReplyStepBegun(self._response_id, name))
            await stage.durable()
        step = reply.steps[number]
        if step["name"] != name:
            raise ValueError(f"step {number} of the reply was {step['name']!r}, now it is {name!r}")
        if "result" not in step:
            stage.feed(ReplyStepDone(self._response_id, number, await deed(step["key"])))
        return step["result"]


class _Speech:
    """Cuts, converts and paces audio; drops what was durable before a resume."""

    def __init__(
        self, stage: Stage, response_id: str, target: AudioFormat, agent: Agent, clock: Clock, progress: Progress
    ) -> None:
        self._stage = stage
        self._response_id = response_id
        self._target = target
        self._lead_s = agent.lead_ms / 1000
        self._clock = clock
        self._sent_bytes = progress.audio_bytes
        self._skip_bytes = progress.audio_bytes if agent.replays else 0
        self._chunk_bytes = target.size(CHUNK_MS)
        self._converters: dict[str, Converter] = {}
        self._pending = bytearray()
        self._made_bytes = 0
        """Of the audio that says the last text."""
        self._words: Alignment = []
        self._is_told = True
        """Whether the call knows of both."""
        self._began_s: float | None = None

    def begin_piece(self) -> None:
        """Text has come: audio that comes from now on says it."""
        self._made_bytes, self._words = 0, []

    async def say(self, audio: bytes, source: AudioFormat, words: Sequence[Sequence[int]] = ()) -> None:
        made_ms = self._target.ms(self._made_bytes)
        self._words += [[made_ms + ms, chars] for ms, chars in words]
        self._made_bytes += self._target.size(source.ms(len(audio)))
        self._is_told = False
        converter = self._converters.setdefault(source.name, Converter(source, self._target))
        for at in range(0, len(audio), PIECE_BYTES):
            if at:
                await asyncio.sleep(0)
            converted = converter.convert(audio[at : at + PIECE_BYTES])
            skipped = min(self._skip_bytes, len(converted))
            self._skip_bytes -= skipped
            self._pending += converted[skipped:]
            while len(self._pending) >= self._chunk_bytes:
                await self._send(self._chunk_bytes)

    async def finish_piece(self) -> None:
        """Send what is left of the piece, however short."""
        if self._pending:
            await self._send(len(self._pending))

    async def heard(self) -> None:
        """Wait until the caller has heard everything."""
        if self._began_s is not None:
            await self._sleep_until(self._began_s + self._target.ms(self._sent_bytes) / 1000)

    async def _send(self, size_bytes: int) -> None:
        played_s = self._target.ms(self._sent_bytes) / 1000
        if self._began_s is None:
            self._began_s = self._clock.monotonic_s() - played_s
        await self._sleep_until(self._began_s + played_s - self._lead_s)
        chunk = bytes(self._pending[:size_bytes])
        del self._pending[:size_bytes]
        self._sent_bytes += len(chunk)
        if self._is_told:
            part = ReplyAudio(self._response_id, chunk)
        else:
            part = ReplyAudio(self._response_id, chunk, self._made_bytes, list(self._words))
            self._is_told = True
        self._stage.feed(part)
        await self._stage.wait_for_capacity()

    async def _sleep_until(self, due_s: float) -> None:
        wait_s = due_s - self._clock.monotonic_s()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
