"""What an agent does in the event that it handles, and how it acknowledges it (see `agent_ledger`).

Each act has a key, and is noted under it in the write that carries what it did; the same key again in the same event,
on whichever pod, does nothing. How an act stands, the runtime reads in `AgentLedger.acts`. What a speech says comes as
parts of its response (`response_output`).

What is said goes into the open response, whether that was asked for in this event or in one that waits behind it, and
opens one if there is none; it closes with the event to which it belongs (`Response.event_number`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from voice_agent.call import agent_events, events
from voice_agent.call.agent_ledger import ActKind, ActStatus, AgentAct, AgentLedger, EventKind, SpokenSpan
from voice_agent.call.closing import MAX_REASON_BYTES, CloseCode
from voice_agent.call.effects import CloseConnection, CountLimit, Effect, SetTimer
from voice_agent.call.inputs import (
    AgentEventSent,
    DtmfPressed,
    EventDone,
    EventFailed,
    FromEngine,
    HangUpAsked,
    OnceBegun,
    OnceDone,
    SpeechBegun,
    SpeechEnded,
    TimerSet,
    ToolAsked,
    TransferAsked,
)
from voice_agent.call.lifecycle import end
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.response_items import end_speech, settings_of
from voice_agent.call.response_output import ask_tool, fail
from voice_agent.call.responses import close, go_on, open_unprompted

MAX_ACTS = 256
"""In one event: stops an agent that never acknowledges from filling the record. It may end the call all the same."""
MAX_TIMERS = 64
"""Of a call: stops an agent that names each of its timers anew."""
MAX_AGENT_EVENT_BYTES = 64 * 1024
"""Of one event of the agent's own, as JSON: stops it from filling the outbox, which callers need."""
AGENT_EVENT_PREFIX = "agent."
RATE_LIMITS_UPDATED = "rate_limits.updated"
"""The one event of the protocol that is the agent's to send: limits are those of the model behind it."""
DTMF_DIGITS = frozenset("0123456789*#ABCD")


def apply(call: CallRecord, event: FromEngine, now_ms: int) -> list[Effect]:
    """Take it, unless its event is acknowledged already, or another pod's agent is handling another one."""
    ledger = call.agent
    if ledger is None or ledger.first is None or ledger.first.number != event.event_number:
        return []
    match event:
        case EventDone():
            return _done(call, ledger, event, now_ms)
        case EventFailed():
            return _failed(call, ledger, event, now_ms)
        case SpeechEnded():
            return _speech_ended(call, ledger, event)
        case OnceDone():
            return _once_done(call, ledger, event)
        case _:
            if event.key in ledger.acts:
                return []
            if len(ledger.acts) >= MAX_ACTS and not isinstance(event, TransferAsked | HangUpAsked):
                return [CountLimit("agent_acts")]
            return _new_act(call, ledger, event, now_ms)


def dtmf(call: CallRecord, event: DtmfPressed, now_ms: int) -> list[Effect]:
    """The caller pressed a key of the telephone."""
    if event.digit not in DTMF_DIGITS:
        return []
    return agent_events.queue(call, EventKind.DTMF, now_ms, {"digit": event.digit})


# --- acknowledgements ------------------------------------------------------


def _done(call: CallRecord, ledger: AgentLedger, event: EventDone, now_ms: int) -> list[Effect]:
    if event.state is not None:
        call.dialogue.agent_state = event.state
        call.record.mark("agent")
    response = call.response
    if response is not None and response.event_number == event.event_number:
        reason = event.incomplete_reason
        close(call, "incomplete" if reason else "completed", events.incomplete(reason) if reason else None, now_ms)
    else:
        _leave_to_its_own_event(call, ledger, is_complete=True)
    return _acknowledge(call, ledger, now_ms)


def _failed(call: CallRecord, ledger: AgentLedger, event: EventFailed, now_ms: int) -> list[Effect]:
    response = call.response
    if response is not None and response.event_number == event.event_number:
        ledger.drop_acts()
        fail(call, event.message, event.apology, now_ms)
    else:
        _leave_to_its_own_event(call, ledger, is_complete=False)
    return _acknowledge(call, ledger, now_ms)


def _leave_to_its_own_event(call: CallRecord, ledger: AgentLedger, *, is_complete: bool) -> None:
    """What this event said stands in a response that another one will go on with, and that begins behind it."""
    response = call.response
    if response is None or not _spoke_in(ledger, response):
        return
    end_speech(call, response, is_complete=is_complete)
    response.replay_from = (len(response.said.text), response.said.audio_bytes)
    call.record.mark("response")


def _acknowledge(call: CallRecord, ledger: AgentLedger, now_ms: int) -> list[Effect]:
    del ledger.waiting[0]
    ledger.drop_acts()
    call.record.mark("agent_events", "acts")
    now_due = any(when_ms <= now_ms for when_ms in ledger.timers.values())
    effects = agent_events.timers_due(call, now_ms) if now_due else []
    return effects + go_on(call, now_ms)


# --- acts ------------------------------------------------------------------


def _new_act(call: CallRecord, ledger: AgentLedger, event: FromEngine, now_ms: int) -> list[Effect]:
    match event:
        case SpeechBegun():
            _begin_speech(call, ledger, event, now_ms)
        case ToolAsked():
            _ask_tool(call, ledger, event, now_ms)
        case OnceBegun(key=key):
            _note(call, key, ActKind.ONCE, ActStatus.BEGUN)
        case TimerSet():
            return _set_timer(call, ledger, event)
        case AgentEventSent():
            return _send(call, event)
        case TransferAsked(target=target):
            return _end_call(call, "transferred", "transferred", now_ms, target=target)
        case HangUpAsked(reason=reason):
            return _end_call(call, "agent", reason or "the agent hung up", now_ms)
        case EventDone() | EventFailed() | SpeechEnded() | OnceDone():
            raise TypeError(f"{type(event).__name__} is no new act")
        case _:
            assert_never(event)
    return []


