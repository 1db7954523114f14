"""The items of a response: opened, filled piece by piece, and closed with what was said.

At most one message item is open. It has one content part, whose text and audio the response counts from
`OpenItem.text_from` and `OpenItem.audio_from` on; where pieces of text are in the audio is its alignment (see
`alignment`). Items stand in the conversation, or in `Response.out_of_band` where the response is outside it.
"""

from __future__ import annotations

from typing import Any

from voice_agent.call import events
from voice_agent.call.agent_ledger import ActStatus
from voice_agent.call.alignment import Alignment, Piece, alignment_of, cut, entries_of, heard_text
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.response_chunks import ALIGNMENT, OUT_OF_BAND, WORDS, changed_from
from voice_agent.call.session_config import ResponseSettings
from voice_agent.call.stored_record import StoredRecord

_NO_PARAMS: dict[str, Any] = {}


def settings_of(call: CallRecord) -> ResponseSettings:
    """What holds for the reply under way: the session's settings under those of `response.create`."""
    return call.session.under(call.response.asked.params if call.response else _NO_PARAMS)


def open_item(call: CallRecord, response: Response, *, after: str | None = None) -> str:
    """The id of the message item under way; a new one, at the end or behind the item `after`, if there is none."""
    opened = response.open_item
    if opened.item_id is not None:
        return opened.item_id
    item_id = opened.item_id = call.ids.new_item(call.conversation)
    opened.text_from, opened.audio_from = len(response.said.text), response.said.audio_bytes
    begin_piece(call.record, response, len(response.said.text))
    response.output_ids.append(item_id)
    call.record.mark("counts", "response", "said")
    previous = after or call.conversation.last_id
    item = _in_progress(item_id)
    out_of_band = not settings_of(call).in_conversation
    if out_of_band:
        response.out_of_band[item_id] = item
    else:
        call.conversation.add(item, after=after)
    index = index_of(response)
    call.outbox.emit(events.output_item_added(response.response_id, index, item))
    if not out_of_band:
        call.outbox.emit(events.item_added(previous, item))
    call.outbox.emit(events.content_part_added(response.response_id, item_id, index, settings_of(call).wants_audio))
    return item_id


def open_again(call: CallRecord, response: Response) -> None:
    """Give the message item under way back to a conversation whose store has lost it: its words are the reply's."""
    if response.open_item.item_id is not None and item_of(call, response, response.open_item.item_id) is None:
        call.conversation.add(_in_progress(response.open_item.item_id))


def _in_progress(item_id: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def finish_item(call: CallRecord, response: Response, status: str) -> None:
    """Close the message item under way, if there is one; ``incomplete``: with what was sent of it."""
    item_id = response.open_item.item_id
    if item_id is None:
        return
    response.open_item.item_id = None
    _note_item(call, response, item_id)
    spoken = settings_of(call).wants_audio
    index = index_of(response)
    audio_ms = settings_of(call).output_format.ms(response.item_audio_bytes)
    said, alignment = _said(call, response, cut_at_ms=audio_ms if spoken and status == "incomplete" else None)
    response.said.alignment = []
    changed_from(response, ALIGNMENT, 0)
    if spoken:
        part: dict[str, Any] = {"type": "output_audio", "transcript": said}
        call.outbox.emit(events.output_audio_done(response.response_id, item_id, index))
        call.outbox.emit(events.output_audio_transcript_done(response.response_id, item_id, index, said))
    else:
        part = {"type": "output_text", "text": said}
        call.outbox.emit(events.output_text_done(response.response_id, item_id, index, said))
    call.outbox.emit(events.content_part_done(response.response_id, item_id, index, spoken, said))
    entry = call.conversation.get(item_id)
    item = response.out_of_band[item_id] if entry is None else entry.item
    item.update(status=status, content=[part])
    call.record.mark("response", "playback", "said")
    if entry is None:
        changed_from(response, OUT_OF_BAND, len(response.out_of_band) - 1)
    else:
        entry.audio_ms, entry.alignment = audio_ms, alignment
        call.conversation.touch(item_id)
        call.outbox.emit(events.item_done(call.conversation.before(item_id), item))
    call.outbox.emit(events.output_item_done(response.response_id, index, item))


def _note_item(call: CallRecord, response: Response, item_id: str) -> None:
    """The speech under way, if there is one, was said in this item."""
    act = call.agent.speech if call.agent is not None else None
    if act is not None and act.span is not None and act.span.response_id == response.response_id:
        act.item_id = item_id
        assert call.agent is not None
        call.agent.note(act)
        call.record.mark("acts")


def end_speech(call: CallRecord, response: Response, *, is_complete: bool) -> None:
    """Close the message item under way, and the speech that it says; not ``is_complete``: it was cut short."""
    finish_item(call, response, "completed" if is_complete else "incomplete")
    act = call.agent.speech if call.agent is not None else None
    if act is not None and act.span is not None and act.span.response_id == response.response_id:
        act.status = ActStatus.DONE if is_complete else ActStatus.INTERRUPTED
        act.span.text_to, act.span.audio_to = len(response.said.text), response.said.audio_bytes
        assert call.agent is not None
        call.agent.note(act)
        call.record.mark("acts")


def _said(call: CallRecord, response: Response, *, cut_at_ms: int | None) -> tuple[str, Alignment | None]:
    """The text of the open item and its alignment; cut short, without what was to be said after that."""
    said = response.said.text[response.open_item.text_from :]
    if not response.item_audio_bytes and not (cut_at_ms == 0 and call.session.voice_locked):
        # An agent that has never spoken says all it has to say in writing.
        return said, None
    piece = response.said.piece
    made_ms = settings_of(call).output_format.ms(max(piece.made_bytes, response.said.audio_bytes - piece.audio_from))
    begins_ms, begins_at = _piece_begins(call, response)
    if cut_at_ms is None:
        return said, [*response.said.alignment, *entries_now(call, response), [begins_ms + made_ms, len(said)]]
    speed = settings_of(call).speed
    entries = alignment_of(piece, response.said.text[piece.text_from :], made_ms, speed=speed)
    alignment = [*response.said.alignment, *([begins_ms + ms, begins_at + chars] for ms, chars in entries)]
    said = heard_text(said, alignment, cut_at_ms)
    return said, cut(alignment, cut_at_ms, len(said))


def begin_piece(record: StoredRecord, response: Response, text_from: int) -> None:
    """Audio that comes from now on says the text from a character on."""
    response.said.piece, response.said.checksum = Piece(text_from, response.said.audio_bytes), 0
    changed_from(response, WORDS, 0)
    record.mark("piece", "said")


def entries_now(call: CallRecord, response: Response) -> Alignment:
    """The alignment of the last piece, counted from the beginning of its item."""
    return entries_of(response.said.piece, _piece_begins(call, response))


def _piece_begins(call: CallRecord, response: Response) -> list[int]:
    """Where the last piece begins in its item, as an entry of its alignment."""
    piece, opened = response.said.piece, response.open_item
    at_ms = settings_of(call).output_format.ms(piece.audio_from - opened.audio_from)
    return [at_ms, piece.text_from - opened.text_from]


def index_of(response: Response) -> int:
    """The ``output_index`` of the newest item."""
    return len(response.output_ids) - 1


def item_of(call: CallRecord, response: Response, item_id: str) -> dict[str, Any] | None:
    """An item that the reply made; None if it was deleted since."""
    entry = call.conversation.get(item_id)
    return response.out_of_band.get(item_id) if entry is None else entry.item
