"""The format of a call's record: its fields, encoded for a write; `restoring` decodes them.

A record is a hash of byte strings. Fields that change together form a *group* (`GROUPS`), by whose name the rules mark
them as changed (`StoredRecord.mark`); what grows of the response under way, with every token or step, has fields of
its own (`response_chunks`). Fields that this version does not know are kept as they are: a newer
version of a neighbouring release wrote them. What goes into which write says `writes`.

orjson makes the JSON; the rest is no library's. Those such as msgspec or pydantic put an object into one piece, which
each write would carry whole; and msgspec drops what it does not know when it decodes.
"""

from __future__ import annotations

import orjson

from voice_agent.call import agent_fields
from voice_agent.call.alignment import Piece
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS, ClientEvents, pack_seen
from voice_agent.call.dialogue import Playback
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.response_chunks import SIZES, is_chunk, take_chunks
from voice_agent.call.usage_fields import encode_usage, flat_response_usage

SAID = ""
"""Of a call that has ended: the name, which no item can have, under which its session and its agent's state stand
among the items, so that all that was said goes at one time and the record, which stays, tells nothing."""


def encode_fields(call: CallRecord, groups: set[str] | frozenset[str], now_ms: int) -> dict[str, bytes]:
    """The record's fields that every write carries, and those of some groups."""
    buffer = call.input_audio
    position = (buffer.base_ms, buffer.durable_position, buffer.speaking, buffer.first_n)
    fields = {
        "seq": b"%d" % call.outbox.seq,
        "updated_at_ms": b"%d" % now_ms,
        "input_audio": b"%d %d %d %d " % position + (buffer.item_id or "").encode(),
    }
    if call.response is not None:
        said = call.response.said
        fields["response_audio"] = b"%d %d" % (said.audio_bytes, said.checksum)
    for group in groups:
        _ENCODE[group](call, fields)
    if call.client_events.unsaved:
        _take_seen(call.client_events, buffer.durable_position, fields)
    return fields


def encode_tombstone(call: CallRecord, now_ms: int) -> dict[str, bytes]:
    """All fields of the record of a call that has ended."""
    fields = {"seq": b"%d" % call.outbox.seq, "updated_at_ms": b"%d" % now_ms}
    for group in ("identity", "status", "counts", "usage"):
        _ENCODE[group](call, fields)
    fields.pop("caller", None)  # Who it was is among what goes with what was said.
    return fields


def _take_seen(client_events: ClientEvents, durable: int, fields: dict[str, bytes]) -> None:
    waiting = []
    for event_id, number, heard_to in client_events.unsaved:
        if heard_to > durable:
            waiting.append((event_id, number, heard_to))
        else:
            fields[f"seen:{number % REMEMBERED_CLIENT_EVENTS}"] = pack_seen(event_id, number, heard_to)
    client_events.unsaved = waiting