def _note(call: CallRecord, key: str, kind: ActKind, status: ActStatus = ActStatus.DONE) -> AgentAct:
    assert call.agent is not None
    act = AgentAct(key, len(call.agent.acts), kind, status)
    call.agent.note(act)
    call.record.mark("acts")
    return act


def _begin_speech(call: CallRecord, ledger: AgentLedger, event: SpeechBegun, now_ms: int) -> None:
    response = _response_for(call, event.event_number, now_ms)
    if response is None:
        _note(call, event.key, ActKind.SPEAK, ActStatus.REFUSED)
        return
    if response.event_number == event.event_number and not _spoke_in(ledger, response):
        begins_at = response.replay_from  # Of a take-over by a pod that knows no acts of it, what has been said.
    else:
        end_speech(call, response, is_complete=True)
        begins_at = (len(response.said.text), response.said.audio_bytes)
    act = _note(call, event.key, ActKind.SPEAK, ActStatus.BEGUN)
    act.span = SpokenSpan(response.response_id, *begins_at, is_interruptible=event.interruptible)


def _spoke_in(ledger: AgentLedger, response: Response) -> bool:
    """Whether something of the event that is handled stands in a response."""
    return any(act.span is not None and act.span.response_id == response.response_id for act in ledger.acts.values())


def _response_for(call: CallRecord, event_number: int, now_ms: int) -> Response | None:
    """The response that the event speaks into, opened if there is none; None: it may not speak now."""
    response = call.response
    if call.conversation.is_full and (response is None or settings_of(call).in_conversation):
        return None
    if response is None:
        return open_unprompted(call, event_number, now_ms)
    return response if response.event_number == event_number or settings_of(call).in_conversation else None


def _speech_ended(call: CallRecord, ledger: AgentLedger, event: SpeechEnded) -> list[Effect]:
    act, response = ledger.acts.get(event.key), call.response
    if act is not None and act is ledger.speech and response is not None:
        end_speech(call, response, is_complete=event.is_complete)
        act.status = ActStatus.DONE  # Also if it was not said to its end: it was the handler that ended it.
    return []


def _ask_tool(call: CallRecord, ledger: AgentLedger, event: ToolAsked, now_ms: int) -> None:
    if _response_for(call, event.event_number, now_ms) is None:
        _note(call, event.key, ActKind.TOOL, ActStatus.REFUSED)
        return
    act = _note(call, event.key, ActKind.TOOL)
    act.item_id = ask_tool(call, event.name, event.arguments)


def _once_done(call: CallRecord, ledger: AgentLedger, event: OnceDone) -> list[Effect]:
    act = ledger.acts.get(event.key)
    if act is not None and act.kind is ActKind.ONCE and act.status is ActStatus.BEGUN:
        act.result, act.status = event.result, ActStatus.DONE
        ledger.note(act)
        call.record.mark("acts")
    return []


def _set_timer(call: CallRecord, ledger: AgentLedger, event: TimerSet) -> list[Effect]:
    if event.name not in ledger.timers and len(ledger.timers) >= MAX_TIMERS:
        _note(call, event.key, ActKind.TIMER, ActStatus.REFUSED)
        return [CountLimit("agent_timers")]
    _note(call, event.key, ActKind.TIMER)
    ledger.timers[event.name] = event.when_ms
    call.record.mark("timers")
    return [SetTimer(ledger.earliest_timer_ms)]


def own_event_problem(body: Mapping[str, Any]) -> str | None:
    """Why an agent may not send this event; None: it may."""
    kind = body.get("type", "")
    if kind == RATE_LIMITS_UPDATED:
        limits = body.get("rate_limits")
        is_sound = isinstance(limits, list) and all(isinstance(one, dict) for one in limits)
        return None if is_sound else "'rate_limits' is a list of objects, as the protocol has them."
    if isinstance(kind, str) and kind.startswith(AGENT_EVENT_PREFIX):
        return None
    return f"The type of an agent's own event begins with 'agent.' or is {RATE_LIMITS_UPDATED!r}, not {kind!r:.80}."


def _send(call: CallRecord, event: AgentEventSent) -> list[Effect]:
    if own_event_problem(event.body) is not None:
        _note(call, event.key, ActKind.SEND, ActStatus.REFUSED)
        return []
    packed = events.pack(event.body)
    if len(packed) > MAX_AGENT_EVENT_BYTES:
        _note(call, event.key, ActKind.SEND, ActStatus.REFUSED)
        return [CountLimit("agent_event_bytes")]
    _note(call, event.key, ActKind.SEND)
    call.outbox.emit_packed(packed, b"")
    return []


def _end_call(call: CallRecord, outcome: str, reason: str, now_ms: int, *, target: str = "") -> list[Effect]:
    """What was said is complete, and the call is over."""
    if call.response is not None:
        close(call, "completed", None, now_ms)
    if target:
        call.outbox.emit(events.transfer(target))
        call.lifecycle.transfer = target
    effects = end(call, outcome, now_ms)
    return [*effects, CloseConnection(CloseCode.NORMAL_CLOSURE, _fitting(reason), outcome)]


def _fitting(reason: str) -> str:
    """As much of it as a close frame has room for."""
    return reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
