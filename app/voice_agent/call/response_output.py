"""What the agent makes of a response: text, audio and tool calls, and its failure.

Each part of text and audio is an input of its own and is stored as it comes, so another pod goes on after exactly what
is durable. Text comes before the audio that says it; where each piece of text is in the audio is its alignment (see
`alignment`).
"""

from __future__ import annotations

from zlib import crc32

from voice_agent.call import events
from voice_agent.call.apology import Apology
from voice_agent.call.dialogue import Playback
from voice_agent.call.effects import CountLimit, Effect
from voice_agent.call.inputs import ResponseAudio, ResponseDiverged, ResponseText
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.response_chunks import WORDS, changed_from
from voice_agent.call.response_items import (
    begin_piece,
    end_speech,
    entries_now,
    finish_item,
    index_of,
    open_item,
    settings_of,
)
from voice_agent.call.responses import close, close_early
from voice_agent.call.stored_record import StoredRecord

MAX_RESPONSE_CHARS = 64 * 1024
"""Of one response, an hour of speech, for it is shown in six events at its end. One that goes on ends incomplete."""
APOLOGY_CHUNK_MS = 100
"""As the audio of agents."""
STALL_MS = 20
"""Audio that comes so much too late does not keep a caller waiting, whose client buffers that much."""


def text(call: CallRecord, part: ResponseText, now_ms: int) -> list[Effect]:
    """More text, or more of the transcript of what is about to be spoken."""
    response = call.response
    assert response is not None
    item_id = open_item(call, response)
    if response.said.audio_bytes > response.said.piece.audio_from and not part.joins:
        response.said.alignment += entries_now(call, response)
        begin_piece(call.record, response, len(response.said.text))
    spoken = settings_of(call).wants_audio
    if not part.joins:
        _note_piece(response, voiced=part.voiced, spoken=spoken)
    call.record.mark("said")
    if not part.delta:
        return []
    left = MAX_RESPONSE_CHARS - len(response.said.text)
    response.said.text += part.delta[:left]
    delta = events.output_audio_transcript_delta if spoken else events.output_text_delta
    call.outbox.emit(delta(response.response_id, item_id, index_of(response), part.delta[:left]))
    if len(part.delta) <= left:
        return []
    effects = close_early(call, "incomplete", events.incomplete("max_output_tokens"), now_ms)
    return [*effects, CountLimit("response_text")]


def _note_piece(response: Response, *, voiced: bool, spoken: bool) -> None:
    """A piece begins. In an item that is only written, all text that a voice would say is one: tokens cost little."""
    said = response.said
    at_start = len(said.text) == response.open_item.text_from
    if spoken or not voiced or at_start or not said.pieces or not said.pieces[-1][2]:
        said.pieces.append([len(said.text), said.audio_bytes, voiced])


def audio(call: CallRecord, part: ResponseAudio, now_ms: int) -> list[Effect]:
    """More speech."""
    response = call.response
    assert response is not None
    if not part.audio:
        if part.made_bytes and response.open_item.item_id is not None:
            _piece_is_made(call.record, response, part)
        return []
    item_id = open_item(call, response)
    playback = _playback_of(call, item_id, now_ms)
    said, item = response.said, response.open_item
    said.audio_bytes += len(part.audio)
    if not call.identity.mirror:
        said.checksum = crc32(part.audio, said.checksum)
    playback.audio_bytes = said.audio_bytes - item.audio_from
    if part.made_bytes:
        _piece_is_made(call.record, response, part)
    if item.delta_head[0] != item_id:
        item.delta_head = (
            item_id,
            events.pack(events.output_audio_delta(response.response_id, item_id, index_of(response))),
        )
    call.outbox.emit_packed(item.delta_head[1], part.audio)
    return []


def _piece_is_made(record: StoredRecord, response: Response, part: ResponseAudio) -> None:
    piece = response.said.piece
    if (part.made_bytes, part.is_partial) != (piece.made_bytes, piece.is_partial):
        piece.made_bytes, piece.is_partial = part.made_bytes, part.is_partial
        record.mark("piece")
    if piece.words[part.words_from :] != part.words:
        piece.words[part.words_from :] = part.words
        changed_from(response, WORDS, part.words_from)
        record.mark("said")


