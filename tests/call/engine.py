"""Calls whose agent handles events, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.call.calls import CALL_ID, Happening, attach, feed, stored
from voice_agent.call import inputs
from voice_agent.call.agent_ledger import AgentAct, AgentEvent, AgentLedger
from voice_agent.call.apology import Apology
from voice_agent.call.beginnings import CallClaimed, CallMade, begin
from voice_agent.call.changes import Snapshot
from voice_agent.call.effects import Effect
from voice_agent.call.record import CallRecord

MADE = CallMade(
    call_id=CALL_ID,
    claim="made",
    owner="pod-a",
    color="blue",
    model="test",
    voice="alloy",
    created_at_ms=1000,
    expires_at_s=3600,
    outbox_bytes=1 << 20,
    checkpoint_ms=200,
)


def engine_call(*, started: bool = True, **session: Any) -> CallRecord:
    """A call just made and attached, with nothing unsaved; `started`: its first event is acknowledged."""
    call = begin(MADE)
    attach(call, 0, 0, resumable=True)
    if session:
        feed(call, inputs.UpdateSession({"type": "realtime", **session}))
    if started:
        done(call)
    feed(call, inputs.TakeWrite())
    return call


def manual_engine_call() -> CallRecord:
    """The same without voice activity detection."""
    return engine_call(audio={"input": {"turn_detection": None}})


def ledger_of(call: CallRecord) -> AgentLedger:
    """What is between a call and its agent."""
    assert call.agent is not None
    return call.agent


def first(call: CallRecord) -> AgentEvent:
    """The event that is handled."""
    event = ledger_of(call).first
    assert event is not None
    return event


def act(call: CallRecord, key: str) -> AgentAct:
    """What the agent does under a key in the event that is handled."""
    return ledger_of(call).acts[key]


def kinds(call: CallRecord) -> list[str]:
    """Of the events that wait, oldest first."""
    return [event.kind.value for event in ledger_of(call).waiting]


def done(call: CallRecord, *, now_ms: int = 0, state: dict[str, Any] | None = None) -> list[Effect]:
    """The agent acknowledges the event that it handles."""
    return feed(call, inputs.EventDone(first(call).number, state), now_ms=now_ms)


def speak(
    call: CallRecord, key: str, text: str, audio: bytes = b"", *, interruptible: bool = True, now_ms: int = 0
) -> list[Effect]:
    """The agent begins to say something; it is not ended."""
    effects = feed(call, inputs.SpeechBegun(first(call).number, key, interruptible), now_ms=now_ms)
    assert call.response is not None
    reply = call.response.response_id
    parts: list[inputs.Input] = [inputs.ResponseText(reply, text, voiced=True)]
    parts += [inputs.ResponseAudio(reply, audio)] if audio else []
    return effects + feed(call, *parts, now_ms=now_ms)


def said(call: CallRecord, key: str, text: str, audio: bytes = b"", *, now_ms: int = 0) -> list[Effect]:
    """The agent says something, all of it."""
    effects = speak(call, key, text, audio, now_ms=now_ms)
    return effects + feed(call, inputs.SpeechEnded(first(call).number, key), now_ms=now_ms)


def asked(call: CallRecord) -> Iterator[inputs.Input]:
    """The agent is asked for the response under way: no ear understood what was said, and what came before is handled.

    As the functions below, for `feed`.
    """
    for item_id in list(call.clips.untranscribed):
        yield inputs.Transcribed(item_id, None)
    while (event := ledger_of(call).first) is not None:
        if call.response is not None and call.response.event_number == event.number:
            return
        yield inputs.EventDone(event.number)


def _number_of(call: CallRecord) -> int:
    """Of that event; 0, which no event has, if no response is under way."""
    return call.response.event_number if call.response is not None else 0


def finish(call: CallRecord) -> Iterator[inputs.Input]:
    """It has said all of that response."""
    yield from asked(call)
    yield inputs.EventDone(_number_of(call))


def fail(message: str, apology: Apology | None = None) -> Happening:
    """It breaks in that response."""

    def failing(call: CallRecord) -> Iterator[inputs.Input]:
        yield from asked(call)
        yield inputs.EventFailed(_number_of(call), message, apology)

    return failing


def hang_up(call: CallRecord) -> Iterator[inputs.Input]:
    """It ends the call with that response."""
    yield from asked(call)
    yield inputs.HangUpAsked(_number_of(call), "hang up")


def call_tool(name: str, arguments: str = "{}") -> Happening:
    """It has the client run a function in that response."""

    def asking(call: CallRecord) -> Iterator[inputs.Input]:
        yield from asked(call)
        yield inputs.ToolAsked(_number_of(call), f"act {len(ledger_of(call).acts)}", name, arguments)

    return asking


def claimed(snapshot: Snapshot, *, epoch: int = 2) -> CallRecord:
    """A stored call as the next owner begins with it."""
    return begin(CallClaimed(snapshot=snapshot, epoch=epoch, outbox_bytes=1 << 20, checkpoint_ms=200))


def taken_over(call: CallRecord) -> CallRecord:
    """A call as the next owner begins with it, after all of it has been stored."""
    call.record.write_whole = True
    held = stored(call)
    return claimed(replace(held, fields={**held.fields, "claimed_at_ms": b"9000"}))
