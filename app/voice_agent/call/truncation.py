"""What the caller did not hear of an item is cut out of the conversation.

Two ways to know how much was heard: the client says it (`conversation.item.truncate`), for it plays the audio; or the
caller interrupts, and then it is what can have been played since the audio was sent (`Playback`). The transcript is cut
at the word that the alignment has at that millisecond.
"""

from __future__ import annotations

from voice_agent.call import events
from voice_agent.call.alignment import cut, heard_text
from voice_agent.call.inputs import TruncateItem
from voice_agent.call.item_order import Entry
from voice_agent.call.record import CallRecord
from voice_agent.errors import ProtocolError


def truncate_to_heard(call: CallRecord, now_ms: int) -> str | None:
    """Cut the item that is being played at what has been played of it, by the wall clock; its id, if it was cut."""
    playback = call.dialogue.playback
    if playback is None or not playback.is_interruptible:
        return None
    entry = call.conversation.get(playback.item_id)
    heard_ms = max(0, now_ms - playback.started_at_ms)
    call.dialogue.playback = None
    call.record.mark("playback")
    if entry is None or heard_ms >= entry.audio_ms:
        return None
    _cut(call, entry, heard_ms)
    return playback.item_id


def truncate(call: CallRecord, request: TruncateItem) -> None:
    """The client, which plays the audio, says how much of an item was heard."""
    entry = call.conversation.get(request.item_id)
    if entry is None:
        raise ProtocolError(
            f"Item with item_id {request.item_id!r} not found.", code="item_truncate_invalid_item_id", param="item_id"
        )
    item = entry.item
    if item.get("role") != "assistant" or item["status"] == "in_progress":
        raise ProtocolError(
            f"Item {request.item_id!r} cannot be truncated: only finished or cancelled assistant messages can.",
            code="invalid_value",
            param="item_id",
        )
    if request.content_index != 0 or not item["content"] or item["content"][0]["type"] != "output_audio":
        raise ProtocolError(
            f"Content part {request.content_index} of item {request.item_id!r} is no audio.",
            code="invalid_value",
            param="content_index",
        )
    if request.audio_end_ms > entry.audio_ms:
        raise ProtocolError(
            f"Audio content of {entry.audio_ms}ms is already shorter than {request.audio_end_ms}ms",
            code="invalid_value",
            param="audio_end_ms",
        )
    if call.dialogue.playback is not None and call.dialogue.playback.item_id == request.item_id:
        call.dialogue.playback = None
        call.record.mark("playback")
    _cut(call, entry, request.audio_end_ms)


def _cut(call: CallRecord, entry: Entry, heard_ms: int) -> None:
    part = entry.item["content"][0]
    said = part["transcript"]
    alignment = entry.alignment or [[0, 0], [entry.audio_ms, len(said)]]
    part["transcript"] = heard = heard_text(said, alignment, heard_ms)
    entry.alignment = cut(alignment, heard_ms, len(heard))
    call.conversation.touch(entry.item["id"])
    call.outbox.emit(events.item_truncated(entry.item["id"], 0, heard_ms))
