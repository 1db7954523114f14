"""A conversation that is longer than a model takes."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.agents.pipeline.context import (
    CHARS_PER_TOKEN,
    MAX_ITEMS,
    MESSAGE_CHARS,
    STEP_ITEMS,
    ContextTooLong,
    fitting,
    newest,
)
from voice_agent.agents.pipeline.messages import tool_calls, tool_result

TOKENS = 25
TEXT = "x" * (TOKENS * CHARS_PER_TOKEN - MESSAGE_CHARS)


def talk(count: int) -> list[dict[str, Any]]:
    """So many messages of `TOKENS`, by turns."""
    return [{"role": ("user", "assistant")[n % 2], "content": f"{n:04}" + TEXT[4:]} for n in range(count)]


def test_what_fits_is_given_whole() -> None:
    """To the last token."""
    assert fitting(talk(4), 4 * TOKENS) == talk(4)


def test_the_oldest_go_several_at_once() -> None:
    """So that the beginning stays the same for some turns."""
    firsts = [fitting(talk(count), 10 * TOKENS)[0]["content"][:4] for count in range(10, 16)]
    assert firsts == ["0000", "0002", "0002", "0004", "0004", "0006"]


def test_the_session_says_how_much_is_left() -> None:
    """And may set a limit of its own."""
    half = {"type": "retention_ratio", "retention_ratio": 0.5}
    assert len(fitting(talk(11), 10 * TOKENS, half)) == 6
    limited = {**half, "token_limits": {"post_instructions": 4 * TOKENS}}
    assert len(fitting(talk(5), 10 * TOKENS, limited)) == 3
    assert len(fitting(talk(11), 10 * TOKENS, {"retention_ratio": 1.0})) == 10


def test_where_truncation_is_disabled_nothing_is_left_out() -> None:
    """It is an error that says so."""
    with pytest.raises(ContextTooLong, match="about 125 tokens, 100 are the most"):
        fitting(talk(5), 4 * TOKENS, "disabled")


def test_a_result_does_not_stay_without_its_call() -> None:
    """A model's API would refuse all of it."""
    messages = [*talk(2), tool_calls([("a", "look", TEXT)]), tool_result("a", TEXT), *talk(2)]
    for tokens in range(30, 6 * TOKENS):
        assert fitting(messages, tokens)[0]["role"] != "tool"


def test_the_callers_last_words_stay_however_long_they_are() -> None:
    """There is nothing to answer without them."""
    messages = [*talk(3), {"role": "assistant", "content": "Hm."}]
    assert fitting(messages, 1) == messages[2:]


def test_of_a_call_without_end_the_newest_items_are_looked_at() -> None:
    """The same ones for a while; one that is about to come counts."""
    items = [{"id": str(n)} for n in range(20_000)]
    assert newest(items[:MAX_ITEMS]) == items[:MAX_ITEMS]
    firsts = [newest(items[:count])[0]["id"] for count in range(MAX_ITEMS, MAX_ITEMS + 3 * STEP_ITEMS)]
    assert firsts == [str(step * STEP_ITEMS) for step in range(3) for _ in range(STEP_ITEMS)]
    assert all(len(newest(items[:count])) < MAX_ITEMS + STEP_ITEMS for count in (600, 20_000))
    for count in range(MAX_ITEMS, MAX_ITEMS + 2 * STEP_ITEMS):
        assert newest(items[: count - 1], more=1)[0] == newest(items[:count])[0]
