"""Calls as the committer sees them, without what makes them calls."""

from __future__ import annotations

from app.call.changes import CallWrite, OutboxEntry


class OneCall:
    """A call with a change whenever it is asked."""

    is_held = False
    has_ended = False

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]]:
        return CallWrite("call_x", 1), []

    def committed(self, events: list[OutboxEntry]) -> None:
        """Nothing waits for it."""

    give_up_write = superseded = erased = unwritable = lambda self: None

    def lost_in_store(self, waiting: list[OutboxEntry]) -> None:
        """Nothing waits for it."""

    def question(self) -> None:
        return None
