"""Items of the protocol as messages of the chat API."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.agents.pipeline.messages import (
    NO_RESULT,
    NOT_SHOWN,
    NOT_UNDERSTOOD,
    choice,
    functions,
    messages_of,
    tool_calls,
    tool_result,
)


def message(role: str, *parts: dict[str, Any], item_id: str = "") -> dict[str, Any]:
    return {"type": "message", "id": item_id, "role": role, "content": list(parts)}


def said(text: str | None) -> dict[str, Any]:
    return message("user", {"type": "input_audio", "transcript": text})


def answered(text: str) -> dict[str, Any]:
    return message("assistant", {"type": "output_audio", "transcript": text})


def called(call_id: str, name: str = "look") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}


def gave(call_id: str, output: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_what_was_said_and_written_by_either_side() -> None:
    """Of what was spoken its transcript; of the assistant as much as was heard."""
    items = [
        message("system", {"type": "input_text", "text": "Be brief."}),
        said("hello"),
        answered("Good day. We are"),
        message("user", {"type": "input_text", "text": "one"}, {"type": "input_audio", "transcript": "two"}),
        message("assistant", {"type": "output_text", "text": "three"}),
    ]
    assert messages_of(items) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Good day. We are"},
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "three"},
    ]


def test_what_a_model_cannot_be_shown_is_named() -> None:
    """And what is empty is left out."""
    items = [said(None), said(""), message("user", {"type": "input_image", "image_url": "data:"}), {"type": "mcp_call"}]
    assert messages_of(items) == [{"role": "user", "content": f"{NOT_UNDERSTOOD}\n{NOT_SHOWN}"}]


def test_two_messages_of_one_side_in_a_row_are_one() -> None:
    """Some servers want roles to take turns."""
    assert messages_of([said("hello"), said("are you there"), answered("Yes. "), answered("I am.")]) == [
        {"role": "user", "content": "hello\nare you there"},
        {"role": "assistant", "content": "Yes. \nI am."},
    ]


def test_a_result_stands_right_behind_its_call() -> None:
    """Wherever the client has put it; with what was said before the call in one message."""
    items = [
        said("time?"),
        answered("I will look."),
        called("a"),
        called("b"),
        said("hurry"),
        gave("b", "2"),
        gave("a", "1"),
    ]
    assert messages_of(items) == [
        {"role": "user", "content": "time?"},
        tool_calls([("a", "look", "{}")], "I will look."),
        tool_result("a", "1"),
        tool_calls([("b", "look", "{}")]),
        tool_result("b", "2"),
        {"role": "user", "content": "hurry"},
    ]


def test_a_call_without_a_result_gets_a_note_and_a_result_without_a_call_is_left_out() -> None:
    """A model's API refuses both."""
    assert messages_of([called("a"), gave("gone", "3")]) == [
        tool_calls([("a", "look", "{}")]),
        tool_result("a", NO_RESULT),
    ]


def test_what_is_kept_stands_behind_its_item() -> None:
    """Rounds of tools that the client knows nothing of."""
    kept = {"item_a": [tool_calls([("s1", "look", "{}")]), tool_result("s1", "4")]}
    items = [message("user", {"type": "input_text", "text": "hello"}, item_id="item_a"), answered("It is four.")]
    assert messages_of(items, kept) == [
        {"role": "user", "content": "hello"},
        *kept["item_a"],
        {"role": "assistant", "content": "It is four."},
    ]


def test_a_message_is_not_changed_by_what_comes_behind_it() -> None:
    """What is kept belongs to its keeper."""
    kept = {"a": [{"role": "assistant", "content": "one"}]}
    messages_of([message("user", {"type": "input_text", "text": "hello"}, item_id="a"), answered("two")], kept)
    assert kept == {"a": [{"role": "assistant", "content": "one"}]}


def test_functions_of_the_session_are_described_as_the_api_has_it() -> None:
    """Tools of other kinds are left out."""
    tool = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert functions([tool, {"type": "mcp", "server_label": "x"}, {"type": "function", "name": "plain"}]) == [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "plain"}},
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_the_choice_of_a_tool(ours: Any, theirs: Any) -> None:
    """As the API has it."""
    assert choice(ours) == theirs


@pytest.mark.parametrize("arguments", ["", "not JSON", "[1]", '{"a": '])
def test_a_call_of_the_clients_with_arguments_that_are_no_object_spoils_no_conversation(arguments: str) -> None:
    """A provider would refuse every turn from then on."""
    (asked, _) = messages_of([{**called("a"), "arguments": arguments}, gave("a", "2")])
    assert asked["tool_calls"][0]["function"]["arguments"] == "{}"
