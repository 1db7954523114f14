"""What an agent reads of a conversation."""

from __future__ import annotations

from tests.agents.frontdesk.dialogs import message, spoken, typed
from voice_agent.call.item_order import Entry
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


def test_an_item_without_content_says_nothing() -> None:
    """As a newer release may keep one."""
    bare = {"type": "message", "role": "user", "id": "a"}
    said = said_since_last_reply([typed("one"), bare, {**bare, "content": None}, typed("two")])
    assert (said.text, said.items) == ("one two", 4)


def test_what_an_ear_doubts_is_told_of_all_that_was_said() -> None:
    """What was spoken last may have been something else, within all that was said; a doubt of any of it is one."""
    entries = {
        "a": Entry(spoken("book it"), "1", uncertain=True, alternatives=("look at",)),
        "b": Entry(spoken("make it for"), "2", alternatives=("make it four", "make it fore")),
    }
    items = [{**spoken("book it"), "id": "a"}, {**spoken("make it for"), "id": "b"}, typed("please")]
    said = said_since_last_reply(items, entry_of=entries.get)
    assert (said.text, said.uncertain) == ("book it make it for please", True)
    assert said.alternatives[:2] == ("book it make it four please", "book it make it fore please")
    # Whoever goes by what all of them mean is told that more is doubted than they differ in.
    assert said.alternatives[2:] == ("",)
    assert said_since_last_reply(items[:1], entry_of=entries.get).alternatives == ("look at",)
    certain = said_since_last_reply(items[1:], entry_of=entries.get)
    assert (certain.uncertain, certain.alternatives[0]) == (False, "make it four please")
    assert "" not in certain.alternatives
    assert said_since_last_reply(items).alternatives == ()


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
