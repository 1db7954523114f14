"""What a client does to the conversation's items: create, retrieve and delete them (`truncation` cuts them).

An item comes checked (`protocol.item_fields`) and with its audio taken out of it. Long audio comes before its item,
piece by piece (`append_item_audio`): it is stored under the id that the item will have, and belongs to nothing until
the item refers to it, so a crash in between leaves only entries that the next write of the next owner trims.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call import agent_events, events
from voice_agent.call.agent_ledger import EventKind
from voice_agent.call.bounds import (
    MAX_AUDIO_BYTES,
    MAX_PACKED_ITEM_BYTES,
    MAX_RETRIEVED_BYTES,
    audio_full,
    conversation_full,
    kept_audio_bytes,
)
from voice_agent.call.clips import HeardClip, KeptClips, PendingItemAudio
from voice_agent.call.effects import Effect, StopTranscribing
from voice_agent.call.input_audio import MAX_PIECE_BYTES, transcribe
from voice_agent.call.inputs import AppendItemAudio, CreateItem, DeleteItem, RetrieveItem
from voice_agent.call.record import CallRecord
from voice_agent.call.responses import cancel_item, go_on
from voice_agent.errors import ProtocolError


def check_new_item(call: CallRecord, request: CreateItem, audio_bytes: int) -> None:
    """Raise `ProtocolError` if an item with so much audio would not be added."""
    item_id = request.item.get("id")
    size = len(orjson.dumps(request.item))
    if size > MAX_PACKED_ITEM_BYTES:
        raise ProtocolError(
            f"'item' takes {size} bytes as JSON; at most {MAX_PACKED_ITEM_BYTES} are allowed.",
            code="item_too_large",
            param="item",
            limit="item_bytes",
        )
    if not call.conversation.has_room_for(size):
        raise conversation_full(call, "item")
    if item_id is not None and (item_id in call.conversation or item_id == call.input_audio.item_id):
        raise ProtocolError(
            f"Item with id {item_id!r} already exists.", code="item_create_duplicate_item_id", param="item.id"
        )
    after = request.previous_item_id
    if after not in (None, "root") and after not in call.conversation:
        raise ProtocolError(
            f"Previous item with id {after!r} not found.",
            code="item_create_invalid_previous_item_id",
            param="previous_item_id",
        )
    if audio_bytes % call.session.input_format.sample_bytes:
        raise ProtocolError(
            f"The item's audio holds {audio_bytes} bytes, which is no whole number of 16-bit samples.",
            code="invalid_value",
            param="item.content",
        )
    other_bytes = kept_audio_bytes(call, without_latest=True) - call.clips.pending_bytes
    if audio_bytes and other_bytes + audio_bytes > MAX_AUDIO_BYTES:
        raise audio_full(call, audio_bytes, "item.content")


def append_item_audio(call: CallRecord, piece: AppendItemAudio) -> None:
    """Store a piece of an item's audio; `drop_pending_audio` takes all of it back."""
    if call.clips.pending is None:
        call.clips.pending = PendingItemAudio(piece.item_id or call.ids.new_item(call.conversation))
    call.clips.pending.entries.append(call.speech.add(call.clips.pending.item_id, piece.audio))
    call.record.mark("counts")


def drop_pending_audio(clips: KeptClips) -> None:
    """The item for which audio came will not be created. What is stored of that audio goes with the next write."""
    clips.pending = None


def create_item(call: CallRecord, request: CreateItem, now_ms: int) -> list[Effect]:
    """Add an item that the client made."""
    pending = call.clips.pending if request.audio_appended else None
    audio_bytes = len(request.audio) if pending is None else call.clips.pending_bytes
    try:
        check_new_item(call, request, audio_bytes)
        return _add_item(call, request, pending, now_ms)
    finally:
        drop_pending_audio(call.clips)


