"""What changed of a call, as one write.

Every write carries the input position, so that remembered client events, heard audio and the position never disagree
after a crash. Everything else is written only when it changed: bytes per write do not depend on the length of the
call. Three kinds: what changed since the last write; all of it (`StoredRecord.write_whole`), where the store has lost
something or nothing is known of what it holds; and the last one, which leaves a tombstone and what was said.

Who asks for a write (`inputs.TakeWrite`) must have it made durable, or tell the call that it was not
(`inputs.WriteLost`): nothing is unsaved afterwards.
"""

from __future__ import annotations

import orjson

from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS, pack_seen
from voice_agent.call.codec import GROUPS, SAID, encode_fields, encode_tombstone
from voice_agent.call.completeness import KEPT, KEPT_FORMAT
from voice_agent.call.outbox import Outbox
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status


def take_write(call: CallRecord, now_ms: int) -> CallWrite:
    """Everything that changed since the last write, as one write; afterwards nothing is unsaved."""
    record, owner = call.record, call.owner
    record.revision += 1
    if call.lifecycle.status is Status.ENDED:
        return _take_end(call, now_ms)
    if record.write_whole:
        return _take_whole(call, now_ms)
    items, dropped = call.conversation.take_changes()
    write = CallWrite(
        call.call_id,
        owner.epoch,
        record.revision,
        owner.claim,
        owner.doubted_claim,
        fields=encode_fields(call, record.dirty, now_ms),
        items=items,
        dropped_items=dropped,
        events=_events_to_keep(call.outbox),
        speech=call.speech.unsaved,
    )
    oldest = (call.outbox.first_n, _oldest_speech(call))
    if oldest[0] != record.trimmed_to[0]:
        write.keep_events_from = oldest[0] or call.outbox.seq + 1
    if oldest[1] != record.trimmed_to[1]:
        write.keep_speech_from = oldest[1]
    record.trimmed_to = oldest
    _count_kept(call, write)
    _all_saved(call)
    return write


def _take_end(call: CallRecord, now_ms: int) -> CallWrite:
    """The last write of a call: its record becomes a tombstone, and what was said stands among its items."""
    items, dropped = (call.conversation.pack_all(), []) if call.record.write_whole else call.conversation.take_changes()
    items[SAID] = orjson.dumps({"session": call.session.fields, "agent_state": call.dialogue.agent_state})
    write = CallWrite(
        call.call_id,
        call.owner.epoch,
        call.record.revision,
        call.owner.claim,
        call.owner.doubted_claim,
        fields=encode_tombstone(call, now_ms),
        items=items,
        dropped_items=dropped,
        whole=call.record.write_whole,
        call_key_hash=call.identity.call_key_hash,
        ends=True,
    )
    _all_saved(call)
    return write


def _take_whole(call: CallRecord, now_ms: int) -> CallWrite:
    fields = encode_fields(call, GROUPS, now_ms)
    fields.update(call.record.unknown_fields)
    waiting = {event_id for event_id, _, _ in call.client_events.unsaved}
    for event_id, (number, heard_to) in call.client_events.seen.items():
        if event_id in waiting:
            continue
        fields[f"seen:{number % REMEMBERED_CLIENT_EVENTS}"] = pack_seen(event_id, number, heard_to)
    clips = {clip.first_n: clip for clip in call.clips.to_store(call.speech) if clip.audio}
    speech = [SpeechEntry(n, clip.item_id, clip.audio) for n, clip in clips.items()]
    buffer = call.input_audio
    if buffer.item_id is not None and buffer.saved:
        speech.append(SpeechEntry(buffer.first_n, buffer.item_id, bytes(buffer.audio[: buffer.saved])))
    if call.clips.pending is not None and call.speech.keeps_turns:
        speech += call.clips.pending.entries
    write = CallWrite(
        call.call_id,
        call.owner.epoch,
        call.record.revision,
        call.owner.claim,
        call.owner.doubted_claim,
        fields=fields,
        items=call.conversation.pack_all(),
        events=call.outbox.after(0),
        speech=sorted(speech),
        whole=True,
        call_key_hash=call.identity.call_key_hash,
    )
    call.record.trimmed_to = (call.outbox.first_n, _oldest_speech(call))
    _count_kept(call, write)
    _all_saved(call)
    return write


def skip_write(call: CallRecord) -> list[OutboxEntry]:
    """Let the events that wait go out unsaved; the next write will carry everything."""
    waiting = call.outbox.unsaved
    _all_saved(call)
    call.conversation.nothing_changed()
    call.record.write_whole = True
    return waiting


def _count_kept(call: CallRecord, write: CallWrite) -> None:
    """Have the record count what the store holds once the write is done."""
    stored = call.speech.stored
    if write.whole:
        stored.clear()
    if write.speech:
        stored.extend([entry.n for entry in write.speech])
    while stored and stored[0] < write.keep_speech_from:
        stored.popleft()
    write.fields[KEPT] = KEPT_FORMAT % (
        len(call.conversation),
        len(call.outbox),
        len(stored),
        call.input_audio.saved,
        call.conversation.packed_bytes,
    )


def _events_to_keep(outbox: Outbox) -> list[OutboxEntry]:
    """What is new in the outbox: of all that waits, what it still holds."""
    oldest = outbox.first_n
    return [event for event in outbox.unsaved if event.n >= oldest] if oldest else []


def _all_saved(call: CallRecord) -> None:
    call.outbox.nothing_waits()
    call.speech.drop_unsaved()
    call.session.unsaved_bytes = 0
    record = call.record
    record.dirty, record.write_whole = set(), False


def _oldest_speech(call: CallRecord) -> int:
    clips = call.clips.to_store(call.speech)
    if not clips and not call.input_audio.first_n and call.clips.pending is None:
        return call.speech.made + 1  # As in nearly every write of a call whose caller is silent.
    kept = [clip.first_n for clip in clips if clip.audio]
    if call.input_audio.first_n:
        kept.append(call.input_audio.first_n)
    if call.clips.pending is not None and call.speech.keeps_turns:
        kept.append(call.clips.pending.first_n)
    return min(kept, default=call.speech.made + 1)
