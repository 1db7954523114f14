"""What an agent reads of a conversation."""

from __future__ import annotations

from tests.agents.frontdesk.dialogs import message, spoken, typed
from voice_agent.call.said_by_caller import MAX_ITEMS_READ, MAX_SAID_CHARS, said_since_last_reply


def test_of_a_text_without_end_the_end_is_read() -> None:
    """Megabytes that somebody typed are not worked through on the event loop: the newest words count."""
    said = said_since_last_reply([typed("x" * 300_000)] * 30 + [typed("the last word")])
    assert len(said.text) == MAX_SAID_CHARS
    assert said.text.endswith(" the last word")
    assert said.items == 2


def test_of_a_conversation_without_a_reply_the_newest_items_are_read() -> None:
    """However many there are before them."""
    outputs = [{"type": "function_call_output", "output": "x"}] * MAX_ITEMS_READ
    assert said_since_last_reply([typed("long ago"), *outputs]).text == ""
    assert said_since_last_reply([typed("long ago"), *outputs[1:]]).text == "long ago"


def test_what_was_typed_can_be_told_from_what_was_spoken() -> None:
    """Before the assistant's last words, nothing counts."""
    items = [
        typed("old"),
        message("assistant", type="output_text", text="old"),
        typed("one"),
        spoken("said"),
        typed("two"),
    ]
    assert said_since_last_reply(items).text == "one said two"
    assert said_since_last_reply(items, typed_only=True).text == "one two"