def _add_item(call: CallRecord, request: CreateItem, pending: PendingItemAudio | None, now_ms: int) -> list[Effect]:
    item = dict(request.item)
    if item.get("id") is None:
        item["id"] = pending.item_id if pending is not None else call.ids.new_item(call.conversation)
        call.record.mark("counts")
    first = request.previous_item_id == "root"
    entry = call.conversation.add(item, after=None if first else request.previous_item_id, first=first)
    previous = call.conversation.before(item["id"])
    if pending is not None:
        clip: HeardClip | None = HeardClip(
            item["id"], b"".join(piece.audio for piece in pending.entries), pending.first_n
        )
    else:
        clip = _keep_clip(call, item["id"], request.audio) if request.audio else None
    if clip is not None:
        entry.audio_ms = call.session.input_format.ms(len(clip.audio))
        call.clips.latest = clip
        call.record.mark("turn")
    if item.get("role") == "user":
        if clip is None and call.conversation.last_id == item["id"]:
            call.clips.latest = None
            call.record.mark("turn")
        call.dialogue.turns += 1
        call.record.mark("counts")
    call.outbox.emit(events.item_added(previous, item))
    call.outbox.emit(events.item_done(previous, item))
    if item["type"] == "function_call_output":
        return agent_events.queue(call, EventKind.TOOL_RESULT, now_ms, {"item_id": item["id"]})
    return transcribe(call, clip, spoken_index(item), now_ms) if clip is not None else []


def is_spoken_by_user(item: Mapping[str, Any]) -> bool:
    """Whether it holds audio of the caller's."""
    return item.get("role") == "user" and any(part.get("type") == "input_audio" for part in item.get("content", ()))


def spoken_index(item: Mapping[str, Any]) -> int:
    """Which part of an item holds the caller's audio."""
    return next((at for at, part in enumerate(item["content"]) if part["type"] == "input_audio"), 0)


def _keep_clip(call: CallRecord, item_id: str, audio: bytes) -> HeardClip:
    pieces = [audio[at : at + MAX_PIECE_BYTES] for at in range(0, len(audio), MAX_PIECE_BYTES)]
    entries = [call.speech.add(item_id, piece) for piece in pieces]
    return HeardClip(item_id, audio, entries[0].n)


def retrieve_item(call: CallRecord, request: RetrieveItem) -> list[Effect]:
    """Show an item as the server holds it, with the audio of the caller's latest turn."""
    entry = call.conversation.get(request.item_id)
    if entry is None:
        raise ProtocolError(
            f"Item with item_id {request.item_id!r} not found.", code="item_retrieve_invalid_item_id", param="item_id"
        )
    clip = call.clips.latest
    audio = clip.audio if clip is not None and clip.item_id == request.item_id else b""
    if len(audio) > MAX_RETRIEVED_BYTES:
        raise ProtocolError(
            f"Item {request.item_id!r} has {len(audio)} bytes of audio; at most {MAX_RETRIEVED_BYTES} are shown.",
            code="audio_too_large",
            param="item_id",
            limit="retrieved_audio",
        )
    call.outbox.emit(events.item_retrieved(entry.item, with_audio=bool(audio)), audio)
    return []


def delete_item(call: CallRecord, request: DeleteItem, now_ms: int) -> list[Effect]:
    """Take an item out of the conversation. Clients that interrupt before anything was heard delete what is spoken."""
    if request.item_id not in call.conversation:
        raise ProtocolError(
            f"Item with item_id {request.item_id!r} not found.", code="item_delete_invalid_item_id", param="item_id"
        )
    effects = cancel_item(call, request.item_id, now_ms)
    before = call.conversation.before(request.item_id) or ""
    call.conversation.drop(request.item_id)
    call.outbox.emit(events.item_deleted(request.item_id))
    effects += _clear_references(call, request.item_id, before)
    return effects + go_on(call, now_ms)


def _clear_references(call: CallRecord, item_id: str, before: str) -> list[Effect]:
    """An item was deleted, and the client may give its id to another; `before` is the item in front of it or ""."""
    if call.clips.latest is not None and call.clips.latest.item_id == item_id:
        call.clips.latest = None
    if call.dialogue.failed_up_to == item_id:
        call.dialogue.failed_up_to = before
    call.record.mark("turn")
    if call.response is not None and call.response.asked.up_to == item_id:
        call.response.asked.up_to = before
        call.record.mark("response")
    if call.dialogue.playback is not None and call.dialogue.playback.item_id == item_id:
        call.dialogue.playback = None
        call.record.mark("playback")
    return [StopTranscribing(item_id)] if call.clips.untranscribed.pop(item_id, None) is not None else []
