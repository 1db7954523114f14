"""The ids that a call gives to its items and responses.

They count up, and both numbers are stored: no owner gives an id that another has given.
"""

from __future__ import annotations

from dataclasses import dataclass

from voice_agent.call.conversation import Conversation


@dataclass(slots=True)
class IdSequence:
    """The next ids of a call. The record's `counts` change with each."""

    stem: str
    """What the ids of this call's items and responses have in common, and those of no other call: 80 random bits.

    OpenAI takes ids of at most 32 characters: clients hand them on.
    """
    items_made: int = 0
    responses_made: int = 0

    @classmethod
    def of(cls, call_id: str) -> IdSequence:
        """Those of a new call."""
        return cls(call_id[5:21])

    def new_item(self, conversation: Conversation) -> str:
        """The next item id that no client has taken."""
        while True:
            self.items_made += 1
            item_id = f"item_{self.stem}_{self.items_made}"
            if item_id not in conversation:
                return item_id

    def new_response(self) -> str:
        """The next response id."""
        self.responses_made += 1
        return f"resp_{self.stem}_{self.responses_made}"

    def pass_over(self, forgotten_events: int) -> None:
        """Take no id again that may stand in events which the store has lost.

        Each item and each response was told in an event of its own.
        """
        self.items_made += forgotten_events
        self.responses_made += forgotten_events
