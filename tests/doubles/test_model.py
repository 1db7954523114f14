"""The double's model answers what was known before, and goes on with what it has begun as models do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.counting import count
from tests.doubles.model import END_MARK, Answer, GoingOn, ToolCall, answer

ASKED: Any = {"role": "user", "content": "Please count from 10 to 17 in sentences of 4."}
ALL = "Bafa bafe bafi bafo. Bafu baga bage bagi."
LOOK_UP: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}, "most": {"type": "integer"}}},
    },
}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_it_counts() -> None:
    """From one number to another, and repeats what it does not understand."""
    assert answer(body(ASKED)).text == ALL
    assert count(ALL, range(10, 18)).is_exact
    assert answer(body({"role": "user", "content": [{"type": "text", "text": "Hi."}]})).text == "You said: Hi."
    assert "".join(Answer(ALL).tokens) == ALL
    assert Answer("Bafa  bafe.\n").tokens == ["Ba", "fa", "  bafe", ".\n"]


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        ("Bafa bafe", " bafi bafo. Bafu baga bage bagi."),
        ("Bafa bafe ", "bafi bafo. Bafu baga bage bagi."),
        ("Bafa bafe bafi bafo. ", "Bafu baga bage bagi."),
        ("Bafa ba", "fe bafi bafo. Bafu baga bage bagi."),
        (ALL, ""),
        ("", ALL),
        # Of what was said only the end is left in the conversation.
        ("bafi bafo.", " Bafu baga bage bagi."),
    ],
)
def test_it_goes_on(begun: str, rest: str) -> None:
    """Behind what was said, whether that ends with a word, in one, or with a sentence."""
    assert answer(body(ASKED, assistant(begun))).text == rest


def test_it_goes_on_as_other_models_do() -> None:
    """With the last words again, from the start again; and tells that nothing is left, where it has been told how."""
    begun = assistant("Bafa bafe bafi bafo.")
    assert answer(body(ASKED, begun), GoingOn.LAST_WORDS).text == " bafe bafi bafo. Bafu baga bage bagi."
    assert answer(body(ASKED, begun), GoingOn.ANEW).text == ALL
    told = {"role": "system", "content": f"Go on. If nothing is missing write {END_MARK}."}
    assert answer(body(ASKED, assistant(ALL), told)).text == END_MARK
    assert answer(body(ASKED, begun, told)).text == " Bafu baga bage bagi."


def test_it_calls_tools() -> None:
    """Those that are named, or of which a parameter is; once, and then it says what they gave."""
    asked = {"role": "user", "content": "Where is my order? Then count from 10 to 17 in sentences of 4."}
    called = ToolCall("look_up", '{"order": "7", "most": 7}')
    assert answer(body(asked, tools=[LOOK_UP])) == Answer("", [called])
    assert answer(body(ASKED, tools=[LOOK_UP])).tool_calls == ()
    assert answer(body(ASKED, tools=[LOOK_UP], tool_choice="required")).tool_calls == [called]
    named = {"type": "function", "function": {"name": "look_up"}}
    assert answer(body(ASKED, tools=[LOOK_UP], tool_choice=named)).tool_calls == [called]
    assert answer(body(asked, tools=[LOOK_UP], tool_choice="none")).tool_calls == ()
    result = {"role": "tool", "tool_call_id": "call_1_0", "content": "on its way"}
    assert answer(body(asked, assistant(""), result, tools=[LOOK_UP])).text == f"The tool says: on its way. {ALL}"
