"""What is kept of parts of events, as `client_events.read` checks them."""

from __future__ import annotations

from typing import Any

from voice_agent.protocol.client_events import read
from voice_agent.protocol.item_fields import CheckedItem


def session(patch: Any) -> dict[str, Any]:
    """The ``session`` of a `session.update`."""
    kept: dict[str, Any] = read("session.update", {"type": "session.update", "session": patch})["session"]
    return kept


def response(params: Any) -> dict[str, Any]:
    """The ``response`` of a `response.create`."""
    kept: dict[str, Any] = read("response.create", {"type": "response.create", "response": params})["response"]
    return kept


def item(raw: Any) -> CheckedItem:
    """The ``item`` of a `conversation.item.create`."""
    kept: CheckedItem = read("conversation.item.create", {"type": "conversation.item.create", "item": raw})["item"]
    return kept
