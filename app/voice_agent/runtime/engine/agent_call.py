"""`kit.Call` of a live call: what an agent does becomes inputs of the call, under keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

from voice_agent.call.agent_ledger import ActStatus, AgentAct
from voice_agent.call.inputs import AgentEventSent, HangUpAsked, OnceBegun, OnceDone, TimerSet, ToolAsked, TransferAsked
from voice_agent.call.session_config import wants_audio
from voice_agent.kit.call import Caller, Item, Session, SideEffect
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Event
from voice_agent.runtime.engine.agent_state import AgentState
from voice_agent.runtime.engine.frames import FrameQueue
from voice_agent.runtime.engine.handling import Handling
from voice_agent.runtime.engine.notices import items_at
from voice_agent.runtime.engine.speaking import SpeechRun
from voice_agent.runtime.engine.work import AgentWork

MAX_RESULT_BYTES = 64 * 1024
"""Of what a side effect gave, as JSON: it is kept in the record until the event is acknowledged."""


class AgentCall:
    """What one run of an agent is given. Once that run is over, whatever is still done with it is cancelled."""

    def __init__(self, work: AgentWork) -> None:
        self._work = work
        facts = work.call.identity.caller
        self.caller = Caller(
            work.call.call_id,
            work.call.identity.model,
            facts.get("number", ""),
            facts.get("query", {}),
            facts.get("headers", {}),
        )

    @property
    def session(self) -> Session:
        """See `kit.Call`."""
        fields = self._work.call.session.fields
        tokens, output = fields["max_output_tokens"], fields["audio"]["output"]
        return Session(
            instructions=fields["instructions"],
            tools=fields["tools"],
            tool_choice=fields["tool_choice"],
            max_output_tokens=None if tokens == "inf" else int(tokens),
            voice=output["voice"],
            speed=output["speed"],
            language=(fields["audio"]["input"]["transcription"] or {}).get("language") or "",
            wants_audio=wants_audio(fields),
        )

    @property
    def items(self) -> Sequence[Item]:
        """See `kit.Call`."""
        handling = self._work.handling
        return items_at(self._work.call, handling.stored if handling is not None else None)

    @property
    def state(self) -> AgentState:
        """See `kit.Call`."""
        return self._handling().state

    async def events(self) -> AsyncIterator[Event]:
        """See `kit.Call`."""
        while (event := await self._work.next_event(self)) is not None:
            yield event

    def frames(self) -> AsyncIterator[Clip]:
        """See `kit.Call`."""
        queue = FrameQueue()
        self._work.taps.append(queue)
        return queue

    def speak(self, key: str = "reply", *, interruptible: bool = True) -> SpeechRun:
        """See `kit.Call`."""
        return SpeechRun(self._work, self, key, interruptible=interruptible)

    async def once(self, key: str, run: SideEffect) -> Any:
        """See `kit.Call`."""
        handling, work = self._handling(), self._work
        act = handling.begin(key)
        if act is None:
            act = await self._done(handling, key, OnceBegun(handling.number, key), durable=True)
        if act.status is not ActStatus.DONE:
            idempotency_key = f"{work.call.call_id}:{handling.stored.key_id}_{crc32(key.encode()):08x}"
            result = _kept(key, await run(idempotency_key))
            act = await self._done(handling, key, OnceDone(handling.number, key, result), durable=True)
        return act.result

    async def call_tool(self, key: str, name: str, arguments: str | Mapping[str, Any]) -> None:
        """See `kit.Call`."""
        text = arguments if isinstance(arguments, str) else orjson.dumps(dict(arguments)).decode()
        (name + text).encode()  # Raises for what is no Unicode.
        handling = self._handling()
        if handling.begin(key) is None:
            await self._done(handling, key, ToolAsked(handling.number, key, name, text))

    async def at(self, name: str, when_ms: int) -> None:
        """See `kit.Call`."""
        handling = self._handling()
        key = handling.own_key(f"at:{name}")
        if handling.begin(key) is None:
            await self._done(handling, key, TimerSet(handling.number, key, name, int(when_ms)))

    async def send(self, event: Mapping[str, Any]) -> None:
        """See `kit.Call`. Raises `ValueError` for another ``type``, and `TypeError` for what does not survive JSON."""
        body = orjson.loads(orjson.dumps(dict(event)))
        if not str(body.get("type", "")).startswith("agent."):
            raise ValueError(f"The type of an agent's own event begins with 'agent.', not {body.get('type')!r:.80}.")
        handling = self._handling()
        key = handling.own_key("send")
        if handling.begin(key) is None:
            await self._done(handling, key, AgentEventSent(handling.number, key, body))

    async def transfer(self, target: str) -> None:
        """See `kit.Call`."""
        target.encode()
        handling = self._handling()
        key = handling.own_key("transfer")
        handling.begin(key)
        await self._work.wait_played()
        self._work.feed(TransferAsked(handling.number, key, target))

    async def hang_up(self, reason: str = "") -> None:
        """See `kit.Call`."""
        reason.encode()
        handling = self._handling()
        key = handling.own_key("hang_up")
        handling.begin(key)
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


def _kept(key: str, result: Any) -> Any:
    """`result` as the record gives it back. Raises `TypeError` for what is no JSON, `ValueError` for too much of it."""
    packed = orjson.dumps(result)
    if len(packed) > MAX_RESULT_BYTES:
        raise ValueError(f"What {key!r} gave takes {len(packed)} bytes as JSON; at most {MAX_RESULT_BYTES} are kept.")
    return orjson.loads(packed)
