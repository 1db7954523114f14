"""Conversation items: the checks for those a client creates.

The shapes are those of ``ConversationItem`` in the official SDK. Audio is never kept
inside an item: `check_item` takes it out, and an item says of it only that it is there
(``{"type": "input_audio", "transcript": …}``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from voice_agent.call.json_checks import (
    Check,
    an_object,
    array,
    fields,
    free_json,
    invalid,
    missing,
    one_of,
    shown,
    text,
)

KIB = 1024
MAX_TEXT_BYTES = 256 * KIB
"""One text part, one function's arguments or output."""
MAX_PARTS = 64
MAX_AUDIO_CHARS = 20 * 1024 * KIB
"""Base64 of 15 MiB of audio."""

MAX_ITEM_BYTES = 512 * KIB
"""All texts of an item together."""

item_id = text(64, min_bytes=1, pattern=r"[!-~]+", means="printable ASCII characters without blanks")
"""The check for an item's id: frameworks put dots, colons and slashes of their own into it."""


class CheckedItem(NamedTuple):
    """An item fit to be stored, and the base64 texts of its audio parts, each with its path."""

    item: dict[str, Any]
    """Without ``id`` if the caller gave none."""
    audio_base64: list[tuple[str, str]]


_TEXT = text(MAX_TEXT_BYTES)
_WRITTEN: dict[str, Check] = {"type": _TEXT, "text": _TEXT}
_SPOKEN: dict[str, Check] = {"type": _TEXT, "audio": text(MAX_AUDIO_CHARS), "transcript": _TEXT}

_written = fields(_WRITTEN, required=("text",))
_spoken = fields(_SPOKEN)
_PARTS: dict[str, dict[str, Check]] = {
    "system": {"input_text": _written},
    "user": {"input_text": _written, "input_audio": _spoken},
    "assistant": {"output_text": _written, "output_audio": _spoken},
}
_ALIASES = {("assistant", "text"): "output_text", ("assistant", "audio"): "output_audio"}
"""What parts were called before the GA protocol."""

_COMMON: dict[str, Check] = {
    "id": item_id,
    "object": one_of("realtime.item"),
    "type": _TEXT,
    "status": one_of("completed", "incomplete", "in_progress"),
}
_CALL_ID = text(128, min_bytes=1)
_ITEMS = {
    "message": fields(
        {**_COMMON, "role": one_of(*_PARTS), "content": array(an_object, MAX_PARTS, min_items=1)},
        required=("role", "content"),
    ),
    "function_call": fields(
        {**_COMMON, "call_id": _CALL_ID, "name": text(64, min_bytes=1), "arguments": _TEXT},
        required=("name", "arguments"),
    ),
    "function_call_output": fields({**_COMMON, "call_id": _CALL_ID, "output": _TEXT}, required=("call_id", "output")),
}
_bounded = free_json(MAX_ITEM_BYTES)
_REFERENCE = fields({"type": one_of("item_reference"), "id": item_id}, required=("id",))


def check_item(raw: Any, path: str = "item") -> CheckedItem:
    """Check an item as a caller wrote it; unknown fields and kinds are mistakes, ``status`` is ours to say.

    Raises `ProtocolError`, whose `param` starts with `path`.
    """
    kind = _kind(an_object(raw, path), _ITEMS, path)
    given: dict[str, Any] = _ITEMS[kind](raw, path)
    item = {"id": given.pop("id", None), "object": "realtime.item", "type": kind, "status": "completed"}
    if item["id"] is None:
        del item["id"]
    audio: list[tuple[str, str]] = []
    if kind == "message":
        role = given["role"]
        parts = enumerate(given["content"])
        given["content"] = [_check_part(part, role, f"{path}.content[{index}]", audio) for index, part in parts]
    for settled in ("object", "type", "status"):
        given.pop(settled, None)
    return CheckedItem(_bounded({**item, **given}, path), audio)


def check_input_item(raw: Any, path: str) -> dict[str, Any]:
    """Check an entry of a response's own ``input``: an item, or an ``item_reference`` to one of the conversation."""
    if an_object(raw, path).get("type") == "item_reference":
        reference: dict[str, Any] = _REFERENCE(raw, path)
        return reference
    item, audio = check_item(raw, path)
    if audio:
        raise invalid(
            audio[0][0], "is not taken here; create the item first, then name it with {'type': 'item_reference'}"
        )
    return item


def _check_part(raw: dict[str, Any], role: str, path: str, audio: list[tuple[str, str]]) -> dict[str, Any]:
    alias = _ALIASES.get((role, raw["type"])) if isinstance(raw.get("type"), str) else None
    if alias:
        raw = {**raw, "type": alias}
    kind = _kind(raw, _PARTS[role], path)
    part: dict[str, Any] = _PARTS[role][kind](raw, path)
    if "text" in part:
        return part
    sound = part.pop("audio", None)
    transcript = part.get("transcript")
    if role == "assistant" and sound:
        raise invalid(f"{path}.audio", "cannot be set: only this server speaks as the assistant; give the transcript")
    if not sound and transcript is None:
        raise missing(f"{path}.audio" if role == "user" else f"{path}.transcript")
    if sound:
        audio.append((f"{path}.audio", sound))
    return {"type": kind, "transcript": transcript}


def _kind(raw: dict[str, Any], known: dict[str, Check], path: str) -> str:
    """The ``type`` of an item or a part, if it is one of the known."""
    if "type" not in raw:
        raise missing(f"{path}.type")
    kind = raw["type"]
    if kind == "input_image":
        raise invalid(f"{path}.type", "is 'input_image'; this server does not take images")
    if isinstance(kind, str) and kind.startswith("mcp_"):
        raise invalid(f"{path}.type", f"is {shown(kind)}; this server does not take MCP items")
    return str(one_of(*known)(kind, f"{path}.type"))