def _playback_of(call: CallRecord, item_id: str, now_ms: int) -> Playback:
    """How the item is played, more of which comes now: it goes on where it stopped, if it had to wait for that."""
    dialogue = call.dialogue
    playback = dialogue.playback
    if playback is None or playback.item_id != item_id:
        bytes_per_ms = settings_of(call).output_format.bytes_per_ms
        starts_at_ms = max(now_ms, dialogue.playing_until_ms)
        playback = dialogue.playback = Playback(item_id, starts_at_ms, bytes_per_ms=bytes_per_ms)
        speech = call.agent.speech if call.agent is not None else None
        if speech is not None and speech.span is not None:
            playback.is_interruptible = speech.span.is_interruptible
        if not call.session.voice_locked:
            call.session.voice_locked = True
            call.record.mark("session")
        call.record.mark("playback")
    elif not call.identity.mirror and (waited_ms := now_ms - playback.started_at_ms - playback.sent_ms) > STALL_MS:
        playback.started_at_ms += waited_ms
        call.record.mark("playback")
    return playback


def ask_tool(call: CallRecord, name: str, arguments: str) -> str:
    """Put a function call into the response under way; the id of its item."""
    response = call.response
    assert response is not None
    finish_item(call, response, "completed")
    item_id = call.ids.new_item(call.conversation)
    call.record.mark("counts", "response", "said")
    previous = call.conversation.last_id
    item = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": "in_progress",
        "name": name,
        "call_id": item_id.replace("item", "fc", 1),
        "arguments": "",
    }
    out_of_band = not settings_of(call).in_conversation
    if out_of_band:
        response.out_of_band[item_id] = item
    else:
        call.conversation.add(item)
    response.output_ids.append(item_id)
    index = index_of(response)
    call.outbox.emit(events.output_item_added(response.response_id, index, item))
    if not out_of_band:
        call.outbox.emit(events.item_added(previous, item))
    call.outbox.emit(
        events.function_call_arguments_delta(response.response_id, item_id, index, item["call_id"], arguments)
    )
    item.update(status="completed", arguments=arguments)
    call.outbox.emit(
        events.function_call_arguments_done(response.response_id, item_id, index, item["call_id"], name, arguments)
    )
    if not out_of_band:
        call.conversation.touch(item_id)
        call.outbox.emit(events.item_done(previous, item))
    call.outbox.emit(events.output_item_done(response.response_id, index, item))
    return item_id


def diverged(call: CallRecord, part: ResponseDiverged) -> list[Effect]:
    """What comes now is not the rest of what was said: it is not joined to it as if it were."""
    response = call.response
    assert response is not None
    if part.said_to is None:
        finish_item(call, response, "incomplete")
        call.record.mark("response")
    elif response.open_item.item_id is not None:
        sent_ms = settings_of(call).output_format.ms(response.item_audio_bytes)
        response.said.alignment += [entry for entry in entries_now(call, response) if entry[0] <= sent_ms]
        begin_piece(call.record, response, max(part.said_to, response.open_item.text_from))
        call.record.mark("said")
    return []


def fail(call: CallRecord, message: str, apology: Apology | None, now_ms: int) -> None:
    """End the response under way as failed.

    What broke the agent once would break it again: joined to the next turn it would make the call useless.
    """
    response = call.response
    assert response is not None
    call.dialogue.failed_up_to = response.asked.up_to or call.dialogue.failed_up_to
    call.record.mark("turn")
    end_speech(call, response, is_complete=False)
    if apology is not None and settings_of(call).in_conversation:
        _apologize(call, response, apology, now_ms)
    close(call, "failed", events.failed("agent_failed", message), now_ms)


def _apologize(call: CallRecord, response: Response, apology: Apology, now_ms: int) -> None:
    """Say it in an item of its own, where the answer would stand: what was said meanwhile is not answered by it."""
    behind = next(
        (id_ for id_ in (*reversed(response.output_ids), response.asked.up_to) if id_ in call.conversation), None
    )
    item_id = open_item(call, response, after=behind)
    spoken = settings_of(call).wants_audio
    response.said.text += apology.words
    delta = events.output_audio_transcript_delta if spoken else events.output_text_delta
    call.outbox.emit(delta(response.response_id, item_id, index_of(response), apology.words))
    chunk_bytes = settings_of(call).output_format.size(APOLOGY_CHUNK_MS)
    for at in range(0, len(apology.audio) if spoken else 0, chunk_bytes):
        chunk = apology.audio[at : at + chunk_bytes]
        audio(call, ResponseAudio(response.response_id, chunk, len(apology.audio)), now_ms)
    finish_item(call, response, "completed")
