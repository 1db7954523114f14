"""Conversation items as callers write them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import ConversationItem
from pydantic import TypeAdapter

from tests.protocol import checked
from voice_agent.errors import ProtocolError

SDK_ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)


def message(role: str, *content: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message item."""
    return {"type": "message", "role": role, "content": list(content), **more}


TAKEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        message("user", {"type": "input_text", "text": "hello"}),
        {"content": [{"type": "input_text", "text": "hello"}], "role": "user"},
    ),
    (
        message("system", {"type": "input_text", "text": ""}, id="item_1", status="in_progress"),
        {"content": [{"type": "input_text", "text": ""}], "role": "system", "id": "item_1"},
    ),
    (
        message("assistant", {"type": "output_text", "text": "hi"}, object="realtime.item"),
        {"content": [{"type": "output_text", "text": "hi"}], "role": "assistant"},
    ),
    (
        message("assistant", {"type": "text", "text": "hi"}),
        {"content": [{"type": "output_text", "text": "hi"}], "role": "assistant"},
    ),
    (
        message("assistant", {"type": "output_audio", "transcript": "hi"}),
        {"content": [{"type": "output_audio", "transcript": "hi"}], "role": "assistant"},
    ),
    (
        message("user", {"type": "input_audio", "transcript": "only told"}),
        {"content": [{"type": "input_audio", "transcript": "only told"}], "role": "user"},
    ),
    (
        {"type": "function_call", "name": "book", "arguments": "{}", "call_id": "fc_1"},
        {"name": "book", "arguments": "{}", "call_id": "fc_1"},
    ),
    (
        {"type": "function_call", "name": "book", "arguments": "{}", "call_id": None, "id": None},
        {"name": "book", "arguments": "{}"},
    ),
    (
        {"type": "function_call_output", "call_id": "fc_1", "output": ""},
        {"call_id": "fc_1", "output": ""},
    ),
]


@pytest.mark.parametrize(("raw", "kept"), TAKEN)
def test_an_item_is_taken_and_completed(raw: dict[str, Any], kept: dict[str, Any]) -> None:
    """What is kept has the protocol's object and status beside what was given, and the SDK reads it."""
    item, audio = checked.item(raw)
    assert item == {"object": "realtime.item", "type": raw["type"], "status": "completed", **kept}
    assert audio == []
    assert SDK_ITEM.validate_python(item).model_dump(exclude_unset=True) == item


