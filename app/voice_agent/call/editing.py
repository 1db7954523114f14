"""The client's hand in the call: its session settings and the items of the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call import events
from voice_agent.call.bounds import (
    MAX_AUDIO_BYTES,
    MAX_PACKED_ITEM_BYTES,
    MAX_RETRIEVED_BYTES,
    audio_full,
    conversation_full,
    kept_audio_bytes,
)
from voice_agent.call.effects import Effect, ResetEndpointing, StopTranscribing
from voice_agent.call.input_audio import MAX_PIECE_BYTES, forget_buffer, transcribe
from voice_agent.call.inputs import CreateItem, DeleteItem, RetrieveItem, StageAudio, UpdateSession
from voice_agent.call.record import Call, HeardClip, StagedAudio
from voice_agent.call.responses import take_back
from voice_agent.call.session import input_format, merge_session, turn_detection
from voice_agent.errors import ProtocolError


def update_session(call: Call, wish: UpdateSession) -> list[Effect]:
    """Merge new settings in; all or none of them take effect."""
    before = call.session
    after = merge_session(before, wish.patch, voice_locked=call.voice_locked)
    effects: list[Effect] = []
    new_format = input_format(after) != input_format(before)
    if new_format:
        _begin_positions_anew(call)
    if new_format or turn_detection(after) != turn_detection(before):
        effects.append(ResetEndpointing())
    was_on, is_on = call.listening is not None, turn_detection(after) is not None
    if is_on != was_on:
        _switch_turn_detection(call, is_on=is_on)
    call.use_session(after)
    if "session" not in call.dirty:
        call.unsaved_bytes += call.session_bytes
    call.mark("session")
    call.emit(events.session_updated(after))
    return effects


def _begin_positions_anew(call: Call) -> None:
    """Positions count bytes of one format: all that was heard in the old one lies in front of them."""
    forget_buffer(call)
    call.input_audio.base_ms += call.input_format.ms(call.input_audio.position)
    call.input_audio.position = 0
    call.seen.update({event_id: (number, 0) for event_id, (number, _) in call.seen.items()})
    call.unsaved_seen = [(event_id, number, 0) for event_id, (number, _) in call.seen.items()]


def _switch_turn_detection(call: Call, *, is_on: bool) -> None:
    """Turned on, it starts with an empty buffer; turned off, what was being said is the client's to commit."""
    if is_on:
        forget_buffer(call)
    else:
        call.input_audio.speaking = False


def check_new_item(call: Call, wish: CreateItem, audio_bytes: int) -> None:
    """Raise `ProtocolError` if an item with so much audio would not be added."""
    item_id = wish.item.get("id")
    size = len(orjson.dumps(wish.item))
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
    after = wish.previous_item_id
    if after not in (None, "root") and after not in call.conversation:
        raise ProtocolError(
            f"Previous item with id {after!r} not found.",
            code="item_create_invalid_previous_item_id",
            param="previous_item_id",
        )
    if audio_bytes % call.input_format.sample_bytes:
        raise ProtocolError(
            f"The item's audio holds {audio_bytes} bytes, which is no whole number of 16-bit samples.",
            code="invalid_value",
            param="item.content",
        )
    if audio_bytes and kept_audio_bytes(call, without_latest=True) - call.staged_bytes + audio_bytes > MAX_AUDIO_BYTES:
        raise audio_full(call, audio_bytes, "item.content")


def stage_audio(call: Call, piece: StageAudio) -> None:
    """Store a piece of an item's audio; `drop_staged` takes all of it back."""
    if call.staged is None:
        call.staged = StagedAudio(piece.item_id or call.new_item_id())
    call.staged.entries.append(call.add_speech(call.staged.item_id, piece.audio))


def drop_staged(call: Call) -> None:
    """The item for which audio came will not be created. What is stored of that audio goes with the next write."""
    call.staged = None


def create_item(call: Call, wish: CreateItem) -> list[Effect]:
    """Add an item that the client made."""
    staged = call.staged if wish.staged else None
    audio_bytes = len(wish.audio) if staged is None else call.staged_bytes
    try:
        check_new_item(call, wish, audio_bytes)
        return _add_item(call, wish, staged)
    finally:
        drop_staged(call)


