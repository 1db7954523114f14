"""Responses: from `response.created` to `response.done`, however they end.

At most one response is under way. It is opened by `response.create`, by turn detection or by silence (`create`,
`start_response`), filled by the agent (`response_output`), and closed in one place::

    (none) ── create, start_response ──> in progress ──┬── the agent finished ──────────────> completed
                                                       ├── response.cancel, barge-in,
                                                       │   truncated or deleted while spoken ─> cancelled
                                                       ├── MAX_RESPONSE_CHARS, its model was
                                                       │   cut short ─────────────────────────> incomplete
                                                       └── the agent failed ─────────────────> failed

`close` closes the item under way with what was sent of it, emits `response.done`, and empties the record's fields of
the response. What the agent still makes of a closed response is ignored by its id (`machine`).

The agent is asked by an event (`agent_events`), and some responses wait until the one under way is over: `MAX_LATER`
outside the conversation, and one in it (`go_on` opens them).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from voice_agent.call import agent_events, agent_ledger, events, truncation
from voice_agent.call.agent_ledger import AgentLedger, LaterResponse
from voice_agent.call.bounds import MAX_RESPONSE_BYTES, check_size, conversation_full
from voice_agent.call.effects import CountLimit, Effect
from voice_agent.call.inputs import TruncateItem
from voice_agent.call.metering import usage_of
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response, ResponseRequest
from voice_agent.call.response_chunks import chunks_of
from voice_agent.call.response_items import end_speech, item_of, settings_of
from voice_agent.call.session_config import ResponseSettings, settings_under
from voice_agent.errors import ProtocolError

MAX_LATER = 4
"""Responses outside the conversation that wait for their turn: stops a client that asks for them without end."""
MAX_LATER_BYTES = MAX_RESPONSE_BYTES
"""Of all that these ask for, as JSON."""


def create(call: CallRecord, params: dict[str, Any], now_ms: int) -> list[Effect]:
    """The client asks for a reply."""
    asked = LaterResponse(params)
    waits = call.agent is not None and _must_wait(call, call.agent, asked)
    if call.response is not None and not waits:
        raise _already_active(call.response.response_id)
    check_size(params, "response", MAX_RESPONSE_BYTES, limit="response_bytes")
    if call.conversation.is_full and asked.in_conversation:
        raise conversation_full(call, "response")
    if not waits or call.agent is None:
        return start_response(call, params, now_ms)
    _wait_for_turn(call, call.agent, asked)
    return []


def _already_active(which: str) -> ProtocolError:
    return ProtocolError(
        f"Conversation already has an active response in progress: {which}. "
        "Wait until the response is finished before creating a new one.",
        code="conversation_already_has_active_response",
    )


def _must_wait(call: CallRecord, ledger: AgentLedger, asked: LaterResponse) -> bool:
    """Whether a response that the client asks for may be opened later only. Raises `ProtocolError`: not even then.

    What an event says unprompted goes into the open response: so one outside the conversation opens when no event is
    waiting, and belongs to the first.
    """
    if agent_events.is_full(ledger):
        raise ProtocolError(
            f"{agent_events.MAX_WAITING} events of this call wait for its agent, which is the limit.",
            code="agent_busy",
            limit="agent_events",
        )
    if not asked.in_conversation:
        is_free = call.response is None and not ledger.waiting and not ledger.later and not call.clips.untranscribed
        if not is_free and sum(not one.in_conversation for one in ledger.later) >= MAX_LATER:
            raise ProtocolError(
                f"{MAX_LATER} responses outside the conversation wait for their turn, which is the limit.",
                code="conversation_already_has_active_response",
                limit="responses_waiting",
            )
        return not is_free
    if ledger.later_in_conversation() is not None:
        raise _already_active("one that waits for its turn")
    return call.response is not None and not settings_of(call).in_conversation


def _wait_for_turn(call: CallRecord, ledger: AgentLedger, asked: LaterResponse) -> None:
    size = sum(len(orjson.dumps(one.params)) for one in (*ledger.later, asked))
    if size > MAX_LATER_BYTES:
        raise ProtocolError(
            f"The responses that wait for their turn take {size} bytes as JSON; at most {MAX_LATER_BYTES} are allowed.",
            code="response_too_large",
            param="response",
            limit="responses_waiting",
        )
    ledger.later.append(asked)
    call.record.mark("later")


def answer_turn(call: CallRecord, now_ms: int, *, cut: bool = False) -> list[Effect]:
    """Turn detection wants a reply. While another is under way it waits."""
    ledger = call.agent
    assert ledger is not None  # Turns of a mirrored call are not detected.
    if agent_events.is_full(ledger):
        return [CountLimit("agent_events")]
    if call.response is None:
        return start_response(call, {}, now_ms, cut=cut)
    if ledger.later_in_conversation() is None:
        ledger.later.append(LaterResponse({}, of_turn=True, cut=cut))
        call.record.mark("later")
    return []


def go_on(call: CallRecord, now_ms: int) -> list[Effect]:
    """Have the agent asked for what it can be asked for now: the open response, or one that has waited."""
    ledger = call.agent
    if ledger is None:
        return []
    if call.response is not None:
        return agent_events.ask(call, now_ms)
    is_free = not ledger.waiting and not call.clips.untranscribed
    later = ledger.later_in_conversation() or (ledger.later[0] if ledger.later and is_free else None)
    if later is None:
        return []
    ledger.later.remove(later)
    call.record.mark("later")
    return start_response(call, later.params, now_ms, cut=later.cut)


def open_unprompted(call: CallRecord, event_number: int, now_ms: int) -> Response:
    """Open a response for what the agent says of its own accord, in an event."""
    response = _open(call, ResponseRequest(_pinned(call, {}), now_ms))
    response.event_number = event_number
    return response


def start_response(call: CallRecord, params: dict[str, Any], now_ms: int, *, cut: bool = False) -> list[Effect]:
    """Open a response and have the agent asked for it; `params` are checked. `cut`: see `ResponseRequest`."""
    clip = call.clips.answered = call.clips.latest
    asked = ResponseRequest(_pinned(call, params), now_ms, cut=cut)
    if clip is not None:
        asked.clip_id, asked.clip_first_n = clip.item_id, clip.first_n
        asked.heard_ms = call.session.input_format.ms(len(clip.audio))
    asked.up_to, asked.items_up_to = call.conversation.last_id or "", call.conversation.last_rank
    _open(call, asked)
    return agent_events.ask(call, now_ms)


def _open(call: CallRecord, asked: ResponseRequest) -> Response:
    call.dialogue.cut_off = ""
    response = call.response = Response(call.ids.new_response(), asked)
    call.record.mark("counts", "response", "params", "piece", "said")
    call.outbox.emit(events.response_created(_response(call, "in_progress")))
    return response


def _pinned(call: CallRecord, params: dict[str, Any]) -> dict[str, Any]:
    """A reply is spoken to its end as it began, whatever happens to the session meanwhile."""
    settings = settings_under(call.session.fields, params)
    output = {"format": settings.output_format.as_json(), "voice": settings.voice}
    return {**params, "output_modalities": settings.output_modalities, "audio": {"output": output}}


def cancel(call: CallRecord, response_id: str | None, now_ms: int) -> list[Effect]:
    """The client does not want the rest."""
    if call.dialogue.cut_off and response_id in (None, call.dialogue.cut_off):
        call.dialogue.cut_off = ""
        return []
    if call.response is None or response_id not in (None, call.response.response_id):
        raise ProtocolError(
            "Cancellation failed: no active response found"
            + (f" with id {response_id!r}." if response_id is not None else "."),
            code="response_cancel_not_active",
            param="response_id" if response_id is not None else None,
        )
    item_id = _being_said(call)
    return _stop(call, "client_cancelled", now_ms) + agent_events.interrupted(call, item_id, now_ms)


def interrupt(call: CallRecord, now_ms: int) -> list[Effect]:
    """The caller speaks: stop talking, and forget what was not heard (barge-in)."""
    ledger = call.agent
    assert ledger is not None  # As in `answer_turn`.
    speech = ledger.speech
    if speech is not None and speech.span is not None and not speech.span.is_interruptible:
        return []
    if any(one.of_turn for one in ledger.later):  # The turn goes on, and is answered at its end.
        ledger.later = [one for one in ledger.later if not one.of_turn]
        call.record.mark("later")
    item_id = _being_said(call)
    effects = _stop(call, "turn_detected", now_ms) if call.response is not None else []
    cut_id = truncation.truncate_to_heard(call, now_ms)
    return effects + agent_events.interrupted(call, item_id or cut_id, now_ms)


def _being_said(call: CallRecord) -> str | None:
    """The item under way, if something of it has been said, and it stands in the conversation."""
    response = call.response
    item_id = response.open_item.item_id if response is not None else None
    if response is None or item_id is None or item_id not in call.conversation:
        return None
    begun = len(response.said.text) > response.open_item.text_from or response.item_audio_bytes
    return item_id if begun else None


def truncate(call: CallRecord, request: TruncateItem, now_ms: int) -> list[Effect]:
    """The client, which plays the audio, says how much of an item was heard. One that is being spoken stops there.

    Then nothing is wrong with naming more than was spoken, nor with a `response.cancel` that follows: clients that
    interrupt send both, not knowing how far the server is.
    """
    response = call.response
    is_spoken = response is not None and response.open_item.item_id == request.item_id and settings_of(call).wants_audio
    entry = call.conversation.get(request.item_id)
    if not is_spoken or request.content_index != 0 or entry is None:
        was = agent_ledger.played(call.conversation, request.item_id)
        truncation.truncate(call, request)
        is_cut = was != agent_ledger.played(call.conversation, request.item_id)
        return agent_events.interrupted(call, request.item_id if is_cut else None, now_ms)
    effects = cancel_item(call, request.item_id, now_ms)
    truncation.truncate(call, replace(request, audio_end_ms=min(request.audio_end_ms, entry.audio_ms)))
    return effects


def cancel_item(call: CallRecord, item_id: str, now_ms: int) -> list[Effect]:
    """The client has no use for an item any more, or for its end: if it is still being made, its response is over."""
    response = call.response
    if response is None or response.open_item.item_id != item_id:
        return []
    said_id = _being_said(call)
    effects = _stop(call, "client_cancelled", now_ms) + agent_events.interrupted(call, said_id, now_ms)
    call.dialogue.cut_off = response.response_id
    return effects


def _stop(call: CallRecord, reason: str, now_ms: int) -> list[Effect]:
    """End the reply under way as cancelled; of what it was saying only what was sent is left."""
    assert call.response is not None
    return close_early(call, "cancelled", events.cancelled(reason), now_ms)


def close_early(call: CallRecord, status: str, details: dict[str, Any], now_ms: int) -> list[Effect]:
    """End the response under way while the agent is still at it."""
    response = call.response
    assert response is not None
    close(call, status, details, now_ms)
    return agent_events.stop(call, response) + go_on(call, now_ms)


def close(call: CallRecord, status: str, details: dict[str, Any] | None, now_ms: int) -> None:
    """End the response under way with a `status` and its ``status_details``."""
    response = call.response
    assert response is not None
    end_speech(call, response, is_complete=status == "completed")
    call.outbox.emit(events.response_done(_response(call, status, details)))
    call.record.fields_to_empty += chunks_of(response)
    if call.clips.answered is not None:
        call.clips.answered.is_answered = True
    call.response = call.clips.answered = None
    here_ms = call.input_audio.base_ms + call.session.input_format.ms(call.input_audio.position)
    call.dialogue.idle_from_ms = here_ms + max(0, call.dialogue.playing_until_ms - now_ms)
    call.record.mark("response", "params", "playback", "piece", "said")


def _response(call: CallRecord, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    response = call.response
    assert response is not None
    settings = settings_of(call)
    output = [item for item_id in response.output_ids if (item := item_of(call, response, item_id))]
    conversation_id = call.call_id.replace("call_", "conv_", 1) if settings.in_conversation else None
    used = None if status == "in_progress" else _usage(call, response, settings)
    return events.response(
        response.response_id, status, details, output, settings, conversation_id=conversation_id, used=used
    )


def _usage(call: CallRecord, response: Response, settings: ResponseSettings) -> dict[str, Any] | None:
    metered = usage_of(call, response)
    if metered is not None:
        return events.metered_usage(metered)
    return events.usage(response.asked.heard_ms, settings.output_format.ms(response.said.audio_bytes))
