"""A call's connections, and its end.

::

    ATTACHED ──detach──> PARKED ──attach──> ATTACHED
       └─────────end────────┴──> ENDED

A handoff is a `detach` that was planned. When a call ends by itself, says `upkeep`.
"""

from __future__ import annotations

from voice_agent.call import input_audio, items
from voice_agent.call.completeness import NOTHING_MISSING
from voice_agent.call.effects import Attached, Effect, StopResponse
from voice_agent.call.event_ids import event_id
from voice_agent.call.inputs import ConnectionLost, ConnectionMade
from voice_agent.call.record import Call, Status
from voice_agent.errors import ProtocolError


def attach(call: Call, made: ConnectionMade, now_ms: int) -> Attached:
    """A client connected.

    A client that has seen more than the store remembers (it outlived an outage) is believed:
    numbering goes on after it.
    """
    last_event = made.last_event
    # A client that resumes sends again from `heard_ms` on: what lies behind it must be saved or forgotten.
    heard_to = call.input_audio.position
    input_audio.flush(call)
    input_audio.forget_unsaved(call)
    if call.playback is not None and call.left_at_ms:
        # No client played anything meanwhile.
        call.playback.started_at_ms += max(0, now_ms - max(call.left_at_ms, call.playback.started_at_ms))
        call.mark("playback")
    items.drop_pending_audio(call)
    call.client_events.resent_to = None if last_event is None else 0
    if call.status is not Status.ENDED:  # Else the connection comes too late, and its client is told of the end.
        call.status = Status.ATTACHED
        call.left_at_ms = 0
        call.handed_off = False
        call.resumable = call.resumable or made.resumable
        call.client_events.counts_bytes = made.counts_bytes
        call.mark("status")
    start = call.outbox.visible_seq if last_event is None else last_event
    gap = _missing(call, start)
    if start > call.outbox.seq:
        call.pass_over_ids(start - call.outbox.seq)
        call.outbox.go_on_after(start)
    replay = [entry for entry in call.outbox.after(start) if entry.n <= call.outbox.visible_seq]
    if call.missing_told_at is not None and (last_event is None or last_event > call.missing_told_at):
        # The client has seen an event since the greeting that told it, so that has arrived.
        call.missing = NOTHING_MISSING
    call.missing_told_at = start
    return Attached(start, gap, replay, rewound=call.input_audio.position != heard_to, missing=call.missing)


def acknowledge(call: Call, number: int) -> None:
    """The client has these events for good. Raises `ProtocolError` for one that it cannot have."""
    if number > call.outbox.visible_seq:
        message = f"{event_id(number)!r} was not sent yet; the newest event is {event_id(call.outbox.visible_seq)!r}."
        raise ProtocolError(message, code="invalid_value", param="event_id")
    call.outbox.drop_to(number)


def _missing(call: Call, start: int) -> tuple[int, int] | None:
    if start > call.outbox.seq:
        return call.outbox.seq + 1, start
    oldest = call.outbox.first_n or call.outbox.visible_seq + 1
    return (start + 1, oldest - 1) if oldest > start + 1 else None


def plan_handoff(call: Call) -> None:
    """This pod is about to close the connection: the next owner may claim sooner than this pod could write again."""
    input_audio.flush(call)
    call.handed_off = True
    call.mark("status")


def detach(call: Call, lost: ConnectionLost, now_ms: int) -> list[Effect]:
    """The connection is gone: the call waits for its client, or has ended with it."""
    call.outbox.sent_seq = call.outbox.visible_seq
    if lost.hung_up:
        return end(call, "hangup", now_ms)
    items.drop_pending_audio(call)
    input_audio.flush(call)
    call.status = Status.PARKED
    call.left_at_ms = now_ms
    call.handed_off = lost.planned
    call.mark("status")
    return []


def end(call: Call, outcome: str, now_ms: int) -> list[Effect]:
    """The call is over: what only a resume would need is dropped.

    Events that are not durable yet still go to the caller, with the write that ends the call.
    """
    effects: list[Effect] = [StopResponse(call.response.response_id)] if call.response else []
    call.response = call.pending_audio = None
    call.playback = None
    input_audio.forget_audio(call)
    call.outbox.clear()
    call.status = Status.ENDED
    call.outcome = outcome
    call.ended_at_ms = now_ms
    call.mark("status", "response")
    return effects
