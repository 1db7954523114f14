"""What the server's own tools gave in earlier turns, which no item of the conversation says.

It is kept in the call's state, behind the item that was the newest when the reply began. Bounded: the oldest goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from voice_agent.agents.pipeline.messages import Message

STATE = "pipeline"
"""Under which name it stands in `Call.state`, beside what a subclass keeps there."""
MAX_KEPT_BYTES = 16 * 1024
"""Of a call, as JSON: a quarter of what an agent may keep, for a subclass wants some of it."""
MAX_OUTPUT_CHARS = 2_000
"""Of what one call of a tool gave: all of it was there for the reply in which it was called."""


def kept_rounds(state: Mapping[str, Any]) -> dict[str, list[Message]]:
    """By the id of an item, the messages that stand behind it."""
    found: dict[str, list[Message]] = {}
    for entry in _entries(state):
        found.setdefault(entry["behind"], []).extend(entry["messages"])
    return found


def keep_round(state: dict[str, Any], behind: str, messages: Sequence[Message]) -> None:
    """Remember one round: what the model called, and what came of it."""
    entries = [*_entries(state), {"behind": behind, "messages": [_short(message) for message in messages]}]
    while entries and len(orjson.dumps(entries)) > MAX_KEPT_BYTES:
        del entries[0]
    state[STATE] = {**state.get(STATE, {}), "rounds": entries}


def _entries(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = state.get(STATE, {}).get("rounds", [])
    return found


def _short(message: Message) -> Message:
    """Without what was said beside the call: that stands in an item."""
    if message["role"] != "tool":
        return {**message, "content": None}
    output = message["content"]
    return message if len(output) <= MAX_OUTPUT_CHARS else {**message, "content": output[:MAX_OUTPUT_CHARS] + "…"}
