"""Calls as releases stored them, one a schema; never edited, only added to."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import orjson

from voice_agent.call.changes import OutboxEntry, Snapshot, SpeechEntry

RECORDS = Path(__file__).parent


def recorded(name: str) -> Snapshot:
    """A stored call: bytes are written as Latin-1 text, audio in base64."""
    held = orjson.loads((RECORDS / f"{name}.json").read_bytes())
    return Snapshot(
        _raw(held["fields"]),
        _raw(held["items"]),
        [OutboxEntry(n, head.encode("latin-1"), b64decode(audio)) for n, head, audio in held["outbox"]],
        [SpeechEntry(n, item_id, b64decode(audio)) for n, item_id, audio in held["speech"]],
    )


def packed(held: Snapshot) -> bytes:
    """The inverse."""
    readable = {
        "fields": _told(held.fields),
        "items": _told(held.items),
        "outbox": [[entry.n, entry.head.decode("latin-1"), b64encode(entry.audio).decode()] for entry in held.outbox],
        "speech": [[entry.n, entry.item_id, b64encode(entry.audio).decode()] for entry in held.speech],
    }
    return orjson.dumps(readable, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _raw(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode("latin-1") for name, text in texts.items()}


def _told(values: dict[str, bytes]) -> dict[str, str]:
    return {name: value.decode("latin-1") for name, value in values.items()}