def _encode_identity(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields.update(
        schema=b"%d" % call.record.schema,
        call_id=call.call_id.encode(),
        model=call.identity.model.encode(),
        mirror=b"%d" % call.identity.mirror,
        api_key_hash=call.identity.api_key_hash.encode(),
        call_key_hash=call.identity.call_key_hash.encode(),
        created_at_ms=b"%d" % call.identity.created_at_ms,
        owner=call.owner.pod.encode(),
        color=call.owner.color.encode(),
    )
    if call.identity.caller:
        fields["caller"] = orjson.dumps(call.identity.caller)


def _encode_status(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields.update(
        status=call.lifecycle.status.encode(),
        outcome=call.lifecycle.outcome.encode(),
        ended_at_ms=b"%d" % call.lifecycle.ended_at_ms,
        left_at_ms=b"%d" % call.lifecycle.left_at_ms,
        handed_off=b"%d" % call.lifecycle.handed_off,
        resumable=b"%d" % call.lifecycle.resumable,
    )
    if call.lifecycle.transfer:
        fields["transfer"] = call.lifecycle.transfer.encode()


def _encode_counts(call: CallRecord, fields: dict[str, bytes]) -> None:
    ids = call.ids
    fields["counts"] = b"%d %d %d %d" % (ids.items_made, ids.responses_made, call.dialogue.turns, call.speech.made)


def _encode_session(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["session"] = orjson.dumps(call.session.fields)
    fields["voice_locked"] = b"%d" % call.session.voice_locked


def _encode_response(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["response"] = _pack_response(call.response) if call.response else b""
    for name in call.record.fields_to_empty:
        fields.setdefault(name, b"")
    call.record.fields_to_empty = []


def _encode_params(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["response_params"] = orjson.dumps(call.response.asked.params) if call.response else b""
    fields["response_plan"] = b"null" if call.response else b""  # The release before does not read a record without it.


def _encode_playback(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["idle_from_ms"] = b"" if call.dialogue.idle_from_ms is None else b"%d" % call.dialogue.idle_from_ms
    fields["playback"] = _flat(call.dialogue.playback) if call.dialogue.playback else b""


def _encode_piece(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["piece"] = _flat(call.response.said.piece, PIECE_ELSEWHERE) if call.response else b""


def _encode_said(call: CallRecord, fields: dict[str, bytes]) -> None:
    if call.response is not None:
        take_chunks(call.response, fields, whole=call.record.write_whole)
    else:
        fields[SIZES] = b""


def _encode_agent(call: CallRecord, fields: dict[str, bytes]) -> None:
    fields["agent_state"] = orjson.dumps(call.dialogue.agent_state)


def _encode_turn(call: CallRecord, fields: dict[str, bytes]) -> None:
    onset = call.input_audio.onset
    fields["onset"] = b"" if onset is None else orjson.dumps([onset.known_at, onset.heard_from, *onset.noise])
    fields["clip_id"] = call.clips.latest.item_id.encode() if call.clips.latest else b""
    fields["failed_up_to"] = call.dialogue.failed_up_to.encode()
    fields["untranscribed"] = orjson.dumps(list(call.clips.untranscribed))
    kept = call.clips.to_store(call.speech)
    fields["clips"] = orjson.dumps({clip.item_id: clip.first_n for clip in kept})
    fields["clip_bytes"] = orjson.dumps({clip.item_id: len(clip.audio) for clip in kept})
    fields["clip_said"] = orjson.dumps({clip.item_id: clip.said_bytes for clip in kept if clip.said_bytes})


def _pack_response(response: Response) -> bytes:
    asked, item = response.asked, response.open_item
    fields = {
        "response_id": response.response_id,
        **{name: getattr(asked, own) for name, own in ASKED.items()},
        **{name: getattr(item, own) for name, own in OPEN_ITEM.items()},
    }
    if response.event_number:
        fields["event_number"] = response.event_number
    if any(response.replay_from):
        fields["replay_from"] = response.replay_from
    if response.usage is not None:
        fields["usage"] = flat_response_usage(response.usage)
    return orjson.dumps({**response.extras, **fields})


def _flat(value: Playback | Piece, without: frozenset[str] = frozenset()) -> bytes:
    fields = {name: getattr(value, name) for name in value.__dataclass_fields__ if name not in without}
    return orjson.dumps({**fields.pop("extras", {}), **fields})


_ENCODE = {
    "identity": _encode_identity,
    "status": _encode_status,
    "counts": _encode_counts,
    "session": _encode_session,
    "response": _encode_response,
    "params": _encode_params,
    "playback": _encode_playback,
    "piece": _encode_piece,
    "said": _encode_said,
    "agent": _encode_agent,
    "turn": _encode_turn,
    "agent_events": agent_fields.encode_events,
    "acts": agent_fields.encode_acts,
    "timers": agent_fields.encode_timers,
    "later": agent_fields.encode_later,
    "usage": encode_usage,
}
GROUPS = frozenset(_ENCODE)
ASKED = {
    "started_at_ms": "started_at_ms",
    "clip_id": "clip_id",
    "clip_first_n": "clip_first_n",
    "heard_ms": "heard_ms",
    "asked_up_to": "up_to",
    "items_up_to": "items_up_to",
    "cut": "cut",
}
"""Of a response: what the record calls the fields of `ResponseRequest`, but for the parameters, which are large."""
OPEN_ITEM = {"item_id": "item_id", "item_text_from": "text_from", "item_audio_from": "audio_from"}
"""And those of `OpenItem`."""
PIECE_ELSEWHERE = frozenset({"words"})
KNOWN_FIELDS = frozenset(
    """schema call_id model mirror api_key_hash call_key_hash created_at_ms owner color claimed_at_ms status outcome
    ended_at_ms left_at_ms handed_off resumable counts session voice_locked response response_params response_plan
    response_sizes response_audio piece playback idle_from_ms agent_state clip_id failed_up_to clips clip_bytes
    clip_said onset untranscribed seq updated_at_ms input_audio kept epoch revision claim caller pieces_size
    agent_events acts timers later usage transfer""".split()
)


def is_known(name: str) -> bool:
    """Whether a field of the record is one that this version writes."""
    return name in KNOWN_FIELDS or name.startswith("seen:") or is_chunk(name) or agent_fields.is_act(name)
