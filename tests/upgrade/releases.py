"""The releases before and after this one, made of this one: what it added last is taken away, or something is added.

`installed` puts them in place for a block; who runs within it is of the release that `RELEASE` says. Both know nothing
of what they lack, and keep it as this one keeps what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from enum import StrEnum
from typing import Any
from unittest.mock import patch

import orjson

from voice_agent.call import beginnings, writes
from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.call.completeness import KEPT
from voice_agent.call.item_order import Entry
from voice_agent.call.record import CallRecord


class Release(StrEnum):
    """Which one."""

    BEFORE = "before"
    THIS = "this"
    AFTER = "after"


RELEASE: ContextVar[Release] = ContextVar("release", default=Release.THIS)
NEWEST_FIELDS = frozenset({"failed_up_to", "idle_from_ms", "clip_said", "onset"})
"""Of the record: what the release before does not know yet."""
NEWEST_OF_RESPONSE = frozenset({"heard_ms"})
COUNTED_BEFORE = 4
"""So many numbers it writes of what the store holds (`completeness.KEPT`)."""
ADDED = "added_later"
"""The name of all that the release after this one adds."""


@contextmanager
def installed() -> Iterator[None]:
    """Both of them, for a block."""
    with ExitStack() as stack:
        for where, name, made in (
            (beginnings, "restore", _restoring),
            (writes, "encode_fields", _encoding),
            (writes, "_count_kept", _counting),
            (Entry, "pack", _packing),
        ):
            stack.enter_context(patch.object(where, name, made(getattr(where, name))))
        yield


def added_to(fields: Mapping[str, bytes], items: Mapping[str, bytes]) -> set[str]:
    """Where something stands that the release after this one added: ids of items, "" for the record."""
    mark = f'"{ADDED}"'.encode()
    return {item_id for item_id, packed in items.items() if mark in packed} | ({""} if ADDED in fields else set())


def _restoring(restore: Any) -> Any:
    def of_release(snapshot: Snapshot, **more: Any) -> CallRecord:
        if RELEASE.get() is not Release.BEFORE:
            call: CallRecord = restore(snapshot, **more)
            return call
        known, unknown = _parted(snapshot.fields, NEWEST_FIELDS)
        response: dict[str, Any] = {}
        of_response: dict[str, Any] = {}
        if known.get("response"):
            response, of_response = _parted(orjson.loads(known["response"]), NEWEST_OF_RESPONSE)
            known["response"] = orjson.dumps(response)
        call = restore(replace(snapshot, fields=known), **more)
        call.record.unknown_fields |= unknown
        if call.response is not None:
            call.response.extras |= of_response
        return call

    return of_release


def _encoding(encode_fields: Any) -> Any:
    def of_release(call: CallRecord, groups: Any, now_ms: int) -> dict[str, bytes]:
        fields: dict[str, bytes] = encode_fields(call, groups, now_ms)
        if RELEASE.get() is Release.AFTER:
            fields[ADDED] = b"%d" % call.owner.epoch
        elif RELEASE.get() is Release.BEFORE:
            fields, _ = _parted(fields, NEWEST_FIELDS)
            if fields.get("response") and call.response is not None:
                known, _ = _parted(orjson.loads(fields["response"]), NEWEST_OF_RESPONSE)
                fields["response"] = orjson.dumps({**call.response.extras, **known})
        return fields

    return of_release


def _counting(count_kept: Any) -> Any:
    def of_release(call: CallRecord, write: CallWrite) -> None:
        count_kept(call, write)
        if RELEASE.get() is Release.BEFORE:
            write.fields[KEPT] = b" ".join(write.fields[KEPT].split()[:COUNTED_BEFORE])

    return of_release


def _packing(pack: Any) -> Any:
    def of_release(entry: Entry) -> bytes:
        if RELEASE.get() is Release.AFTER:
            entry.extras = {**(entry.extras or {}), ADDED: entry.item["id"]}
        packed: bytes = pack(entry)
        if RELEASE.get() is Release.BEFORE:
            return _unchecked(packed)
        return packed

    return of_release


def _unchecked(packed: bytes) -> bytes:
    """An entry by a release that knows no check: one that it found stays, behind what it writes first."""
    fields = orjson.loads(packed)
    return orjson.dumps({"rank": fields.pop("rank"), **fields})


def _parted(values: Mapping[str, Any], names: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Without what has one of the names, and that."""
    return (
        {name: value for name, value in values.items() if name not in names},
        {name: value for name, value in values.items() if name in names},
    )
