"""Responses: from `response.created` to `response.done`, however they end.

At most one response is under way. It is opened by `response.create`, by turn detection or by silence (`create`,
`start_response`), filled by the agent (`response_output`), and closed in one place::

    (none) ── create, start_response ──> in progress ──┬── the agent finished ──────────────> completed
                                                       ├── response.cancel, barge-in,
                                                       │   truncated or deleted while spoken ─> cancelled
                                                       ├── MAX_RESPONSE_CHARS ───────────────> incomplete
                                                       └── the agent failed ─────────────────> failed

`close` closes the item under way with what was sent of it, emits `response.done`, and empties the record's fields of
the response. What the agent still makes of a closed response is ignored by its id (`machine`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from voice_agent.call import events, truncation
from voice_agent.call.bounds import MAX_RESPONSE_BYTES, check_size, conversation_full
from voice_agent.call.effects import Effect, StartResponse, StopResponse
from voice_agent.call.inputs import TruncateItem
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response, ResponseRequest
from voice_agent.call.response_chunks import chunks_of
from voice_agent.call.response_items import finish_item, item_of, settings_of
from voice_agent.call.session_config import settings_under
from voice_agent.errors import ProtocolError


def create(call: CallRecord, params: dict[str, Any], now_ms: int) -> list[Effect]:
    """The client asks for a reply."""
    if call.response is not None:
        raise ProtocolError(
            f"Conversation already has an active response in progress: {call.response.response_id}. "
            "Wait until the response is finished before creating a new one.",
            code="conversation_already_has_active_response",
        )
    check_size(params, "response", MAX_RESPONSE_BYTES, limit="response_bytes")
    if call.conversation.is_full and params.get("conversation") != "none":
        raise conversation_full(call, "response")
    return start_response(call, params, now_ms)


def start_response(call: CallRecord, params: dict[str, Any], now_ms: int, *, cut: bool = False) -> list[Effect]:
    """Open a response and have the agent asked for it; `params` are checked. `cut`: see `ResponseRequest`."""
    call.dialogue.cut_off = ""
    clip = call.clips.answered = call.clips.latest
    asked = ResponseRequest(_pinned(call, params), now_ms, cut=cut)
    if clip is not None:
        asked.clip_id, asked.clip_first_n = clip.item_id, clip.first_n
        asked.heard_ms = call.session.input_format.ms(len(clip.audio))
    asked.up_to, asked.items_up_to = call.conversation.last_id or "", call.conversation.last_rank
    call.response = Response(call.ids.new_response(), asked)
    call.record.mark("counts", "response", "params", "plan", "piece", "said")
    call.outbox.emit(events.response_created(_response(call, "in_progress")))
    return [] if call.identity.mirror else [StartResponse(call.response.response_id)]


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
    return _stop(call, "client_cancelled", now_ms)


def interrupt(call: CallRecord, now_ms: int) -> list[Effect]:
    """The caller speaks: stop talking, and forget what was not heard (barge-in)."""
    effects = _stop(call, "turn_detected", now_ms) if call.response is not None else []
    truncation.truncate_to_heard(call, now_ms)
    return effects


def truncate(call: CallRecord, request: TruncateItem, now_ms: int) -> list[Effect]:
    """The client, which plays the audio, says how much of an item was heard. One that is being spoken stops there.

    Then nothing is wrong with naming more than was spoken, nor with a `response.cancel` that follows: clients that
    interrupt send both, not knowing how far the server is.
    """
    response = call.response
    is_spoken = response is not None and response.open_item.item_id == request.item_id and settings_of(call).wants_audio
    entry = call.conversation.get(request.item_id)
    if not is_spoken or request.content_index != 0 or entry is None:
        truncation.truncate(call, request)
        return []
    effects = cancel_item(call, request.item_id, now_ms)
    truncation.truncate(call, replace(request, audio_end_ms=min(request.audio_end_ms, entry.audio_ms)))
    return effects


def cancel_item(call: CallRecord, item_id: str, now_ms: int) -> list[Effect]:
    """The client has no use for an item any more, or for its end: if it is still being made, its response is over."""
    response = call.response
    if response is None or response.open_item.item_id != item_id:
        return []
    effects = _stop(call, "client_cancelled", now_ms)
    call.dialogue.cut_off = response.response_id
    return effects


def _stop(call: CallRecord, reason: str, now_ms: int) -> list[Effect]:
    """End the reply under way as cancelled; of what it was saying only what was sent is left."""
    assert call.response is not None
    response_id = call.response.response_id
    close(call, "cancelled", events.cancelled(reason), now_ms)
    return [StopResponse(response_id)]


def close(call: CallRecord, status: str, details: dict[str, Any] | None, now_ms: int) -> None:
    """End the response under way with a `status` and its ``status_details``."""
    response = call.response
    assert response is not None
    finish_item(call, response, "completed" if status == "completed" else "incomplete")
    call.outbox.emit(events.response_done(_response(call, status, details)))
    call.record.fields_to_empty += chunks_of(response)
    if call.clips.answered is not None:
        call.clips.answered.is_answered = True
    call.response = call.clips.answered = None
    here_ms = call.input_audio.base_ms + call.session.input_format.ms(call.input_audio.position)
    call.dialogue.idle_from_ms = here_ms + max(0, call.dialogue.playing_until_ms - now_ms)
    call.record.mark("response", "params", "plan", "playback", "piece", "said")


def _response(call: CallRecord, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    response = call.response
    assert response is not None
    settings = settings_of(call)
    output = [item for item_id in response.output_ids if (item := item_of(call, response, item_id))]
    conversation_id = call.call_id.replace("call_", "conv_", 1) if settings.in_conversation else None
    used = (
        None
        if status == "in_progress"
        else events.usage(response.asked.heard_ms, settings.output_format.ms(response.said.audio_bytes))
    )
    return events.response(
        response.response_id, status, details, output, settings, conversation_id=conversation_id, used=used
    )
