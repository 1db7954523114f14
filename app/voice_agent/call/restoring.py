"""A call as the store holds it, decoded: the inverse of `codec`.

`restore` trusts nothing that it reads: whatever is missing or of another kind is `RecordUnreadable`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

import orjson

from voice_agent.call.agent_fields import restore_ledger
from voice_agent.call.alignment import Piece
from voice_agent.call.changes import Snapshot, SpeechEntry
from voice_agent.call.client_events import ClientEvents
from voice_agent.call.clips import HeardClip
from voice_agent.call.codec import ASKED, OPEN_ITEM, SAID, is_known
from voice_agent.call.completeness import Kept, missing, replayable
from voice_agent.call.conversation import Conversation
from voice_agent.call.dialogue import Playback
from voice_agent.call.event_ids import MAX_EVENT_NUMBER
from voice_agent.call.ids import IdSequence
from voice_agent.call.input_buffer import InputAudioBuffer, Onset
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.record import CallRecord, Identity
from voice_agent.call.response import OpenItem, Response, ResponseContent, ResponseRequest
from voice_agent.call.response_chunks import restore_chunks
from voice_agent.call.response_items import open_again
from voice_agent.call.schema import READS_SCHEMAS, reads
from voice_agent.call.session_config import SessionConfig, new_session
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.status import Lifecycle, Status
from voice_agent.call.stored_record import StoredRecord
from voice_agent.call.usage_fields import restore_response_usage, restore_usage
from voice_agent.errors import MAX_SCHEMA_CHARS, RecordUnreadable

DAMAGE = (LookupError, ValueError, TypeError, AttributeError)
"""What reading raises where a field is missing, or is something else than its kind."""

Shape = TypeVar("Shape", Playback, Piece)


def keeps_what_was_said(snapshot: Snapshot) -> bool:
    """Whether a snapshot holds the session and the conversation, as those of calls that have ended may not."""
    return "session" in snapshot.fields or SAID in snapshot.items


def restore(
    snapshot: Snapshot,
    *,
    epoch: int,
    outbox_bytes: int,
    checkpoint_ms: int,
    schemas: tuple[int, int] = READS_SCHEMAS,
) -> CallRecord:
    """The call that a snapshot describes, owned under `epoch`. Raises `RecordUnreadable`, also for none of `schemas`.

    One that has ended has only what a tombstone tells, and while it is kept, what was said (`keeps_what_was_said`).
    Where the store has lost something (`StoredRecord.missing`) it is what is left, and the next write is of all of it.
    """
    schema = snapshot.fields.get("schema", b"")
    if not schema.isdigit() or len(schema) > MAX_SCHEMA_CHARS or not reads(int(schema), schemas):
        raise RecordUnreadable(schema)
    try:
        return _restored(snapshot, epoch, outbox_bytes, checkpoint_ms)
    except DAMAGE as error:
        raise RecordUnreadable(schema, type(error).__name__) from error


def epoch_of(snapshot: Snapshot) -> int:
    """Raises `RecordUnreadable`."""
    try:
        return int(snapshot.fields["epoch"])
    except DAMAGE as error:
        raise RecordUnreadable(snapshot.fields.get("schema", b""), type(error).__name__) from error


def model_of(snapshot: Snapshot) -> str:
    """Which agent the call is of. Raises `RecordUnreadable`."""
    try:
        return snapshot.fields["model"].decode()
    except DAMAGE as error:
        raise RecordUnreadable(snapshot.fields.get("schema", b""), type(error).__name__) from error


def _restored(snapshot: Snapshot, epoch: int, outbox_bytes: int, checkpoint_ms: int) -> CallRecord:
    fields, items = snapshot.fields, dict(snapshot.items)

    def text(name: str) -> str:
        return fields.get(name, b"").decode()

    packed = items.pop(SAID, None)
    said = _object(packed) if packed else {"session": new_session(text("call_id"), text("model"), "", expires_at_s=0)}
    seq = _event_number(fields["seq"])
    session = _object(fields["session"]) if "session" in fields else said["session"]

    call = CallRecord(
        call_id=text("call_id"),
        identity=Identity(
            model=text("model"),
            created_at_ms=int(fields["created_at_ms"]),
            mirror=fields.get("mirror") == b"1",
            api_key_hash=text("api_key_hash"),
            call_key_hash=text("call_key_hash"),
            caller=_object(fields.get("caller") or b"{}"),
        ),
        owner=Owner(epoch, text("owner"), text("color"), text("claim")),
        ids=IdSequence.of(text("call_id")),
        session=SessionConfig(session, voice_locked=fields.get("voice_locked") == b"1"),
        outbox=Outbox(outbox_bytes, replayable(snapshot.outbox, seq), seq=seq),
        speech=SpeechLog(checkpoint_ms),
        record=_record(snapshot),
        lifecycle=Lifecycle(
            status=Status(text("status")),
            outcome=text("outcome"),
            transfer=text("transfer"),
            ended_at_ms=int(fields.get("ended_at_ms", b"0")),
            left_at_ms=int(fields.get("left_at_ms", b"0")),
            handed_off=fields.get("handed_off") == b"1",
            resumable=fields.get("resumable") == b"1",
        ),
        conversation=Conversation(items),
    )
    ids, dialogue = call.ids, call.dialogue
    ids.items_made, ids.responses_made, dialogue.turns, call.speech.made = map(int, fields["counts"].split())
    packed = fields.get("agent_state")
    dialogue.agent_state = _object(packed) if packed else said.get("agent_state", {})
    call.speech.stored.extend(entry.n for entry in snapshot.speech)
    _restore_response(call, fields)
    call.agent = restore_ledger(fields)
    call.usage = restore_usage(fields)
    _restore_input_audio(call, fields, snapshot.speech)
    _restore_seen(call, fields)
    return call


def _record(snapshot: Snapshot) -> StoredRecord:
    fields = snapshot.fields
    int(fields.get("updated_at_ms", b"0"))  # Must be a number: a take-over reads it from the same record.
    lost = missing(snapshot)
    return StoredRecord(
        schema=int(fields["schema"]),
        revision=int(fields.get("revision", b"0")),
        write_whole=any(lost),
        trimmed_to=(snapshot.outbox[0].n if snapshot.outbox else 0, 0),
        unknown_fields={name: value for name, value in fields.items() if not is_known(name)},
        missing=lost,
    )


def _object(packed: bytes) -> dict[str, Any]:
    found = orjson.loads(packed)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def _event_number(digits: bytes) -> int:
    number = int(digits)
    if not 0 <= number <= MAX_EVENT_NUMBER:
        raise ValueError("no event has such a number")
    return number


def _restore_response(call: CallRecord, fields: dict[str, bytes]) -> None:
    if fields.get("response"):
        call.response = _response(fields)
        sent, _, checksum = fields.get("response_audio", b"0").partition(b" ")
        call.response.said.audio_bytes, call.response.said.checksum = int(sent), int(checksum or b"0")
        restore_chunks(call.response, fields)
        open_again(call, call.response)
    if fields.get("idle_from_ms"):
        call.dialogue.idle_from_ms = int(fields["idle_from_ms"])
    if fields.get("playback"):
        call.dialogue.playback = _shaped(Playback, orjson.loads(fields["playback"]))
        if call.response is not None and call.response.open_item.item_id == call.dialogue.playback.item_id:
            # It grows with every chunk, and is written with the reply's other fields only.
            call.dialogue.playback.audio_bytes = call.response.item_audio_bytes


def _response(fields: dict[str, bytes]) -> Response:
    """Without what grows of it. What a newer version added goes into `extras`, and from there back into the store."""
    values = orjson.loads(fields["response"])
    params = orjson.loads(fields["response_params"])
    asked = {own: values.pop(name) for name, own in ASKED.items() if name in values}
    item = {own: values.pop(name) for name, own in OPEN_ITEM.items() if name in values}
    used = values.pop("usage", None)
    return Response(
        values.pop("response_id"),
        ResponseRequest(params, **asked),
        ResponseContent(piece=_shaped(Piece, orjson.loads(fields.get("piece") or b"{}"))),
        OpenItem(**item),
        event_number=values.pop("event_number", 0),
        replay_from=_pair(values.pop("replay_from", (0, 0))),
        usage=None if used is None else restore_response_usage(used),
        extras=values,
    )


def _pair(told: list[int]) -> tuple[int, int]:
    text_from, audio_from = told
    return int(text_from), int(audio_from)


def _shaped(shape: type[Shape], values: dict[str, Any]) -> Shape:
    """What a newer version added goes into `extras`, and from there back into the store."""
    known = {name: value for name, value in values.items() if name in shape.__dataclass_fields__}
    return shape(**known, extras={name: value for name, value in values.items() if name not in known})


def _restore_input_audio(call: CallRecord, fields: dict[str, bytes], speech: list[SpeechEntry]) -> None:
    """What was stored for an item whose creation a crash cut short belongs to nothing; its id may have come again."""
    pieces: dict[str, list[SpeechEntry]] = defaultdict(list)
    for entry in speech:
        pieces[entry.item_id].append(entry)
    base_ms, position, speaking, first_n, item_id = fields.get("input_audio", b"0 0 0 0 ").decode().split(" ")

    audio = bytearray().join(entry.audio for entry in pieces.get(item_id, ()))
    call.input_audio = InputAudioBuffer(
        audio=audio,
        position=int(position),
        base_ms=int(base_ms),
        item_id=item_id or None,
        speaking=speaking == "1",
        saved=len(audio),
        first_n=int(first_n),
    )
    if fields.get("onset") and speaking == "1":
        # A newer release may say more.
        known_at, heard_from, quietest_before, quietest, block_left, *_ = orjson.loads(fields["onset"])
        call.input_audio.onset = Onset(known_at, heard_from, (quietest_before, quietest, block_left))
    kept = Kept.unpack(fields)
    if kept is not None and len(audio) != kept.utterance_bytes:
        # It is not known which part is left, and a client that sends again must begin where something is missing.
        call.input_audio.position -= kept.utterance_bytes
        call.input_audio.audio = bytearray()
        call.input_audio.saved = call.input_audio.first_n = 0

    names = ("clips", "clip_bytes", "clip_said")
    first, sizes, spoken = (orjson.loads(fields.get(name) or b"{}") for name in names)
    clips: dict[int, HeardClip] = {}

    def clip(of_id: str, from_n: int | None = None) -> HeardClip | None:
        """One object for all who refer to it; None unless all of its audio was to be kept, and is there."""
        if of_id not in first:
            return None
        said = [entry for entry in pieces.get(of_id, ()) if entry.n >= (from_n or first[of_id])]
        audio = b"".join(entry.audio for entry in said)
        if not said or sizes.get(of_id) != len(audio):
            return None
        return clips.setdefault(said[0].n, HeardClip(of_id, audio, said[0].n, spoken.get(of_id, 0)))

    call.dialogue.failed_up_to = fields.get("failed_up_to", b"").decode()
    call.clips.latest = clip(fields.get("clip_id", b"").decode())
    if call.response is not None:
        call.clips.answered = clip(call.response.asked.clip_id, call.response.asked.clip_first_n)
    for of_id in orjson.loads(fields.get("untranscribed") or b"[]"):
        call.clips.untranscribed[of_id] = clip(of_id) or HeardClip(of_id, b"", 0)


def _restore_seen(call: CallRecord, fields: dict[str, bytes]) -> None:
    packed = [value for name, value in fields.items() if name.startswith("seen:")]
    call.client_events = ClientEvents.restored(packed)
    if call.record.missing.speech:
        _forget_appends(call)


def _forget_appends(call: CallRecord) -> None:
    """Appends whose audio the store has lost did not take effect after all: they may be sent again."""
    for event_id in [
        event_id for event_id, (_, heard_to) in call.client_events.seen.items() if heard_to > call.input_audio.position
    ]:
        del call.client_events.seen[event_id]
    call.client_events.last_id = next(reversed(call.client_events.seen), None)
