"""The rules of a call as one function: (call, input, time) → effects.

Every input comes in here, one at a time; `step` changes the call, emits server events
and returns what the runtime must start or stop. It never waits, never looks at a clock
and never leaves a call half changed: a `ProtocolError` is raised before anything
changed, and becomes an `error` event. By the kind of input::

    from the client    session · input_audio · items · responses · truncation
    from the agent     response_output · transcripts
    from the engine    agent_acts: what an agent does in an event, and its acknowledgement
    from the meter     metering: requests to providers, and what they used
    from the runtime   lifecycle: attach, detach, handoff and end
    from the store     durability: whose the call is, what becomes of its writes

Who takes a call over begins with `begin` in `beginnings`, and starts what `resume` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never, get_args

from voice_agent.call import (
    agent_acts,
    agent_events,
    durability,
    events,
    input_audio,
    inputs,
    items,
    lifecycle,
    metering,
    response_output,
    responses,
    session,
    transcripts,
)
from voice_agent.call.effects import (
    CountLimit,
    DeliverEvents,
    Effect,
    SetTimer,
    SpeechStarted,
    Transcribe,
)
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.errors import ProtocolError


def step(call: CallRecord, event: inputs.Input, now_ms: int) -> list[Effect]:
    """Apply one input to a call; nothing else changes it.

    Inputs of a response that is over are ignored, and of an ended call all but those that concern its writes, and
    requests to providers.
    """
    if call.lifecycle.status is Status.ENDED and type(event) not in _AFTER_THE_END:
        return []
    taken: list[Effect] = _HANDLERS[type(event)](call, event, now_ms)
    return taken


Step = Callable[[CallRecord, inputs.Input, int], list[Effect]]
"""`step`, or what calls it."""


def refusal(call: CallRecord, event: inputs.AppendAudio | inputs.CreateItem, audio_bytes: int) -> ProtocolError | None:
    """What is wrong with an input whose audio, of so many bytes, will come in pieces; nothing changes."""
    try:
        if isinstance(event, inputs.AppendAudio):
            input_audio.check_append(call, audio_bytes)
        else:
            items.check_new_item(call, event, audio_bytes)
    except ProtocolError as error:
        return error
    return None


def resume(call: CallRecord) -> list[Effect]:
    """What a new owner must start: transcriptions, and the agent's run."""
    effects: list[Effect] = [SpeechStarted(call.input_audio.item_id)] if input_audio.is_said(call) else []
    effects += [Transcribe(item_id, clip.audio, clip.said_bytes) for item_id, clip in call.clips.untranscribed.items()]
    ledger = call.agent
    if ledger is not None:
        effects += [DeliverEvents()] if ledger.waiting else []
        effects += [SetTimer(ledger.earliest_timer_ms)] if ledger.timers else []
    return effects


def is_quiet(call: CallRecord) -> bool:
    """Whether this is a good moment for a handoff: the caller is silent, and no response or transcript is under way.

    Nor has the agent anything to do that it is told by events.
    """
    waits = call.session.turn_detection is None and bool(call.input_audio.audio)
    return (
        (call.response is None or call.identity.mirror)
        and not (call.agent is not None and call.agent.waiting)
        and not call.input_audio.speaking
        and not waits
        and not call.clips.untranscribed
    )


def is_saved(call: CallRecord) -> bool:
    """Whether everything the caller has said so far has been handed to a write."""
    held = call.input_audio
    waits = call.session.turn_detection is None or held.speaking
    return not call.speech.unsaved and not (waits and held.saved < len(held.audio))


def _from_caller(call: CallRecord, event: inputs.FromCaller, now_ms: int) -> list[Effect]:
    event_id, known = event.event_id, call.client_events
    if event_id is not None and known.recognises(event_id):
        return []
    try:
        effects = _apply(call, event, now_ms)
    except ProtocolError as error:
        effects = _refused(call, event, error)
    if event_id is not None:
        known.remember(event_id, heard_to=call.input_audio.position if isinstance(event, inputs.AppendAudio) else 0)
    return effects


def _frame(call: CallRecord, event: inputs.AppendAudio, now_ms: int) -> list[Effect]:
    """As `_from_caller`, with less on the way of what nearly all of a caller's messages are: audio without an id."""
    if event.event_id is not None:
        return _from_caller(call, event, now_ms)
    try:
        return input_audio.append(call, event, now_ms)
    except ProtocolError as error:
        return _refused(call, event, error)


