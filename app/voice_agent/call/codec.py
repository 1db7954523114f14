"""The format of a call's record: its fields encoded for a write, and a snapshot decoded into a call again.

A record is a hash of byte strings. Fields that change together form a *group* (`GROUPS`), by whose name the rules mark
them as changed (`Call.mark`); what grows of the response under way, with every token or step, has fields of
its own (`response_chunks`, `ELSEWHERE`). Fields that this version does not know are kept as they are: a newer
version of a neighbouring release wrote them. What goes into which write says `writes`.

`restore` trusts nothing that it reads: whatever is missing or of another kind is `RecordUnreadable`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

import orjson

from voice_agent.call.alignment import Piece
from voice_agent.call.changes import Snapshot, SpeechEntry
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS
from voice_agent.call.completeness import Kept, missing, replayable
from voice_agent.call.conversation import Conversation
from voice_agent.call.event_ids import MAX_EVENT_NUMBER
from voice_agent.call.outbox import Outbox
from voice_agent.call.record import Call, HeardClip, InputAudioBuffer, Playback, Response, Status
from voice_agent.call.response_chunks import GROWS, SIZES, is_chunk, restore_chunks, take_chunks
from voice_agent.call.response_items import open_again
from voice_agent.call.schema import READS_SCHEMAS, reads
from voice_agent.call.session_config import SessionConfig, new_session
from voice_agent.call.speech_log import SpeechLog
from voice_agent.errors import MAX_SCHEMA_CHARS, RecordUnreadable

DAMAGE = (LookupError, ValueError, TypeError, AttributeError)
"""What reading raises where a field is missing, or is something else than its kind."""

SAID = ""
"""Of a call that has ended: the name, which no item can have, under which its session and its agent's state stand
among the items, so that all that was said goes at one time and the record, which stays, tells nothing."""

Shape = TypeVar("Shape", Response, Playback, Piece)


def kept_clips(call: Call) -> list[HeardClip]:
    """Turns whose audio may still be needed: the one that is answered, the latest, those not transcribed yet.

    Of two with one id, which a client may give again, the newer comes later.
    """
    if not call.speech.keeps_turns:
        return []
    latest = None if call.speech.under_memory_pressure else call.clip
    return [*(clip for clip in (call.answered, latest) if clip is not None), *call.untranscribed.values()]


def encode_fields(call: Call, groups: set[str] | frozenset[str], now_ms: int) -> dict[str, bytes]:
    """The record's fields that every write carries, and those of some groups."""
    buffer = call.input_audio
    position = (buffer.base_ms, buffer.durable_position, buffer.speaking, buffer.first_n)
    fields = {
        "seq": b"%d" % call.outbox.seq,
        "updated_at_ms": b"%d" % now_ms,
        "input_audio": b"%d %d %d %d " % position + (buffer.item_id or "").encode(),
    }
    if call.response is not None:
        fields["response_audio"] = b"%d %d" % (call.response.audio_bytes, call.response.piece_checksum)
    for group in groups:
        _ENCODE[group](call, fields)
    if call.client_events.unsaved:
        _take_seen(call, fields)
    return fields


def encode_tombstone(call: Call, now_ms: int) -> dict[str, bytes]:
    """All fields of the record of a call that has ended."""
    fields = {"seq": b"%d" % call.outbox.seq, "updated_at_ms": b"%d" % now_ms}
    for group in ("identity", "status", "counts"):
        _ENCODE[group](call, fields)
    return fields


def _take_seen(call: Call, fields: dict[str, bytes]) -> None:
    durable = call.input_audio.durable_position
    waiting = []
    for event_id, number, heard_to in call.client_events.unsaved:
        if heard_to > durable:
            waiting.append((event_id, number, heard_to))
        else:
            fields[f"seen:{number % REMEMBERED_CLIENT_EVENTS}"] = encode_seen(event_id, number, heard_to)
    call.client_events.unsaved = waiting