@pytest.mark.parametrize("given", ["msg.1:2/3", "run-7+a=b", "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_ids_are_as_frameworks_make_them(given: str) -> None:
    """Whatever is printable and has no blanks."""
    assert checked.item(message("user", TEXT, id=given)).item["id"] == given


def test_audio_is_taken_out_of_the_item() -> None:
    """The base64 of each audio part is handed over with its path in the item, its transcript stays."""
    raw = message(
        "user",
        {"type": "input_audio", "audio": "AAAA"},
        {"type": "input_text", "text": "and"},
        {"type": "input_audio", "audio": "BBBB", "transcript": "two"},
    )
    item, audio = checked.item(raw)
    assert audio == [("content[0].audio", "AAAA"), ("content[2].audio", "BBBB")]
    assert item["content"] == [
        {"type": "input_audio", "transcript": None},
        {"type": "input_text", "text": "and"},
        {"type": "input_audio", "transcript": "two"},
    ]
    assert raw["content"][0]["audio"] == "AAAA"


TEXT = {"type": "input_text", "text": "x"}
REFUSED: list[tuple[Any, str, str]] = [
    (None, "missing_required_parameter", "item"),
    ([], "invalid_type", "item"),
    ({}, "missing_required_parameter", "item.type"),
    ({"type": ["message"]}, "invalid_type", "item.type"),
    ({"type": None}, "missing_required_parameter", "item.type"),
    ({"type": "letter"}, "invalid_value", "item.type"),
    ({"type": "mcp_approval_response"}, "invalid_value", "item.type"),
    ({"type": "item_reference", "id": "item_1"}, "invalid_value", "item.type"),
    ({"type": "message", "content": [TEXT]}, "missing_required_parameter", "item.role"),
    (message("tool", TEXT), "invalid_value", "item.role"),
    (message("user"), "invalid_value", "item.content"),
    (message("user", *[TEXT] * 65), "invalid_value", "item.content"),
    (message("user", "hello"), "invalid_type", "item.content[0]"),  # type: ignore[arg-type]
    (message("user", {"text": "x"}), "missing_required_parameter", "item.content[0].type"),
    (message("user", {"type": {}, "text": "x"}), "invalid_type", "item.content[0].type"),
    (message("user", {"type": "output_text", "text": "x"}), "invalid_value", "item.content[0].type"),
    (message("system", {"type": "input_audio", "audio": "AAAA"}), "invalid_value", "item.content[0].type"),
    (message("assistant", TEXT), "invalid_value", "item.content[0].type"),
    (message("user", {"type": "input_image", "image_url": "data:"}), "invalid_value", "item.content[0].type"),
    (message("user", {"type": "input_text"}), "missing_required_parameter", "item.content[0].text"),
    (message("user", {"type": "input_text", "text": None}), "missing_required_parameter", "item.content[0].text"),
    (message("user", {**TEXT, "audio": ""}), "unknown_parameter", "item.content[0].audio"),
    (message("user", {"type": "input_audio"}), "missing_required_parameter", "item.content[0].audio"),
    (message("user", {"type": "input_audio", "audio": ""}), "missing_required_parameter", "item.content[0].audio"),
    (message("user", {"type": "input_audio", "audio": 1}), "invalid_type", "item.content[0].audio"),
    (message("assistant", {"type": "output_audio"}), "missing_required_parameter", "item.content[0].transcript"),
    (message("assistant", {"type": "output_audio", "audio": "AAAA"}), "invalid_value", "item.content[0].audio"),
    (message("user", TEXT, id="a b"), "invalid_value", "item.id"),
    (message("user", TEXT, id=""), "invalid_value", "item.id"),
    (message("user", TEXT, id="x" * 65), "string_above_max_length", "item.id"),
    (message("user", TEXT, name="x"), "unknown_parameter", "item.name"),
    (message("user", {**TEXT, "text": "x" * 262_145}), "string_above_max_length", "item.content[0].text"),
    (message("user", *[{**TEXT, "text": "x" * 200_000}] * 3), "invalid_value", "item"),
    ({"type": "function_call", "name": "", "arguments": ""}, "invalid_value", "item.name"),
    ({"type": "function_call", "name": "book", "arguments": {}}, "invalid_type", "item.arguments"),
    ({"type": "function_call_output", "output": ""}, "missing_required_parameter", "item.call_id"),
    ({"type": "function_call_output", "call_id": "c"}, "missing_required_parameter", "item.output"),
]


@pytest.mark.parametrize(("raw", "code", "param"), REFUSED, ids=[f"{code}-{param}" for _, code, param in REFUSED])
def test_a_wrong_item_is_refused_with_its_path(raw: Any, code: str, param: str) -> None:
    """The error says which field is wrong."""
    with pytest.raises(ProtocolError) as caught:
        checked.item(raw)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert f"'{param}'" in caught.value.message


def test_images_are_refused_plainly() -> None:
    """Who sends an image is told that images are not taken, not that a name is wrong."""
    with pytest.raises(ProtocolError, match="does not take images"):
        checked.item(message("user", {"type": "input_image", "image_url": "data:image/png;base64,AA=="}))


def test_mcp_is_refused_plainly() -> None:
    """Who sends an approval is told that such items are not taken, not which others are."""
    with pytest.raises(ProtocolError, match="does not take MCP items"):
        checked.item({"type": "mcp_approval_response"})
