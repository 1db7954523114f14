"""The client's hand in the call: its session settings and the items of the conversation."""

from __future__ import annotations

from app.call import events
from app.call.changes import SpeechEntry
from app.call.effects import Effect, ResetEndpointing, Transcribe
from app.call.hearing import forget_buffer
from app.call.inputs import CreateItem, DeleteItem, RetrieveItem, UpdateSession
from app.call.record import Call, Clip
from app.call.session import input_format, merge_session, turn_detection
from app.errors import ProtocolMistake


def update_session(call: Call, wish: UpdateSession) -> list[Effect]:
    """Merge new settings in; all or none of them take effect."""
    before = call.session
    after = merge_session(before, wish.patch, voice_locked=call.voice_locked, model=call.model)
    effects: list[Effect] = []
    new_format = input_format(after) != input_format(before)
    if new_format:
        forget_buffer(call)
        call.hearing.base_ms += call.input_format.ms(call.hearing.position)
        call.hearing.position = 0
    if new_format or turn_detection(after) != turn_detection(before):
        effects.append(ResetEndpointing())
        _switch_turn_detection(call, was_on=call.listening is not None, is_on=turn_detection(after) is not None)
    call.use_session(after)
    call.mark("session")
    call.emit(events.session_updated(after))
    return effects


def _switch_turn_detection(call: Call, *, was_on: bool, is_on: bool) -> None:
    """Turned on, it starts with an empty buffer; turned off, what was being said is the client's to commit."""
    if is_on and not was_on:
        forget_buffer(call)
    elif was_on and not is_on:
        call.hearing.speaking = False
        call.mark("counts")


def create_item(call: Call, wish: CreateItem) -> list[Effect]:
    """Add an item that the client made."""
    item = dict(wish.item)
    if call.conversation.is_full:
        raise ProtocolMistake(
            "The conversation is full; delete items before adding more.", code="conversation_full", param="item"
        )
    if item.get("id") is None:
        item["id"] = call.new_item_id()
        call.mark("counts")
    elif item["id"] in call.conversation or item["id"] == call.hearing.item_id:
        raise ProtocolMistake(
            f"Item with id {item['id']!r} already exists.", code="item_create_duplicate_item_id", param="item.id"
        )
    first = wish.previous_item_id == "root"
    after = None if first else wish.previous_item_id
    if after is not None and after not in call.conversation:
        raise ProtocolMistake(
            f"Previous item with id {after!r} not found.",
            code="item_create_invalid_previous_item_id",
            param="previous_item_id",
        )
    if len(wish.audio) % call.input_format.sample_bytes:
        raise ProtocolMistake(
            f"The item's audio holds {len(wish.audio)} bytes, which is no whole number of 16-bit samples.",
            code="invalid_value",
            param="item.content",
        )
    entry = call.conversation.add(item, after=after, first=first)
    previous = call.conversation.before(item["id"])
    effects: list[Effect] = []
    if wish.audio:
        entry.audio_ms = call.input_format.ms(len(wish.audio))
        _keep_clip(call, item["id"], wish.audio)
        effects.append(Transcribe(item["id"], wish.audio))
    if item.get("role") == "user":
        if not wish.audio and call.conversation.last_id == item["id"]:
            call.clip = None
            call.mark("turn")
        call.turns += 1
        call.mark("counts")
    call.emit(events.item_added(previous, item))
    call.emit(events.item_done(previous, item))
    return effects


def _keep_clip(call: Call, item_id: str, audio: bytes) -> None:
    call.speech_made += 1
    call.unsaved_speech.append(SpeechEntry(call.speech_made, item_id, audio))
    call.clip = Clip(item_id, audio, call.speech_made)
    call.untranscribed[item_id] = call.clip
    call.mark("counts", "turn")


def retrieve_item(call: Call, wish: RetrieveItem) -> list[Effect]:
    """Show an item as the server holds it, with the audio of the caller's latest turn."""
    entry = call.conversation.get(wish.item_id)
    if entry is None:
        raise ProtocolMistake(
            f"Item with item_id {wish.item_id!r} not found.", code="item_retrieve_invalid_item_id", param="item_id"
        )
    clip = call.clip
    audio = clip.audio if clip is not None and clip.item_id == wish.item_id else b""
    call.emit(events.item_retrieved(entry.item, with_audio=bool(audio)), audio)
    return []


def delete_item(call: Call, wish: DeleteItem) -> list[Effect]:
    """Take an item out of the conversation."""
    if wish.item_id not in call.conversation:
        raise ProtocolMistake(
            f"Item with item_id {wish.item_id!r} not found.", code="item_delete_invalid_item_id", param="item_id"
        )
    if call.reply is not None and call.reply.item_id == wish.item_id:
        raise ProtocolMistake(
            f"Item {wish.item_id!r} is being spoken; cancel the response first.", code="invalid_value", param="item_id"
        )
    call.conversation.drop(wish.item_id)
    if call.untranscribed.pop(wish.item_id, None) is not None:
        call.mark("turn")
    call.emit(events.item_deleted(wish.item_id))
    call.mark("counts")
    return []