def encode_seen(event_id: str, number: int, heard_to: int) -> bytes:
    """The number, for an append the input position that it reaches, and the id."""
    if heard_to:
        return b"%d:%d %s" % (number, heard_to, event_id.encode())
    return b"%d %s" % (number, event_id.encode())


def _encode_identity(call: Call, fields: dict[str, bytes]) -> None:
    fields.update(
        schema=b"%d" % call.schema,
        call_id=call.call_id.encode(),
        model=call.model.encode(),
        mirror=b"%d" % call.mirror,
        api_key_hash=call.api_key_hash.encode(),
        call_key_hash=call.call_key_hash.encode(),
        created_at_ms=b"%d" % call.created_at_ms,
        owner=call.owner.encode(),
        color=call.color.encode(),
    )


def _encode_status(call: Call, fields: dict[str, bytes]) -> None:
    fields.update(
        status=call.status.encode(),
        outcome=call.outcome.encode(),
        ended_at_ms=b"%d" % call.ended_at_ms,
        left_at_ms=b"%d" % call.left_at_ms,
        handed_off=b"%d" % call.handed_off,
        resumable=b"%d" % call.resumable,
    )


def _encode_counts(call: Call, fields: dict[str, bytes]) -> None:
    fields["counts"] = b"%d %d %d %d" % (call.items_made, call.responses_made, call.turns, call.speech.made)


def _encode_session(call: Call, fields: dict[str, bytes]) -> None:
    fields["session"] = orjson.dumps(call.session.fields)
    fields["voice_locked"] = b"%d" % call.session.voice_locked


def _encode_response(call: Call, fields: dict[str, bytes]) -> None:
    fields["response"] = _flat(call.response, ELSEWHERE) if call.response else b""
    for name in call.fields_to_empty:
        fields.setdefault(name, b"")
    call.fields_to_empty = []


def _encode_params(call: Call, fields: dict[str, bytes]) -> None:
    fields["response_params"] = orjson.dumps(call.response.params) if call.response else b""


def _encode_plan(call: Call, fields: dict[str, bytes]) -> None:
    fields["response_plan"] = orjson.dumps(call.response.plan) if call.response else b""


def _encode_playback(call: Call, fields: dict[str, bytes]) -> None:
    fields["idle_from_ms"] = b"" if call.idle_from_ms is None else b"%d" % call.idle_from_ms
    fields["playback"] = _flat(call.playback) if call.playback else b""


def _encode_piece(call: Call, fields: dict[str, bytes]) -> None:
    fields["piece"] = _flat(call.response.piece, PIECE_ELSEWHERE) if call.response else b""


def _encode_said(call: Call, fields: dict[str, bytes]) -> None:
    if call.response is not None:
        take_chunks(call.response, fields, whole=call.write_whole)
    else:
        fields[SIZES] = b""


def _encode_agent(call: Call, fields: dict[str, bytes]) -> None:
    fields["agent_state"] = orjson.dumps(call.agent_state)


def _encode_turn(call: Call, fields: dict[str, bytes]) -> None:
    fields["clip_id"] = call.clip.item_id.encode() if call.clip else b""
    fields["failed_up_to"] = call.failed_up_to.encode()
    fields["untranscribed"] = orjson.dumps(list(call.untranscribed))
    kept = kept_clips(call)
    fields["clips"] = orjson.dumps({clip.item_id: clip.first_n for clip in kept})
    fields["clip_bytes"] = orjson.dumps({clip.item_id: len(clip.audio) for clip in kept})


