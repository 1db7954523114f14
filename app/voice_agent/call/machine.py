"""The rules of a call as one function: (call, input, time) → effects.

Every input comes in here, one at a time; `step` changes the call, emits server events
and returns what the runtime must start or stop. It never waits, never looks at a clock
and never leaves a call half changed: a `ProtocolError` is raised before anything
changed, and becomes an `error` event. By the kind of input::

    from the client    session · input_audio · items · responses · truncation
    from the agent     response_output, transcripts here
    from the runtime   attach, detach, handoff and end, here

Beside `step` stand the other ways into a call, all of the runtime: `attach` (a client
connected), `resume` (a new owner) and `release` (a write is durable).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never, get_args

from voice_agent.call import events, input_audio, inputs, items, response_output, responses, session
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.effects import (
    CountLimit,
    Effect,
    StartResponse,
    StopResponse,
    Transcribe,
)
from voice_agent.call.record import Call, Status
from voice_agent.call.session_config import transcription_on
from voice_agent.errors import ProtocolError


def step(call: Call, event: inputs.Input, now_ms: int) -> list[Effect]:
    """Apply one input to a call. Inputs of a response that is over, and all inputs of an ended call, are ignored."""
    if call.status is Status.ENDED:
        return []
    taken: list[Effect] = _HANDLERS[type(event)](call, event, now_ms)
    return taken


def refusal(call: Call, event: inputs.AppendAudio | inputs.CreateItem, audio_bytes: int) -> ProtocolError | None:
    """What is wrong with an input whose audio, of so many bytes, will come in pieces; nothing changes."""
    try:
        if isinstance(event, inputs.AppendAudio):
            input_audio.check_append(call, audio_bytes)
        else:
            items.check_new_item(call, event, audio_bytes)
    except ProtocolError as error:
        return error
    return None


def resume(call: Call) -> list[Effect]:
    """What a new owner must start: transcriptions and the response that were under way."""
    effects: list[Effect] = [Transcribe(item_id, clip.audio) for item_id, clip in call.untranscribed.items()]
    if call.response is not None and not call.mirror:
        effects.append(StartResponse(call.response.response_id))
    return effects


def is_quiet(call: Call) -> bool:
    """Whether this is a good moment for a handoff: the caller is silent, and no response or transcript is under way."""
    waits = call.listening is None and bool(call.input_audio.audio)
    return (
        (call.response is None or call.mirror)
        and not call.input_audio.speaking
        and not waits
        and not call.untranscribed
    )


def is_saved(call: Call) -> bool:
    """Whether everything the caller has said so far has been handed to a write."""
    held = call.input_audio
    waits = call.listening is None or held.speaking
    return not call.unsaved_speech and not (waits and held.saved < len(held.audio))


@dataclass(frozen=True, slots=True)
class Attached:
    """What a new connection begins with."""

    start: int
    """Number of the event after which it goes on."""
    gap: tuple[int, int] | None
    """First and last number of the events in between that are not held any more."""
    replay: list[OutboxEntry]
    """What its client has missed; what is not durable yet follows by itself."""
    rewound: bool
    """Audio that was not saved is forgotten: the client sends it again, and endpointing must restart."""
    missing: Missing = NOTHING_MISSING
    """What the store had lost of the call when it was claimed."""


def attach(call: Call, last_event: int | None, now_ms: int, *, resumable: bool) -> Attached:
    """A client connected, having seen events up to `last_event` (None: it begins with what is not visible yet).

    A client that has seen more than the store remembers (it outlived an outage) is believed:
    numbering goes on after it. `resumable`: it can come back.
    """
    # A client that resumes sends again from `heard_ms` on: what lies behind it must be saved or forgotten.
    heard_to = call.input_audio.position
    input_audio.flush(call)
    input_audio.forget_unsaved(call)
    if call.playback is not None and call.left_at_ms:
        # No client played anything meanwhile.
        call.playback.started_at_ms += max(0, now_ms - max(call.left_at_ms, call.playback.started_at_ms))
        call.mark("response")
    items.drop_pending_audio(call)
    call.resent_to = None if last_event is None else 0
    call.status = Status.ATTACHED
    call.left_at_ms = 0
    call.handed_off = False
    call.resumable = call.resumable or resumable
    call.mark("status")
    start = call.visible_seq if last_event is None else last_event
    gap = _missing(call, start)
    if start > call.seq:
        call.pass_over_ids(start - call.seq)
        call.seq = call.visible_seq = start
        call.outbox.clear()  # What is in front of a hole cannot be replayed.
    replay = [entry for entry in call.outbox.after(start) if entry.n <= call.visible_seq]
    if call.missing_told_at is not None and (last_event is None or last_event > call.missing_told_at):
        # The client has seen an event since the greeting that told it, so that has arrived.
        call.missing = NOTHING_MISSING
    call.missing_told_at = start
    return Attached(start, gap, replay, rewound=call.input_audio.position != heard_to, missing=call.missing)


def _missing(call: Call, start: int) -> tuple[int, int] | None:
    if start > call.seq:
        return call.seq + 1, start
    oldest = call.outbox.first_n or call.visible_seq + 1
    return (start + 1, oldest - 1) if oldest > start + 1 else None


def release(call: Call, events: list[OutboxEntry]) -> None:
    """These events are durable (or the store is given up for now): they may be sent."""
    if events:
        call.visible_seq = events[-1].n


def _from_caller(call: Call, event: inputs.FromCaller, now_ms: int) -> list[Effect]:
    event_id = event.event_id
    if event_id is not None and call.recognises(event_id):
        return []
    try:
        effects = _apply(call, event, now_ms)
    except ProtocolError as error:
        call.emit(events.error(error, event_id))
        effects = [CountLimit(error.limit)] if error.limit else []
    if event_id is not None:
        call.remember(event_id, heard_to=call.input_audio.position if isinstance(event, inputs.AppendAudio) else 0)
    return effects


def _apply(call: Call, event: inputs.FromCaller, now_ms: int) -> list[Effect]:
    match event:
        case inputs.AppendAudio():
            return input_audio.append(call, event, now_ms)
        case inputs.CommitAudio():
            return input_audio.commit(call, now_ms)
        case inputs.ClearAudio():
            return input_audio.clear(call)
        case inputs.UpdateSession():
            return session.update_session(call, event)
        case inputs.CreateItem():
            return items.create_item(call, event)
        case inputs.RetrieveItem():
            return items.retrieve_item(call, event)
        case inputs.TruncateItem():
            return responses.truncate(call, event, now_ms)
        case inputs.DeleteItem():
            return items.delete_item(call, event, now_ms)
        case inputs.CreateResponse(params):
            return responses.create(call, params, now_ms)
        case inputs.CancelResponse(response_id):
            return responses.cancel(call, response_id, now_ms)
        case inputs.InvalidEvent(error):
            raise error
        case _:
            assert_never(event)


def _from_agent(call: Call, event: inputs.FromAgent, now_ms: int) -> list[Effect]:
    if isinstance(event, inputs.Transcribed):
        return _transcribed(call, event)
    if call.response is None or call.response.response_id != event.response_id:
        return []
    match event:
        case inputs.ResponseAudio():
            return response_output.audio(call, event, now_ms)
        case inputs.ResponseText():
            return response_output.text(call, event, now_ms)
        case inputs.ResponsePlanned():
            return response_output.planned(call, event)
        case inputs.ResponseFunctionCall():
            return response_output.function_call(call, event)
        case inputs.SideEffectBegun():
            return response_output.side_effect_begun(call, event)
        case inputs.SideEffectDone():
            return response_output.side_effect_done(call, event)
        case inputs.ResponseDiverged():
            return response_output.diverged(call, event)
        case inputs.ResponseFinished():
            return response_output.finished(call, event, now_ms)
        case inputs.ResponseFailed():
            return response_output.failed(call, event, now_ms)
        case _:
            assert_never(event)


def _transcribed(call: Call, event: inputs.Transcribed) -> list[Effect]:
    if event.item_id not in call.untranscribed:
        return []
    del call.untranscribed[event.item_id]
    call.mark("turn")
    entry = call.conversation.get(event.item_id)
    if entry is None:
        return []
    index = items.spoken_index(entry.item)
    entry.item["content"][index]["transcript"] = event.text
    call.conversation.touch(event.item_id)
    if not transcription_on(call.session):
        return []
    if event.text is None:
        call.emit(events.transcription_failed(event.item_id, index))
        return []
    if event.text:
        call.emit(events.transcription_delta(event.item_id, index, event.text))
    call.emit(events.transcription_completed(event.item_id, index, event.text, entry.audio_ms / 1000))
    return []


def _from_runtime(call: Call, event: inputs.FromRuntime, now_ms: int) -> list[Effect]:
    if isinstance(event, inputs.AppendItemAudio):
        items.append_item_audio(call, event)
        return []
    if isinstance(event, inputs.AudioStopped):
        return input_audio.stop_without_audio(call, now_ms)
    if isinstance(event, inputs.EndCall):
        return end(call, event.outcome, now_ms)
    if isinstance(event, inputs.HandoffPlanned):
        # Before the close is sent: the next owner may claim the call sooner than this pod could write again.
        input_audio.flush(call)
        call.handed_off = True
        call.mark("status")
        return []
    if isinstance(event, inputs.DrainAnnounced):
        call.emit(events.going_away(event.time_left_ms, "drain"))
        return []
    call.sent_seq = call.visible_seq
    if event.hung_up:
        return end(call, "hangup", now_ms)
    items.drop_pending_audio(call)
    input_audio.flush(call)
    call.status = Status.PARKED
    call.left_at_ms = now_ms
    call.handed_off = event.planned
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


_HANDLERS: dict[type, Callable[..., list[Effect]]] = {
    **dict.fromkeys(get_args(inputs.FromCaller), _from_caller),
    **dict.fromkeys(get_args(inputs.FromAgent), _from_agent),
    **dict.fromkeys(get_args(inputs.FromRuntime), _from_runtime),
}
"""By the kind of input; looking into a union takes longer than all that is done to a frame."""