def _add_item(call: Call, wish: CreateItem, staged: StagedAudio | None) -> list[Effect]:
    item = dict(wish.item)
    if item.get("id") is None:
        item["id"] = staged.item_id if staged is not None else call.new_item_id()
        call.mark("counts")
    first = wish.previous_item_id == "root"
    entry = call.conversation.add(item, after=None if first else wish.previous_item_id, first=first)
    previous = call.conversation.before(item["id"])
    if staged is not None:
        clip: HeardClip | None = HeardClip(
            item["id"], b"".join(piece.audio for piece in staged.entries), staged.first_n
        )
    else:
        clip = _keep_clip(call, item["id"], wish.audio) if wish.audio else None
    if clip is not None:
        entry.audio_ms = call.input_format.ms(len(clip.audio))
        call.clip = clip
        call.mark("turn")
    if item.get("role") == "user":
        if clip is None and call.conversation.last_id == item["id"]:
            call.clip = None
            call.mark("turn")
        call.turns += 1
        call.mark("counts")
    call.emit(events.item_added(previous, item))
    call.emit(events.item_done(previous, item))
    return transcribe(call, clip, spoken_index(item)) if clip is not None else []


def spoken_index(item: Mapping[str, Any]) -> int:
    """Which part of an item holds the caller's audio."""
    return next((at for at, part in enumerate(item["content"]) if part["type"] == "input_audio"), 0)


def _keep_clip(call: Call, item_id: str, audio: bytes) -> HeardClip:
    pieces = [audio[at : at + MAX_PIECE_BYTES] for at in range(0, len(audio), MAX_PIECE_BYTES)]
    entries = [call.add_speech(item_id, piece) for piece in pieces]
    return HeardClip(item_id, audio, entries[0].n)


def retrieve_item(call: Call, wish: RetrieveItem) -> list[Effect]:
    """Show an item as the server holds it, with the audio of the caller's latest turn."""
    entry = call.conversation.get(wish.item_id)
    if entry is None:
        raise ProtocolError(
            f"Item with item_id {wish.item_id!r} not found.", code="item_retrieve_invalid_item_id", param="item_id"
        )
    clip = call.clip
    audio = clip.audio if clip is not None and clip.item_id == wish.item_id else b""
    if len(audio) > MAX_RETRIEVED_BYTES:
        raise ProtocolError(
            f"Item {wish.item_id!r} has {len(audio)} bytes of audio; at most {MAX_RETRIEVED_BYTES} are shown.",
            code="audio_too_large",
            param="item_id",
            limit="retrieved_audio",
        )
    call.emit(events.item_retrieved(entry.item, with_audio=bool(audio)), audio)
    return []


def delete_item(call: Call, wish: DeleteItem, now_ms: int) -> list[Effect]:
    """Take an item out of the conversation. Clients that interrupt before anything was heard delete what is spoken."""
    if wish.item_id not in call.conversation:
        raise ProtocolError(
            f"Item with item_id {wish.item_id!r} not found.", code="item_delete_invalid_item_id", param="item_id"
        )
    effects = take_back(call, wish.item_id, now_ms)
    before = call.conversation.before(wish.item_id) or ""
    call.conversation.drop(wish.item_id)
    call.emit(events.item_deleted(wish.item_id))
    return effects + _refer_no_more(call, wish.item_id, before)


def _refer_no_more(call: Call, item_id: str, before: str) -> list[Effect]:
    """An item was deleted, and the client may give its id to another; `before` is the item in front of it or ""."""
    if call.clip is not None and call.clip.item_id == item_id:
        call.clip = None
    if call.failed_to == item_id:
        call.failed_to = before
    call.mark("turn")
    if call.response is not None and call.response.asked_to == item_id:
        call.response.asked_to = before
        call.mark("response")
    if call.playback is not None and call.playback.item_id == item_id:
        call.playback = None
        call.mark("response")
    return [StopTranscribing(item_id)] if call.untranscribed.pop(item_id, None) is not None else []
