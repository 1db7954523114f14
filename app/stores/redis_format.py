"""How calls, heartbeats and wishes look in Redis: keys, scripts and their arguments, and what scripts answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

import orjson

from app.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from app.stores.base import DrainWish, PodBeat, Tallies


class Script:
    """A Lua script of ours and the SHA-1 that the server knows it by."""

    def __init__(self, name: str) -> None:
        self.text = files("app.stores").joinpath("lua", f"{name}.lua").read_text()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def call_keys(call_id: str) -> list[str]:
    """The four keys of a call, all in one hash slot."""
    slot = f"call:{{{call_id}}}"
    return [slot, f"{slot}:items", f"{slot}:out", f"{slot}:in"]


def commit_arguments(write: CallWrite, ttl_s: int, retention_s: int) -> list[Any]:
    """Arguments of `lua/commit.lua`."""
    items = write.items if retention_s or not write.ends else {}
    events, speech = ((), ()) if write.ends else (write.events, write.speech)
    arguments: list[Any] = [
        write.epoch,
        ttl_s,
        int(write.whole),
        write.keep_events_from,
        write.keep_speech_from,
        write.revision,
        write.claim,
        write.doubted,
        int(write.ends),
        retention_s,
        len(write.fields),
    ]
    for pair in write.fields.items():
        arguments += pair
    arguments.append(len(items))
    for pair in items.items():
        arguments += pair
    arguments.append(len(write.dropped_items))
    arguments += write.dropped_items
    arguments.append(len(events))
    for event in events:
        arguments += event
    arguments.append(len(speech))
    for piece in speech:
        arguments += piece
    return arguments


def _pairs(flat: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[str, bytes]:
    """A hash as the server sends it: a map with RESP3, a flat list with RESP2."""
    if isinstance(flat, Mapping):
        return {name.decode(): value for name, value in flat.items()}
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def snapshot_of(record: Any, items: Any, outbox: Any, speech: Any) -> Snapshot:
    """What `lua/load.lua` and `lua/claim.lua` say is held."""
    out = [(_number(entry_id), _pairs(fields)) for entry_id, fields in outbox]
    said = [(_number(entry_id), _pairs(fields)) for entry_id, fields in speech]
    return Snapshot(
        _pairs(record),
        _pairs(items),
        [OutboxEntry(n, fields["h"], fields.get("a", b"")) for n, fields in out],
        [SpeechEntry(n, fields["i"].decode(), fields["a"]) for n, fields in said],
    )


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def wish_of(packed: bytes | None) -> DrainWish | None:
    """A wish written by a newer version may hold more than this one knows."""
    if not packed:
        return None
    wish = orjson.loads(packed)
    return DrainWish(wish["mode"], wish["deadline_s"], wish["requested_at_ms"])


def beat_fields(beat: PodBeat) -> dict[Any, Any]:
    """The hash of a heartbeat."""
    fields: dict[Any, Any] = {name: str(getattr(beat, name)) for name in PodBeat.__dataclass_fields__}
    fields["tallies"] = b"" if beat.tallies is None else orjson.dumps(beat.tallies)
    fields["keys"] = orjson.dumps(dict(beat.keys)) if beat.keys else b""
    return fields


def tallies_of(packed: str) -> Tallies | None:
    """Counts of a pod, without what a newer version counts beside; None if it does not say."""
    if not packed:
        return None
    known = Tallies.__dataclass_fields__.keys()
    return Tallies(**{name: value for name, value in orjson.loads(packed).items() if name in known})


def beat_of(fields: Mapping[bytes, bytes]) -> PodBeat | None:
    """A heartbeat; None if it has run out, or comes from a version whose heartbeats say too little."""
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    try:
        return PodBeat(
            name=texts["name"],
            color=texts["color"],
            version=texts["version"],
            status=texts["status"],
            active_calls=int(texts["active_calls"]),
            parked_calls=int(texts.get("parked_calls", 0)),
            capacity=int(texts["capacity"]),
            started_at_ms=int(texts.get("started_at_ms", 0)),
            beat_at_ms=int(texts["beat_at_ms"]),
            schema=int(texts.get("schema", 0)),
            tallies=tallies_of(texts.get("tallies", "")),
            keys=orjson.loads(texts.get("keys") or b"{}"),
        )
    except (KeyError, ValueError):
        return None
