"""What tools gave in earlier turns."""

from __future__ import annotations

from typing import Any

import orjson

from voice_agent.agents.pipeline.memory import MAX_KEPT_BYTES, MAX_OUTPUT_CHARS, STATE, keep_round, kept_rounds
from voice_agent.agents.pipeline.messages import tool_calls, tool_result


def test_rounds_stand_behind_the_item_that_they_followed() -> None:
    """Those of one reply in their order, without what was said beside: that is an item."""
    state: dict[str, Any] = {"own": 1}
    keep_round(state, "item_a", [tool_calls([("1", "look", "{}")], "I look."), tool_result("1", "5")])
    keep_round(state, "item_a", [tool_calls([("2", "look", "{}")]), tool_result("2", "6")])
    assert kept_rounds(orjson.loads(orjson.dumps(state))) == {
        "item_a": [
            tool_calls([("1", "look", "{}")]),
            tool_result("1", "5"),
            tool_calls([("2", "look", "{}")]),
            tool_result("2", "6"),
        ]
    }
    assert state["own"] == 1


def test_the_oldest_go_when_there_is_no_room() -> None:
    """And what one call gave is cut."""
    state: dict[str, Any] = {}
    for n in range(40):
        keep_round(state, f"item_{n}", [tool_calls([(str(n), "look", "{}")]), tool_result(str(n), "x" * 100_000)])
    kept = kept_rounds(state)
    assert len(orjson.dumps(state[STATE])) <= MAX_KEPT_BYTES + 100
    assert "item_39" in kept
    assert "item_0" not in kept
    assert len(kept["item_39"][1]["content"]) == MAX_OUTPUT_CHARS + 1


def test_one_round_that_is_too_large_is_not_kept() -> None:
    """Nor is anything before it."""
    state: dict[str, Any] = {}
    keep_round(state, "item_a", [tool_calls([("1", "look", orjson.dumps({"a": "x" * MAX_KEPT_BYTES}).decode())])])
    assert kept_rounds(state) == {}
