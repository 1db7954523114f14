"""A session of an upstream: its connection, what its conversation holds, and the response that it makes.

One task reads. What belongs to the response under way goes to its `UpstreamReply`; while that is full nothing is read,
so the upstream has to wait. Whatever goes wrong loses the session, which is never used again: `lost` says why.

What is asked of a session is done to its end, one thing after another, also when whoever asked is cancelled: of half a
change nobody would know what the upstream has.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection

from voice_agent.agents.relay.appended_audio import AppendedAudio
from voice_agent.agents.relay.event_budget import REFUSAL_EVENTS, EventBudget
from voice_agent.agents.relay.held_conversation import HeldConversation
from voice_agent.agents.relay.requests import (
    ResponseWanted,
    UpstreamSettings,
    append,
    create_item,
    delete_item,
    truncate_item,
)
from voice_agent.agents.relay.sync import WantedItem
from voice_agent.agents.relay.upstream_events import (
    AudioCommitted,
    AudioDelta,
    AudioEnded,
    CallerTranscribed,
    FunctionCalled,
    InvalidMessage,
    ItemBegun,
    RateLimits,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    TextDelta,
    UpstreamError,
    UpstreamEvent,
    read,
)
from voice_agent.agents.relay.upstream_reply import UpstreamLost, UpstreamReply
from voice_agent.agents.relay.upstream_socket import UpstreamSocket
from voice_agent.agents.relay.whole_tasks import WholeTasks
from voice_agent.call.audio import PCM
from voice_agent.kit.usage import MeteredRequest, metered
from voice_agent.providers.endpoint import Endpoint

COMMIT_S = 5.0
"""Until it says which item the audio became."""
CANCELLED_S = 2.0
"""So long a response may go on that was cancelled."""
EVENTS_A_TURN = 32
"""Read before other calls have a turn."""
APPEND_BYTES = 96 * 1024
"""Of audio in one event."""

log = structlog.get_logger(__name__)


class UpstreamSession:
    """One connection's. All that waits raises `UpstreamLost`."""

    def __init__(self, socket: ClientConnection, endpoint: Endpoint, created: SessionCreated) -> None:
        self.endpoint = endpoint
        self.is_exact = created.is_exact
        self.held = HeldConversation()
        self.appended = AppendedAudio()
        self.on_lost: Callable[[], None] = lambda: None
        self.on_transcribed: Callable[[str, str | None], None] = lambda our_id, text: None
        """Told what the caller said in an item of ours."""
        self.rate_limits: list[dict[str, Any]] | None = None
        """The newest that it told."""
        self._reply: UpstreamReply | None = None
        self._socket = UpstreamSocket(socket, endpoint.name, lambda: self._reply is not None and self._reply.is_full)
        self._socket.on_lost = self._was_lost
        self._settings: UpstreamSettings | None = None
        self._tasks = WholeTasks()
        self._numbers = itertools.count(1)
        self._reading = asyncio.create_task(self._read(), name=f"relay reads {endpoint.name}")

    @property
    def lost(self) -> UpstreamLost | None:
        """Why it is not to be used any more; None while it is."""
        return self._socket.lost

    def lose(self, why: str) -> UpstreamLost:
        """It is not to be used any more. Returns what says why, the first time that it was lost."""
        return self._socket.lose(why)

    async def close(self) -> None:
        """Close the connection; cancelled, it is aborted."""
        self.on_lost = lambda: None
        try:
            await self._socket.close()
        finally:
            self._reading.cancel()
        await asyncio.wait((self._reading, *self._tasks.running))

    # --- what is asked of it ----------------------------------------------------

    async def use(self, settings: UpstreamSettings) -> None:
        """Have these settings hold, unless they do."""
        if settings != self._settings:
            self._settings = settings
            await self._socket.send(settings.update())

    async def make_equal(self, wanted: Sequence[WantedItem]) -> None:
        """Make its conversation say what `wanted` says, in this order."""
        await self._tasks.run(self._make_equal(wanted))

    async def append(self, audio: bytes) -> None:
        """More of what the caller is saying."""
        self.appended.add(audio)
        await self._socket.send(append(audio))

    async def clear(self) -> None:
        """What was appended is not wanted."""
        if self.appended.clear():
            await self._socket.send({"type": "input_audio_buffer.clear"})

    async def commit(self, our_id: str, audio: bytes) -> None:
        """What was appended is what the caller said in this item of ours; `audio`: all of that; b"": it is all.

        What of it was not appended is; and if something else was, that is cleared.
        """
        await self._tasks.run(self._commit(our_id, audio))

    async def respond(self, wanted: ResponseWanted, said: str) -> UpstreamReply:
        """Ask for a response, once the one before is over; `said`: see `ResponseWanted.create`."""
        return await self._tasks.run(self._respond(wanted, said))

    def cancel(self, reply: UpstreamReply) -> None:
        """It is not wanted any more; what has come of it stays in the conversation."""
        if not reply.is_over:
            reply.drop()
            self._tasks.start(self._socket.send({"type": "response.cancel"}))
            self._tasks.start(self._wait_over())

    async def truncate(self, text: str, heard_ms: int) -> None:
        """Of what it said last the caller heard so much, which was `text`."""
        said = self.held.said_last(text)
        if said is not None:
            said.cut(text)
            event = truncate_item(said.upstream_id, min(heard_ms, said.audio_ms))

            async def cut() -> None:
                await self._wait_over()
                await self._socket.send(event)

            await self._tasks.run(cut())

    async def _make_equal(self, wanted: Sequence[WantedItem]) -> None:
        await self._wait_over()
        try:
            async with asyncio.timeout(COMMIT_S):
                while self.held.commits and self.lost is None:
                    await self.held.commits[0].is_known.wait()
        except TimeoutError as error:
            raise self.lose("it does not say what became of the caller's audio") from error
        plan = self.held.plan(wanted)
        for gone in plan.deleted:
            await self._socket.send(delete_item(gone.upstream_id))
        for _, behind, item in plan.created:
            await self._socket.send(create_item(item, behind.upstream_id if behind is not None else ""))
        self.held.follow(plan)

    async def _commit(self, our_id: str, audio: bytes) -> None:
        missing = self.appended.missing_of(audio)
        if missing is None:
            await self.clear()
            missing = audio
        for at in range(0, len(missing), APPEND_BYTES):
            await self.append(missing[at : at + APPEND_BYTES])
        if self.appended.clear():
            event_id = f"relay_{next(self._numbers)}"
            self.held.commit(our_id, event_id)
            await self._socket.send({"type": "input_audio_buffer.commit", "event_id": event_id})

    async def _respond(self, wanted: ResponseWanted, said: str) -> UpstreamReply:
        await self._wait_over()
        metering = metered(self.endpoint.name, self.endpoint.model)
        request = await metering.__aenter__()
        reply = self._reply = UpstreamReply(request.id, in_conversation=not wanted.out_of_band)
        self.held.begin_response()
        self._tasks.keep(_count(metering, request, reply))
        if self.lost is not None:
            reply.lose(self.lost)
        await self._socket.send(wanted.create(reply.event_id, said))
        return reply

    async def _wait_over(self) -> None:
        """Wait until the response before is over."""
        try:
            if self._reply is not None:
                await self._reply.wait_over(CANCELLED_S)
        except TimeoutError as error:
            raise self.lose("a response goes on that was cancelled") from error

    # --- what it says -----------------------------------------------------------

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        budget = EventBudget(loop.time())
        with suppress(UpstreamLost):
            for number in itertools.count(1):
                message = await self._socket.receive()
                try:
                    event = read(message)
                    if not budget.spend(loop.time(), REFUSAL_EVENTS if isinstance(event, UpstreamError) else 1):
                        raise self.lose("it sends events without end")
                    if event is not None:
                        await self._take(event)
                except InvalidMessage as error:
                    raise self.lose(str(error)) from error
                if number % EVENTS_A_TURN == 0:
                    await asyncio.sleep(0)

    async def _take(self, event: UpstreamEvent) -> None:
        match event:
            case UpstreamError(code=code, about=about):
                log.warning("an upstream refused something", upstream=self.endpoint.name, code=code, about=about)
                self.held.refused(about)
                if self._reply is not None:
                    self._reply.refuse(event)
            case AudioCommitted(item_id):
                self.held.committed(item_id)
            case CallerTranscribed(item_id, text):
                if our_id := self.held.transcribed(item_id):
                    self.on_transcribed(our_id, text)
            case RateLimits(limits):
                self.rate_limits = limits
            case ResponseCreated(response_id):
                if self._reply is not None and self._reply.response_id is None:
                    self._reply.response_id = response_id
                    self._reply.put(event)
            case ItemBegun() | TextDelta() | AudioDelta() | AudioEnded() | FunctionCalled() | ResponseDone():
                reply = self._reply
                if reply is not None and event.response_id == reply.response_id and not reply.is_over:
                    await self._take_of(reply, event)
            case SessionCreated():
                pass

    async def _take_of(self, reply: UpstreamReply, event: UpstreamEvent) -> None:
        """More of the response under way."""
        bytes_per_ms = self._settings.output_format.bytes_per_ms if self._settings is not None else PCM.bytes_per_ms
        self.held.take(event, bytes_per_ms, is_kept=reply.in_conversation)
        reply.put(event)
        if isinstance(event, ResponseDone):
            reply.usage = event.usage
            reply.end()
        await reply.wait_for_room()

    def _was_lost(self, lost: UpstreamLost) -> None:
        if self._reply is not None:
            self._reply.lose(lost)
        self.held.lose()
        self.on_lost()


async def _count(
    metering: AbstractAsyncContextManager[MeteredRequest], request: MeteredRequest, reply: UpstreamReply
) -> None:
    """Count what a response used, once it is over: also one that nobody waits for any more."""
    try:
        await reply.wait_over(None)
        request.tokens(**_tokens(reply.usage))
    finally:
        await metering.__aexit__(None, None, None)


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    """What `usage` of a response says."""
    heard, said = (usage.get(name) or {} for name in ("input_token_details", "output_token_details"))
    return {
        "input": usage.get("input_tokens"),
        "output": usage.get("output_tokens"),
        "cached_input": heard.get("cached_tokens"),
        "input_audio": heard.get("audio_tokens"),
        "output_audio": said.get("audio_tokens"),
    }