def _refused(call: CallRecord, event: inputs.FromCaller, error: ProtocolError) -> list[Effect]:
    is_append = isinstance(event, inputs.AppendAudio) or (isinstance(event, inputs.InvalidEvent) and event.is_append)
    is_nameless = is_append and event.event_id is None and call.client_events.counts_bytes
    call.outbox.emit(events.error(error, event.event_id, at_bytes=call.came_bytes if is_nameless else None))
    return [CountLimit(error.limit)] if error.limit else []


def _apply(call: CallRecord, event: inputs.FromCaller, now_ms: int) -> list[Effect]:
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
            return items.create_item(call, event, now_ms)
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
        case inputs.AcknowledgeEvents(number):
            lifecycle.acknowledge(call, number)
            return []
        case inputs.InvalidEvent(error):
            raise error
        case _:
            assert_never(event)


def _from_agent(call: CallRecord, event: inputs.FromAgent, now_ms: int) -> list[Effect]:
    if isinstance(event, inputs.Transcribed):
        return transcripts.transcribed(call, event, now_ms)
    if isinstance(event, inputs.TranscriptGiven):
        return transcripts.given(call, event, now_ms)
    if call.response is None or call.response.response_id != event.response_id:
        return []
    match event:
        case inputs.ResponseAudio():
            return response_output.audio(call, event, now_ms)
        case inputs.ResponseText():
            return response_output.text(call, event, now_ms)
        case inputs.ResponseDiverged():
            return response_output.diverged(call, event)
        case _:
            assert_never(event)


def _from_runtime(call: CallRecord, event: inputs.FromRuntime, now_ms: int) -> list[Effect]:
    match event:
        case inputs.AppendItemAudio():
            items.append_item_audio(call, event)
            return []
        case inputs.AudioStopped(spoken_to):
            return input_audio.stop_without_audio(call, spoken_to, now_ms)
        case inputs.ConnectionMade():
            return [lifecycle.attach(call, event, now_ms)]
        case inputs.ConnectionLost():
            return lifecycle.detach(call, event, now_ms)
        case inputs.HandoffPlanned():
            lifecycle.plan_handoff(call)
            return []
        case inputs.DrainAnnounced(time_left_ms):
            call.outbox.emit(events.going_away(time_left_ms, "drain"))
            return []
        case inputs.EndCall(outcome):
            return lifecycle.end(call, outcome, now_ms)
        case inputs.TimersDue():
            return agent_events.timers_due(call, now_ms)
        case inputs.DtmfPressed():
            return agent_acts.dtmf(call, event, now_ms)
        case _:
            assert_never(event)


def _from_store(call: CallRecord, event: inputs.FromStore, now_ms: int) -> list[Effect]:
    match event:
        case inputs.TakeWrite():
            return [durability.take(call, event, now_ms)]
        case inputs.EventsReleased(last_event):
            call.outbox.visible_seq = last_event
            return []
        case inputs.WriteLost(waiting):
            durability.requeue_whole(call, waiting)
            return []
        case inputs.SkipWrite():
            return [durability.skip(call)]
        case inputs.ClaimAsked(name):
            call.owner.doubted_claim = name
            return []
        case inputs.ClaimGranted(epoch, name):
            call.owner.go_on_under(epoch, name)
            return []
        case _:
            assert_never(event)


_HANDLERS: dict[type, Callable[..., list[Effect]]] = {
    **dict.fromkeys(get_args(inputs.FromCaller), _from_caller),
    **dict.fromkeys(get_args(inputs.FromAgent), _from_agent),
    **dict.fromkeys(get_args(inputs.FromEngine), agent_acts.apply),
    **dict.fromkeys(get_args(inputs.FromMeter), metering.apply),
    **dict.fromkeys(get_args(inputs.FromRuntime), _from_runtime),
    **dict.fromkeys(get_args(inputs.FromStore), _from_store),
    inputs.AppendAudio: _frame,
}
"""By the kind of input; looking into a union takes longer than all that is done to a frame."""

_AFTER_THE_END = frozenset((inputs.ConnectionMade, *get_args(inputs.FromStore), *get_args(inputs.FromMeter)))
"""What an ended call takes, too: its end is to be written, a connection that comes too late begins with it, and an
agent may ask a provider for a last thing, such as a summary."""
