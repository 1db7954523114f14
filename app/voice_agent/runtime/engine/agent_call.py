"""`kit.Call` of a live call: what an agent does becomes inputs of the call, under keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar, get_args

import orjson

from voice_agent.call.agent_acts import own_event_problem
from voice_agent.call.agent_ledger import ActKind, ActStatus, AgentAct
from voice_agent.call.inputs import (
    AgentEventSent,
    HangUpAsked,
    OnceBegun,
    OnceDone,
    TimerSet,
    ToolAsked,
    TranscriptGiven,
    TransferAsked,
)
from voice_agent.call.items import is_spoken_by_user
from voice_agent.kit.call import Caller, IdempotencyKey, IncompleteReason, Item, Session, SideEffect
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Event
from voice_agent.kit.hearing import Hearing
from voice_agent.runtime.engine.agent_state import AgentState
from voice_agent.runtime.engine.agent_steps import Watched
from voice_agent.runtime.engine.frames import frame_queue
from voice_agent.runtime.engine.handling import Handling, checked_text
from voice_agent.runtime.engine.live_queue import LiveReader
from voice_agent.runtime.engine.notices import items_at, session_of
from voice_agent.runtime.engine.speaking import SpeechRun
from voice_agent.runtime.engine.work import AgentWork

MAX_RESULT_BYTES = 64 * 1024
"""Of what a side effect gave, as JSON: it is kept in the record until the event is acknowledged."""

MAX_ARGUMENTS_CHARS = 256 * 1024
"""Of a function call, which is kept in the conversation and shown to the client."""
MAX_TRANSCRIPT_CHARS = 16 * 1024
"""Of what an agent understood of one item, twice what is said in the longest turn: stops a model that repeats itself
from filling the conversation."""
MAX_NAME_CHARS = 200
"""Of a timer or a function: less than of a key, for a key is made of it."""
MAX_TARGET_CHARS = 1024
"""Of what is called next."""
LATEST_MS = 2**53
"""Of a timer, in milliseconds: what every reader of JSON takes for the same number."""


Live = TypeVar("Live")


class AgentCall:
    """What one run of an agent is given. Once that run is over, whatever is still done with it is cancelled."""

    def __init__(self, work: AgentWork) -> None:
        self._work = work
        facts = work.call.identity.caller
        self.caller = Caller(
            work.call.call_id,
            work.call.identity.model,
            facts.get("number", ""),
            dict(facts.get("query", {})),
            dict(facts.get("headers", {})),
        )
        self._awaits_event = False

    @property
    def session(self) -> Session:
        """See `kit.Call`."""
        return session_of(self._work.call)

    @property
    def items(self) -> Sequence[Item]:
        """See `kit.Call`."""
        handling = self._work.handling
        return items_at(self._work.call, handling.stored if handling is not None else None)

    @property
    def state(self) -> AgentState:
        """See `kit.Call`."""
        if self._work.handling is None and self._work.end.outcome is not None:
            return AgentState(self._work.call.dialogue.agent_state)
        return self._handling().state

    def events(self) -> AsyncIterator[Event]:
        """See `kit.Call`."""
        return _Events(self)

    async def next_event(self) -> Event | None:
        """See `AgentWork.next_event`. Raises `RuntimeError` while it is waited for already."""
        if self._awaits_event:
            raise RuntimeError("The next event is waited for already; events are handled one at a time.")
        self._awaits_event = True
        try:
            return await self._work.next_event(self)
        finally:
            self._awaits_event = False

    def frames(self) -> AsyncIterator[Clip]:
        """See `kit.Call`."""
        return self._live(LiveReader(self._work.live.taps, frame_queue()))

    def hearing(self) -> AsyncIterator[Hearing]:
        """See `kit.Call`."""
        return self._live(self._work.live.hearing.reader())

    async def transcribed(self, item_id: str, text: str | None, *, certain: bool = True) -> None:
        """See `kit.Call`."""
        if text is not None:
            checked_text(text, "What was understood", MAX_TRANSCRIPT_CHARS)
        work = self._work
        work.check(self)
        entry = work.call.conversation.get(item_id)
        if entry is None:
            return
        if not is_spoken_by_user(entry.item):
            raise ValueError(f"{item_id!r:.80} is no audio of the caller's.")
        work.feed(TranscriptGiven(item_id, text, certain))
        with work.waiting():
            await work.wait_durable()

    def end_incomplete(self, reason: IncompleteReason) -> None:
        """See `kit.Call`."""
        if reason not in get_args(IncompleteReason):
            raise ValueError(f"{reason!r:.80} is none of {', '.join(get_args(IncompleteReason))}")
        self._handling().incomplete_reason = reason

    def _live(self, reader: LiveReader[Live]) -> LiveReader[Live]:
        if self._work.end.outcome is not None:
            self._work.live.end()
        return reader

    def speak(self, key: str = "reply", *, interruptible: bool = True) -> SpeechRun:
        """See `kit.Call`."""
        return SpeechRun(self._work, self, key, interruptible=bool(interruptible))

    async def once(self, key: str, run: SideEffect) -> Any:
        """See `kit.Call`."""
        handling, work = self._handling(), self._work
        key, act = handling.begin(key, ActKind.ONCE)
        is_repeat = act is not None
        if act is None:
            act = await self._done(handling, key, OnceBegun(handling.number, key), durable=True)
        if act.status is not ActStatus.DONE:
            # What authors and clients call things is only in the digest: this is handed on, in a header perhaps.
            digest = blake2b(f"{handling.stored.key_id}\0{key}".encode(), digest_size=12).hexdigest()
            name = f"{work.call.call_id}:{handling.stored.kind}_{digest}"
            # It may run in a task of its own: its steps count as the agent's there, too.
            result = _kept(key, await Watched(run(IdempotencyKey(name, is_repeat=is_repeat)), work.watch))
            act = await self._done(handling, key, OnceDone(handling.number, key, result), durable=True)
        return act.result

    async def call_tool(self, key: str, name: str, arguments: str | Mapping[str, Any]) -> None:
        """See `kit.Call`."""
        text = arguments if isinstance(arguments, str) else orjson.dumps(dict(arguments)).decode()
        checked_text(name, "The name of a function", MAX_NAME_CHARS)
        checked_text(text, "What a function is called with", MAX_ARGUMENTS_CHARS)
        handling = self._handling()
        key, act = handling.begin(key, ActKind.TOOL)
        if act is None:
            await self._done(handling, key, ToolAsked(handling.number, key, name, text))

    async def at(self, name: str, when_ms: int) -> None:
        """See `kit.Call`."""
        checked_text(name, "The name of a timer", MAX_NAME_CHARS)
        due_ms = _milliseconds(when_ms)
        handling = self._handling()
        key, act = handling.begin(handling.own_key(f"at:{name}"), ActKind.TIMER)
        if act is None:
            await self._done(handling, key, TimerSet(handling.number, key, name, due_ms))

    async def send(self, event: Mapping[str, Any]) -> None:
        """See `kit.Call`. Raises `ValueError` for another ``type``, and `TypeError` for what does not survive JSON."""
        body = orjson.loads(orjson.dumps(dict(event)))
        if (wrong := own_event_problem(body)) is not None:
            raise ValueError(wrong)
        handling = self._handling()
        key, act = handling.begin(handling.own_key("send"), ActKind.SEND)
        if act is None:
            await self._done(handling, key, AgentEventSent(handling.number, key, body))

    async def transfer(self, target: str) -> None:
        """See `kit.Call`."""
        checked_text(target, "What is called next", MAX_TARGET_CHARS)
        handling = self._handling()
        key, _ = handling.begin(handling.own_key("transfer"), ActKind.TRANSFER)
        await self._work.wait_played()
        self._work.feed(TransferAsked(handling.number, key, target))

    async def hang_up(self, reason: str = "") -> None:
        """See `kit.Call`."""
        reason.encode()
        handling = self._handling()
        key, _ = handling.begin(handling.own_key("hang_up"), ActKind.HANG_UP)
        await self._work.wait_played()
        self._work.feed(HangUpAsked(handling.number, key, reason))

    def _handling(self) -> Handling:
        return self._work.handling_of(self)

    async def _done(self, handling: Handling, key: str, event: Any, *, durable: bool = False) -> AgentAct:
        """Let an act of the event be done. Raises what it was refused with."""
        self._work.feed(event)
        with self._work.waiting():
            await (self._work.wait_durable() if durable else self._work.wait_for_capacity())
        return handling.act(key)


class _Events:
    """The events of a call, as an agent reads them. One whose wait is given up may be waited for again."""

    def __init__(self, view: AgentCall) -> None:
        self._view = view

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Event:
        event = await self._view.next_event()
        if event is None:
            raise StopAsyncIteration
        return event


def _milliseconds(when_ms: object) -> int:
    """A time. Raises `TypeError` for no number, and `ValueError` for one that is none or beyond all times."""
    if not isinstance(when_ms, int | float):
        raise TypeError(f"A time is a number of milliseconds, not {type(when_ms).__name__}")
    if not abs(when_ms) <= LATEST_MS:
        raise ValueError(f"{when_ms!r:.40} ms is no time")
    return int(when_ms)


def _kept(key: str, result: Any) -> Any:
    """`result` as the record gives it back. Raises `TypeError` for what is no JSON, `ValueError` for too much of it."""
    orjson.dumps([result])  # In the record it stands within an act: JSON is written so deep, and no deeper.
    packed = orjson.dumps(result)
    if len(packed) > MAX_RESULT_BYTES:
        raise ValueError(f"What {key!r} gave takes {len(packed)} bytes as JSON; at most {MAX_RESULT_BYTES} are kept.")
    return orjson.loads(packed)