_ENCODE = {
    "identity": _encode_identity,
    "status": _encode_status,
    "counts": _encode_counts,
    "session": _encode_session,
    "response": _encode_response,
    "params": _encode_params,
    "plan": _encode_plan,
    "playback": _encode_playback,
    "piece": _encode_piece,
    "said": _encode_said,
    "agent": _encode_agent,
    "turn": _encode_turn,
}
GROUPS = frozenset(_ENCODE)
ELSEWHERE = GROWS | {"params", "plan", "piece", "stored", "audio_bytes", "piece_checksum"}
"""Of a reply: what is large, or changes more often than the rest, and has record fields of its own."""
PIECE_ELSEWHERE = frozenset({"words"})
KNOWN_FIELDS = frozenset(
    """schema call_id model mirror api_key_hash call_key_hash created_at_ms owner color claimed_at_ms status outcome
    ended_at_ms left_at_ms handed_off resumable counts session voice_locked response response_params response_plan
    response_sizes response_audio piece playback idle_from_ms agent_state clip_id failed_up_to clips clip_bytes
    untranscribed seq updated_at_ms input_audio kept epoch revision claim""".split()
)


def is_known(name: str) -> bool:
    """Whether a field of the record is one that this version writes."""
    return name in KNOWN_FIELDS or name.startswith("seen:") or is_chunk(name)


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
) -> Call:
    """The call that a snapshot describes, owned under `epoch`. Raises `RecordUnreadable`, also for none of `schemas`.

    One that has ended has only what a tombstone tells, and while it is kept, what was said (`keeps_what_was_said`).
    Where the store has lost something (`Call.missing`) it is what is left, and the next write is of all of it.
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


def _restored(snapshot: Snapshot, epoch: int, outbox_bytes: int, checkpoint_ms: int) -> Call:
    fields, items = snapshot.fields, dict(snapshot.items)

    def text(name: str) -> str:
        return fields.get(name, b"").decode()

    packed = items.pop(SAID, None)
    said = _object(packed) if packed else {"session": new_session(text("call_id"), text("model"), "", expires_at_s=0)}
    seq = _event_number(fields["seq"])
    session = _object(fields["session"]) if "session" in fields else said["session"]

    call = Call(
        call_id=text("call_id"),
        epoch=epoch,
        owner=text("owner"),
        color=text("color"),
        model=text("model"),
        schema=int(fields["schema"]),
        session=SessionConfig(session, voice_locked=fields.get("voice_locked") == b"1"),
        outbox=Outbox(outbox_bytes, replayable(snapshot.outbox, seq), seq=seq),
        created_at_ms=int(fields["created_at_ms"]),
        mirror=fields.get("mirror") == b"1",
        speech=SpeechLog(checkpoint_ms),
        api_key_hash=text("api_key_hash"),
        call_key_hash=text("call_key_hash"),
        resumable=fields.get("resumable") == b"1",
        status=Status(text("status")),
        outcome=text("outcome"),
        ended_at_ms=int(fields.get("ended_at_ms", b"0")),
        left_at_ms=int(fields.get("left_at_ms", b"0")),
        handed_off=fields.get("handed_off") == b"1",
        conversation=Conversation(items),
        agent_state=_object(fields["agent_state"]) if fields.get("agent_state") else said.get("agent_state", {}),
    )
    call.revision = int(fields.get("revision", b"0"))
    call.claim = text("claim")
    int(fields.get("updated_at_ms", b"0"))  # Must be a number: a take-over reads it from the same record.
    call.items_made, call.responses_made, call.turns, call.speech.made = map(int, fields["counts"].split())
    call.unknown_fields = {name: value for name, value in fields.items() if not is_known(name)}
    call.missing = missing(snapshot)
    call.write_whole = any(call.missing)
    call.trimmed_to = (snapshot.outbox[0].n if snapshot.outbox else 0, 0)
    call.speech.stored.extend(entry.n for entry in snapshot.speech)
    _restore_response(call, fields)
    _restore_input_audio(call, fields, snapshot.speech)
    _restore_seen(call, fields)
    return call


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


def _restore_response(call: Call, fields: dict[str, bytes]) -> None:
    if fields.get("response"):
        values = orjson.loads(fields["response"])
        values["params"], values["plan"] = (orjson.loads(fields[f"response_{name}"]) for name in ("params", "plan"))
        values["piece"] = _shaped(Piece, orjson.loads(fields.get("piece") or b"{}"))
        call.response = _shaped(Response, values)
        sent, _, checksum = fields.get("response_audio", b"0").partition(b" ")
        call.response.audio_bytes, call.response.piece_checksum = int(sent), int(checksum or b"0")
        restore_chunks(call.response, fields)
        open_again(call, call.response)
    if fields.get("idle_from_ms"):
        call.idle_from_ms = int(fields["idle_from_ms"])
    if fields.get("playback"):
        call.playback = _shaped(Playback, orjson.loads(fields["playback"]))
        if call.response is not None and call.response.item_id == call.playback.item_id:
            # It grows with every chunk, and is written with the reply's other fields only.
            call.playback.audio_bytes = call.response.item_audio_bytes


def _flat(value: Response | Playback | Piece, without: frozenset[str] = frozenset()) -> bytes:
    fields = {name: getattr(value, name) for name in value.__dataclass_fields__ if name not in without}
    return orjson.dumps({**fields.pop("extras", {}), **fields})


def _shaped(shape: type[Shape], values: dict[str, Any]) -> Shape:
    """What a newer version added goes into `extras`, and from there back into the store."""
    known = {name: value for name, value in values.items() if name in shape.__dataclass_fields__}
    return shape(**known, extras={name: value for name, value in values.items() if name not in known})


def _restore_input_audio(call: Call, fields: dict[str, bytes], speech: list[SpeechEntry]) -> None:
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
    kept = Kept.unpack(fields)
    if kept is not None and len(audio) != kept.utterance_bytes:
        # It is not known which part is left, and a client that sends again must begin where something is missing.
        call.input_audio.position -= kept.utterance_bytes
        call.input_audio.audio = bytearray()
        call.input_audio.saved = call.input_audio.first_n = 0

    first, sizes = (orjson.loads(fields.get(name) or b"{}") for name in ("clips", "clip_bytes"))
    clips: dict[int, HeardClip] = {}

    def clip(of_id: str, from_n: int | None = None) -> HeardClip | None:
        """One object for all who refer to it; None unless all of its audio was to be kept, and is there."""
        if of_id not in first:
            return None
        said = [entry for entry in pieces.get(of_id, ()) if entry.n >= (from_n or first[of_id])]
        audio = b"".join(entry.audio for entry in said)
        if not said or sizes.get(of_id) != len(audio):
            return None
        return clips.setdefault(said[0].n, HeardClip(of_id, audio, said[0].n))

    call.failed_up_to = fields.get("failed_up_to", b"").decode()
    call.clip = clip(fields.get("clip_id", b"").decode())
    if call.response is not None:
        call.answered = clip(call.response.clip_id, call.response.clip_first_n)
    for of_id in orjson.loads(fields.get("untranscribed") or b"[]"):
        call.untranscribed[of_id] = clip(of_id) or HeardClip(of_id, b"", 0)


def _restore_seen(call: Call, fields: dict[str, bytes]) -> None:
    numbered = []
    for name, value in fields.items():
        if name.startswith("seen:"):
            digits, _, event_id = value.partition(b" ")
            digits, _, position = digits.partition(b":")
            numbered.append((int(digits), int(position or b"0"), event_id.decode()))
    numbered.sort()
    for number, heard_to, seen_id in numbered:
        call.client_events.seen[seen_id] = (number, heard_to)
        call.client_events.seen.move_to_end(seen_id)  # A client may have used it twice.
        call.client_events.made = number
    if call.missing.speech:
        _forget_appends(call)
    call.client_events.last_id = next(reversed(call.client_events.seen), None)


def _forget_appends(call: Call) -> None:
    """Appends whose audio the store has lost did not take effect after all: they may be sent again."""
    for event_id in [
        event_id for event_id, (_, heard_to) in call.client_events.seen.items() if heard_to > call.input_audio.position
    ]:
        del call.client_events.seen[event_id]
