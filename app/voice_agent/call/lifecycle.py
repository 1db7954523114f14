"""A call's connections, and its end.

::

    ATTACHED ──detach──> PARKED ──attach──> ATTACHED
       └─────────end────────┴──> ENDED

A handoff is a `detach` that was planned. When a call ends by itself, says `upkeep`.
"""

from __future__ import annotations

from voice_agent.call import input_audio, items
from voice_agent.call.completeness import NOTHING_MISSING
from voice_agent.call.effects import Attached, Effect
from voice_agent.call.event_ids import event_id
from voice_agent.call.inputs import ConnectionLost, ConnectionMade
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.errors import ProtocolError


def attach(call: CallRecord, made: ConnectionMade, now_ms: int) -> Attached:
    """A client connected.

    A client that has seen more than the store remembers (it outlived an outage) is believed:
    numbering goes on after it.
    """
    last_event = made.last_event
    # A client that resumes sends again from `heard_ms` on: what lies behind it must be saved or forgotten.
    heard_to = call.input_audio.position
    input_audio.flush(call)
    input_audio.forget_unsaved(call)
    lifecycle, playback = call.lifecycle, call.dialogue.playback
    if playback is not None and lifecycle.left_at_ms:
        # No client played anything meanwhile.
        playback.started_at_ms += max(0, now_ms - max(lifecycle.left_at_ms, playback.started_at_ms))
        call.record.mark("playback")
    items.drop_pending_audio(call.clips)
    call.client_events.resent_to = None if last_event is None else 0
    if lifecycle.status is not Status.ENDED:  # Else the connection comes too late, and its client is told of the end.
        lifecycle.status = Status.ATTACHED
        lifecycle.left_at_ms = 0
        lifecycle.handed_off = False
        lifecycle.resumable = lifecycle.resumable or made.resumable
        call.client_events.counts_bytes = made.counts_bytes
        call.record.mark("status")
    start = call.outbox.visible_seq if last_event is None else last_event
    gap = _missing(call, start)
    if start > call.outbox.seq:
        call.ids.pass_over(start - call.outbox.seq)
        call.record.mark("counts")
        call.outbox.go_on_after(start)
    replay = [entry for entry in call.outbox.after(start) if entry.n <= call.outbox.visible_seq]
    if call.record.missing_told_at is not None and (last_event is None or last_event > call.record.missing_told_at):
        # The client has seen an event since the greeting that told it, so that has arrived.
        call.record.missing = NOTHING_MISSING
    call.record.missing_told_at = start
    return Attached(start, gap, replay, rewound=call.input_audio.position != heard_to, missing=call.record.missing)


def acknowledge(call: CallRecord, number: int) -> None:
    """The client has these events for good. Raises `ProtocolError` for one that it cannot have."""
    if number > call.outbox.visible_seq:
        message = f"{event_id(number)!r} was not sent yet; the newest event is {event_id(call.outbox.visible_seq)!r}."
        raise ProtocolError(message, code="invalid_value", param="event_id")
    call.outbox.drop_to(number)


def _missing(call: CallRecord, start: int) -> tuple[int, int] | None:
    if start > call.outbox.seq:
        return call.outbox.seq + 1, start
    oldest = call.outbox.first_n or call.outbox.visible_seq + 1
    return (start + 1, oldest - 1) if oldest > start + 1 else None


def plan_handoff(call: CallRecord) -> None:
    """This pod is about to close the connection: the next owner may claim sooner than this pod could write again."""
    input_audio.flush(call)
    call.lifecycle.handed_off = True
    call.record.mark("status")


def detach(call: CallRecord, lost: ConnectionLost, now_ms: int) -> list[Effect]:
    """The connection is gone: the call waits for its client, or has ended with it."""
    call.outbox.sent_seq = call.outbox.visible_seq
    if lost.hung_up:
        return end(call, "hangup", now_ms)
    items.drop_pending_audio(call.clips)
    input_audio.flush(call)
    call.lifecycle.status = Status.PARKED
    call.lifecycle.left_at_ms = now_ms
    call.lifecycle.handed_off = lost.planned
    call.record.mark("status")
    return []


def end(call: CallRecord, outcome: str, now_ms: int) -> list[Effect]:
    """The call is over: what only a resume would need is dropped.

    Events that are not durable yet still go to the caller, with the write that ends the call.
    """
    call.response = call.clips.pending = None
    call.dialogue.playback = None
    if call.agent is not None:
        call.agent.clear()
    input_audio.forget_audio(call)
    call.outbox.clear()
    call.lifecycle.status = Status.ENDED
    call.lifecycle.outcome = outcome
    call.lifecycle.ended_at_ms = now_ms
    call.record.mark("status", "response")
    return []
