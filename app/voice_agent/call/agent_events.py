"""What an agent is told of a call: queued with the change that it tells of, in one write (see `agent_ledger`).

A reply is asked for once it is known what the caller said, behind the `heard` that tells it::

    caller spoke ──> response opened ──> transcribed: heard, then asked ──> agent ──> inputs.EventDone ──> closed

A call without an `AgentLedger`, that is, a mirrored one, queues nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from voice_agent.call.agent_ledger import ActStatus, AgentEvent, AgentLedger, EventKind
from voice_agent.call.effects import CountLimit, DeliverEvents, Effect, InterruptAgent, SetTimer
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response, ResponseRequest

MAX_WAITING = 256
"""Events of a call that its agent has not acknowledged: stops a client that fills the record of a slow agent with them.
`asked` is refused before its response opens, a timer waits, and one `started` comes on top; the others are dropped."""

_ALWAYS_TOLD = frozenset((EventKind.STARTED, EventKind.ASKED))


def queue(
    call: CallRecord, kind: EventKind, now_ms: int, data: dict[str, Any], *, up_to_rank: str | None = None
) -> list[Effect]:
    """Have the agent told; beyond `MAX_WAITING` it is dropped, but for what must be told."""
    ledger = call.agent
    if ledger is None:
        return []
    if is_full(ledger) and kind not in _ALWAYS_TOLD:
        return [CountLimit("agent_events")]
    ledger.made += 1
    rank = call.conversation.last_rank if up_to_rank is None else up_to_rank
    ledger.waiting.append(AgentEvent(ledger.made, kind, now_ms, rank, data))
    call.record.mark("agent_events")
    return [DeliverEvents()] if len(ledger.waiting) == 1 else []


def is_full(ledger: AgentLedger) -> bool:
    """Whether no more events may wait."""
    return len(ledger.waiting) >= MAX_WAITING


def ask(call: CallRecord, now_ms: int) -> list[Effect]:
    """Have the agent asked for the open response, if it was not yet and all that the caller said is understood."""
    response = call.response
    if call.agent is None or response is None or response.event_number or call.clips.untranscribed:
        return []
    effects = queue(
        call,
        EventKind.ASKED,
        now_ms,
        {"response_id": response.response_id},
        up_to_rank=response.asked.items_up_to,
    )
    response.event_number = call.agent.made
    call.record.mark("response")
    return effects


def heard(call: CallRecord, item_id: str, now_ms: int) -> list[Effect]:
    """Tell what the caller said in an item, as far as it is known."""
    return queue(call, EventKind.HEARD, now_ms, {"item_id": item_id})


def interrupted(call: CallRecord, item_id: str | None, now_ms: int) -> list[Effect]:
    """Tell that an item was cut short; not twice while it was not acknowledged. None: there is none."""
    ledger = call.agent
    if ledger is None or item_id is None:
        return []
    known = any(one.kind is EventKind.INTERRUPTED and one.data["item_id"] == item_id for one in ledger.waiting)
    return [] if known else queue(call, EventKind.INTERRUPTED, now_ms, {"item_id": item_id})


def stop(call: CallRecord, response: Response) -> list[Effect]:
    """A response that was asked for was closed before its event was over: its handler is interrupted, or never asked.

    To be called after `responses.close`, which has marked the speech that went into it.
    """
    ledger = call.agent
    if ledger is None:
        return []
    first = ledger.first
    was_asked = [one for one in ledger.waiting[1:] if one.number == response.event_number]
    if was_asked:
        ledger.waiting.remove(was_asked[0])
        call.record.mark("agent_events")
    if first is None:
        return []
    spoke = any(
        act.status is ActStatus.INTERRUPTED and act.span is not None and act.span.response_id == response.response_id
        for act in ledger.acts.values()
    )
    if first.number != response.event_number and not spoke:
        return []
    ledger.waiting[0] = _interrupted(first, response)
    call.record.mark("agent_events")
    return [InterruptAgent(first.number)]


def _interrupted(event: AgentEvent, response: Response) -> AgentEvent:
    """It is closed with what it asked for, which another pod's handler is told again."""
    if event.kind is not EventKind.ASKED or event.is_interrupted or event.number != response.event_number:
        return replace(event, is_interrupted=True)
    asked = response.asked
    told = {**event.data, "params": asked.params, "clip_id": asked.clip_id, "cut": asked.cut}
    return replace(event, is_interrupted=True, data=told)


def request_of(call: CallRecord, event: AgentEvent) -> ResponseRequest:
    """What an `asked` asks for: of the open response, or of one that was cut short, as it was."""
    response, data = call.response, event.data
    if response is not None and response.response_id == data["response_id"]:
        return response.asked
    return ResponseRequest(
        data.get("params", {}),
        event.at_ms,
        clip_id=data.get("clip_id", ""),
        items_up_to=event.up_to_rank,
        cut=data.get("cut", False),
    )


def timers_due(call: CallRecord, now_ms: int) -> list[Effect]:
    """Queue the timers whose time has come, in the order of their times; those without room wait for it."""
    ledger = call.agent
    if ledger is None:
        return []
    effects: list[Effect] = []
    due = sorted((when_ms, name) for name, when_ms in ledger.timers.items() if when_ms <= now_ms)
    for due_ms, name in due:
        if is_full(ledger):
            return [*effects, SetTimer(None)]
        del ledger.timers[name]
        call.record.mark("timers")
        effects += queue(call, EventKind.TIMER, now_ms, {"name": name, "due_ms": due_ms})
    return [*effects, SetTimer(ledger.earliest_timer_ms)]


def take_over(call: CallRecord, at_ms: int) -> None:
    """Another pod has the call: what another release did meanwhile is settled, and the agent is told to start.

    An `asked` whose response is over is dropped, unless its handler was interrupted and may have to clean up. An open
    response that no event names is asked for: its record is of a release without a ledger, or the store forgot some.
    """
    ledger = call.agent
    assert ledger is not None
    response = call.response
    waiting = [one for one in ledger.waiting if not _is_stale(one, response)]
    if waiting[:1] != ledger.waiting[:1]:
        ledger.drop_acts()
        call.record.mark("acts")
    ledger.waiting = waiting
    if response is not None and all(one.number != response.event_number for one in waiting):
        response.event_number = 0
    for act in ledger.acts.values():
        if act.status is ActStatus.BEGUN and act.span is not None and not _is_in(act.span.response_id, response):
            act.status = ActStatus.INTERRUPTED
            ledger.note(act)
            call.record.mark("acts")
    ask(call, at_ms)
    if not any(one.kind is EventKind.STARTED and one.data["resumed"] for one in waiting):
        queue(call, EventKind.STARTED, at_ms, {"resumed": True})
    call.record.mark("agent_events")


def _is_stale(event: AgentEvent, response: Response | None) -> bool:
    if event.kind is not EventKind.ASKED or event.is_interrupted:
        return False
    return not _is_in(event.data["response_id"], response) or (
        response is not None and response.event_number not in (0, event.number)
    )


def _is_in(response_id: str, response: Response | None) -> bool:
    return response is not None and response.response_id == response_id
