"""Replies: from `response.created` to `response.done`, however they end.

At most one reply is under way. Its parts are numbered and stored as they come, so
another pod can go on after exactly what is durable. A reply ends completed, cancelled
(by the client or by the caller's voice) or failed; all three close what was opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zlib import crc32

import orjson

from voice_agent.call import events, truncation
from voice_agent.call.bounds import conversation_full
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.effects import CloseConnection, CountLimit, Effect, LetOut, StartResponse, StopResponse
from voice_agent.call.inputs import (
    Apology,
    ResponseAudio,
    ResponseDiverged,
    ResponseFailed,
    ResponseFinished,
    ResponseFunctionCall,
    ResponsePlanned,
    ResponseText,
    SideEffectBegun,
    SideEffectDone,
    TruncateItem,
)
from voice_agent.call.record import NUMBERS_AHEAD, Call, Playback, Response
from voice_agent.call.response_items import (
    begin_piece,
    entries_now,
    finish_item,
    index_of,
    item_of,
    open_item,
    settings_of,
)
from voice_agent.call.session import check_response, settings_under
from voice_agent.call.spoken_so_far import chunks_of
from voice_agent.errors import ProtocolError

MAX_RESPONSE_CHARS = 64 * 1024
"""Of one reply, an hour of speech, for it is shown in six events at its end. One that goes on ends incomplete."""
APOLOGY_CHUNK_MS = 100
"""As the audio of agents."""
STALL_MS = 20
"""What comes so much too late does not keep a caller waiting whose client holds that much back."""
MIRROR_NUMBERS_LEFT = NUMBERS_AHEAD - 100
"""How far the stored positions may lag behind where mirrored audio is let out unsaved: a hundred frames."""


def create(call: Call, params: dict[str, Any], now_ms: int) -> list[Effect]:
    """The client asks for a reply."""
    if call.response is not None:
        raise ProtocolError(
            f"Conversation already has an active response in progress: {call.response.response_id}. "
            "Wait until the response is finished before creating a new one.",
            code="conversation_already_has_active_response",
        )
    given = check_response(params)
    if call.conversation.is_full and given.get("conversation") != "none":
        raise conversation_full(call, "response")
    return start_response(call, given, now_ms)


def start_response(call: Call, params: dict[str, Any], now_ms: int, *, cut: bool = False) -> list[Effect]:
    """Open a response and have the agent asked for it; `params` are checked. `cut`: see `Response`."""
    call.cut_off = ""
    call.answered = call.clip
    clip_id, clip_n = (call.clip.item_id, call.clip.first_n) if call.clip is not None else ("", 0)
    call.response = Response(call.new_response_id(), _pinned(call, params), now_ms, clip_id, clip_n, cut=cut)
    call.response.asked_to, call.response.items_to = call.conversation.last_id or "", call.conversation.last_rank
    call.response.heard_ms = call.input_format.ms(len(call.clip.audio)) if call.clip is not None else 0
    call.mark("counts", "response", "piece")
    call.emit(events.response_created(_response(call, "in_progress")))
    return [] if call.mirror else [StartResponse(call.response.response_id)]


def _pinned(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """A reply is spoken to its end as it began, whatever happens to the session meanwhile."""
    settings = settings_under(call.session, params)
    output = {"format": settings.output_format.as_json(), "voice": settings.voice}
    return {**params, "output_modalities": settings.output_modalities, "audio": {"output": output}}


def cancel(call: Call, response_id: str | None, now_ms: int) -> list[Effect]:
    """The client does not want the rest."""
    if call.cut_off and response_id in (None, call.cut_off):
        call.cut_off = ""
        return []
    if call.response is None or response_id not in (None, call.response.response_id):
        raise ProtocolError(
            "Cancellation failed: no active response found"
            + (f" with id {response_id!r}." if response_id is not None else "."),
            code="response_cancel_not_active",
            param="response_id" if response_id is not None else None,
        )
    return _stop(call, "client_cancelled", now_ms)


def interrupt(call: Call, now_ms: int) -> list[Effect]:
    """The caller speaks: stop talking, and forget what was not heard (barge-in)."""
    effects = _stop(call, "turn_detected", now_ms) if call.response is not None else []
    truncation.truncate_to_heard(call, now_ms)
    return effects


def truncate(call: Call, wish: TruncateItem, now_ms: int) -> list[Effect]:
    """The client, which plays the audio, says how much of an item was heard. One that is being spoken stops there.

    Then nothing is wrong with naming more than was spoken, nor with a `response.cancel` that follows: clients that
    interrupt send both, not knowing how far the server is.
    """
    response = call.response
    is_spoken = response is not None and response.item_id == wish.item_id and settings_of(call).wants_audio
    entry = call.conversation.get(wish.item_id)
    if not is_spoken or wish.content_index != 0 or entry is None:
        truncation.truncate(call, wish)
        return []
    effects = take_back(call, wish.item_id, now_ms)
    truncation.truncate(call, replace(wish, audio_end_ms=min(wish.audio_end_ms, entry.audio_ms)))
    return effects


def take_back(call: Call, item_id: str, now_ms: int) -> list[Effect]:
    """The client has no use for an item any more, or for its end: if it is still being made, its response is over."""
    response = call.response
    if response is None or response.item_id != item_id:
        return []
    effects = _stop(call, "client_cancelled", now_ms)
    call.cut_off = response.response_id
    return effects


def _stop(call: Call, reason: str, now_ms: int) -> list[Effect]:
    """End the reply under way as cancelled; of what it was saying only what was sent is left."""
    assert call.response is not None
    response_id = call.response.response_id
    _close(call, "cancelled", {"type": "cancelled", "reason": reason}, now_ms)
    return [StopResponse(response_id)]


def planned(call: Call, part: ResponsePlanned) -> list[Effect]:
    """The agent decided. From now on a resume follows this plan."""
    assert call.response is not None
    call.response.plan = part.plan
    call.agent_state = part.state
    call.mark("response", "agent")
    return []


def text(call: Call, part: ResponseText, now_ms: int) -> list[Effect]:
    """More text, or more of the transcript of what is about to be spoken."""
    response = call.response
    assert response is not None
    if not part.delta:
        return []
    item_id = open_item(call, response)
    if response.audio_bytes > response.piece.audio_from and not part.joins:
        response.alignment += entries_now(call, response)
        begin_piece(call, response, len(response.text))
    left = MAX_RESPONSE_CHARS - len(response.text)
    response.text += part.delta[:left]
    call.mark("said")
    spoken = settings_of(call).wants_audio
    delta = events.output_audio_transcript_delta if spoken else events.output_text_delta
    call.emit(delta(response.response_id, item_id, index_of(response), part.delta[:left]))
    if len(part.delta) <= left:
        return []
    _close(call, "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}, now_ms)
    return [StopResponse(response.response_id), CountLimit("reply_text")]


def audio(call: Call, part: ResponseAudio, now_ms: int) -> list[Effect]:
    """More speech."""
    response = call.response
    assert response is not None
    if not part.audio:
        return []
    item_id = open_item(call, response)
    playback = _playback_of(call, item_id, now_ms)
    response.audio_bytes += len(part.audio)
    if not call.mirror:
        response.piece_checksum = crc32(part.audio, response.piece_checksum)
    playback.audio_bytes = response.item_audio_bytes
    piece = response.piece
    if part.made_bytes and (part.made_bytes, part.words) != (piece.made_bytes, piece.words):
        piece.made_bytes, piece.words = part.made_bytes, part.words
        call.mark("piece")
    if call.delta_head[0] != item_id:
        call.delta_head = (
            item_id,
            orjson.dumps(events.output_audio_delta(response.response_id, item_id, index_of(response))),
        )
    call.emit_packed(call.delta_head[1], part.audio)
    return []


def _playback_of(call: Call, item_id: str, now_ms: int) -> Playback:
    """How the item is played, more of which comes now: it goes on where it stopped, if it had to wait for that."""
    playback = call.playback
    if playback is None or playback.item_id != item_id:
        bytes_per_ms = settings_of(call).output_format.bytes_per_ms
        playback = call.playback = Playback(item_id, max(now_ms, playing_until_ms(call)), bytes_per_ms=bytes_per_ms)
        if not call.voice_locked:
            call.voice_locked = True
            call.mark("session")
        call.mark("response")
    elif not call.mirror and (waited_ms := now_ms - playing_until_ms(call)) > STALL_MS:
        playback.started_at_ms += waited_ms
        call.mark("response")
    return playback


def mirror_frame(call: Call, frame: bytes, now_ms: int) -> list[Effect]:
    """`loopback`: what came in goes out, inside one open response."""
    buffer = call.input_audio
    buffer.position += len(frame)
    if call.response is None:
        start_response(call, {}, now_ms)
        assert call.response is not None
    audio(call, ResponseAudio(call.response.response_id, frame), now_ms)
    if call.visible_seq + 1 == call.seq <= call.reserved:
        # Every event before this one was let out, and the store counts its number as used.
        [event] = call.take_unsaved_events(1)
        call.visible_seq = event.n
        _save_in_time(call)
        return [LetOut(event)]
    return []


def let_out(call: Call, frame: bytes) -> OutboxEntry | None:
    """`mirror_frame` in the middle of an item; see `machine.let_out`."""
    response, playback, head = call.response, call.playback, call.delta_head
    size = len(frame)
    if (
        response is None
        or playback is None
        or response.item_id != head[0]
        or not size
        or size % call.input_format.sample_bytes
    ):
        return None
    call.input_audio.position += size
    response.audio_bytes += size
    playback.audio_bytes += size
    n = call.seq = call.visible_seq = call.seq + 1
    if call.reserving - n <= MIRROR_NUMBERS_LEFT:
        _save_in_time(call)
    return OutboxEntry(n, head[1], frame)


def _save_in_time(call: Call) -> None:
    """Have the positions written now and then, and new numbers taken long before they run out."""
    if call.reserving - call.seq <= MIRROR_NUMBERS_LEFT:
        call.mark("counts")


def function_call(call: Call, part: ResponseFunctionCall) -> list[Effect]:
    """The agent asks the client to run a tool; the client answers with `function_call_output`."""
    response = call.response
    assert response is not None
    finish_item(call, response, "completed")
    item_id = call.new_item_id()
    call.mark("counts", "response")
    previous = call.conversation.last_id
    item = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": "in_progress",
        "name": part.name,
        "call_id": item_id.replace("item", "fc", 1),
        "arguments": "",
    }
    out_of_band = not settings_of(call).in_conversation
    if out_of_band:
        response.out_of_band[item_id] = item
    else:
        call.conversation.add(item)
    response.output_ids.append(item_id)
    response.functions_called += 1
    index = index_of(response)
    call.emit(events.output_item_added(response.response_id, index, item))
    if not out_of_band:
        call.emit(events.item_added(previous, item))
    call.emit(
        events.function_call_arguments_delta(response.response_id, item_id, index, item["call_id"], part.arguments)
    )
    item.update(status="completed", arguments=part.arguments)
    call.emit(
        events.function_call_arguments_done(
            response.response_id, item_id, index, item["call_id"], part.name, part.arguments
        )
    )
    if not out_of_band:
        call.conversation.touch(item_id)
        call.emit(events.item_done(previous, item))
    call.emit(events.output_item_done(response.response_id, index, item))
    return []


def step_begun(call: Call, part: SideEffectBegun) -> list[Effect]:
    """The agent is about to do something in the world: the step gets its idempotency key before it is done.

    The key is made of the call's id and an item id that only this step of this response can have. So it is the same
    one where the store has lost the step and the response does it again, and nobody else's where the store has lost
    the response too.
    """
    response = call.response
    assert response is not None
    item_id = response.response_id.replace("resp", "item", 1)
    step = f"{len(response.side_effects)}_{crc32(part.name.encode()):08x}"
    response.side_effects.append({"name": part.name, "key": f"{call.call_id}:{item_id}_{step}"})
    call.mark("response")
    return []


def step_done(call: Call, part: SideEffectDone) -> list[Effect]:
    """What a step gave; a resume takes it from here instead of doing the step again."""
    assert call.response is not None
    call.response.side_effects[part.number]["result"] = part.result
    call.mark("response")
    return []


def diverged(call: Call, part: ResponseDiverged) -> list[Effect]:
    """What comes now is not the rest of what was said: it is not joined to it as if it were."""
    response = call.response
    assert response is not None
    if part.said_to is None:
        finish_item(call, response, "incomplete")
        call.mark("response")
    elif response.item_id is not None:
        sent_ms = settings_of(call).output_format.ms(response.item_audio_bytes)
        response.alignment += [entry for entry in entries_now(call, response) if entry[0] <= sent_ms]
        begin_piece(call, response, max(part.said_to, response.item_text_from))
        call.mark("said")
    return []


def finished(call: Call, part: ResponseFinished, now_ms: int) -> list[Effect]:
    """The agent said all it had to say."""
    _close(call, "completed", None, now_ms)
    if part.hang_up:
        return [CloseConnection(1000, "the agent hung up")]
    return []


def failed(call: Call, part: ResponseFailed, now_ms: int) -> list[Effect]:
    """The agent broke; the call goes on, with what the caller says next.

    What broke the agent once would break it again: joined to the next turn it would make the call useless.
    """
    response = call.response
    assert response is not None
    call.failed_to = response.asked_to
    call.mark("turn")
    finish_item(call, response, "incomplete")
    if part.apology is not None and settings_of(call).in_conversation:
        _apologize(call, response, part.apology, now_ms)
    error = {"type": "server_error", "code": "agent_failed", "message": part.message}
    _close(call, "failed", {"type": "failed", "error": error}, now_ms)
    return []


def _apologize(call: Call, response: Response, apology: Apology, now_ms: int) -> None:
    """Say it in an item of its own, where the answer would stand: what was said meanwhile is not answered by it."""
    behind = next(
        (id_ for id_ in (*reversed(response.output_ids), response.asked_to) if id_ in call.conversation), None
    )
    item_id = open_item(call, response, after=behind)
    spoken = settings_of(call).wants_audio
    response.text += apology.words
    delta = events.output_audio_transcript_delta if spoken else events.output_text_delta
    call.emit(delta(response.response_id, item_id, index_of(response), apology.words))
    chunk_bytes = settings_of(call).output_format.size(APOLOGY_CHUNK_MS)
    for at in range(0, len(apology.audio) if spoken else 0, chunk_bytes):
        chunk = apology.audio[at : at + chunk_bytes]
        audio(call, ResponseAudio(response.response_id, chunk, len(apology.audio)), now_ms)
    finish_item(call, response, "completed")


def _close(call: Call, status: str, details: dict[str, Any] | None, now_ms: int) -> None:
    response = call.response
    assert response is not None
    finish_item(call, response, "completed" if status == "completed" else "incomplete")
    call.emit(events.response_done(_response(call, status, details)))
    call.fields_to_empty += chunks_of(response)
    call.response = call.answered = None
    here_ms = call.input_audio.base_ms + call.input_format.ms(call.input_audio.position)
    call.idle_from_ms = here_ms + max(0, playing_until_ms(call) - now_ms)
    call.mark("response")


def playing_until_ms(call: Call) -> int:
    """When the caller has probably heard all that was sent; 0 if that is nothing."""
    playback = call.playback
    return 0 if playback is None else playback.started_at_ms + playback.sent_ms


def _response(call: Call, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    response = call.response
    assert response is not None
    settings = settings_of(call)
    output = [item for item_id in response.output_ids if (item := item_of(call, response, item_id))]
    conversation_id = call.call_id.replace("call_", "conv_", 1) if settings.in_conversation else None
    used = (
        None
        if status == "in_progress"
        else events.usage(response.heard_ms, settings.output_format.ms(response.audio_bytes))
    )
    return events.response(
        response.response_id, status, details, output, settings, conversation_id=conversation_id, used=used
    )
