"""What of a long conversation a model is given.

The oldest messages go first, several at once, so that the beginning of what is sent stays the same from turn to turn: a
provider's cache goes by it. A call of a function goes with its result, and the caller's last words always stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voice_agent.agents.pipeline.messages import Message

CHARS_PER_TOKEN = 4
"""Of English; of other languages fewer, so that a model's limit is best set with room to spare."""
MESSAGE_CHARS = 16
"""What a message takes beside its text."""
RETAINED = 0.8
"""How much is left of a conversation that has grown too long, unless the session says otherwise."""


MAX_ITEMS, STEP_ITEMS = 512, 64
"""Of the newest items so many are looked at, and up to `STEP_ITEMS` more: a turn costs no more in a longer call."""


class ContextTooLong(ValueError):
    """The conversation is longer than the model takes, and the session forbids to shorten it."""

    def __init__(self, chars: int, most: int) -> None:
        super().__init__(chars, most)
        self.chars = chars
        self.most = most

    def __str__(self) -> str:
        tokens, most = self.chars // CHARS_PER_TOKEN, self.most // CHARS_PER_TOKEN
        return f"The conversation has about {tokens} tokens, {most} are the most, and truncation is disabled."


def newest(items: Sequence[Mapping[str, Any]], *, more: int = 0) -> Sequence[Mapping[str, Any]]:
    """The newest of `items`, to which so many `more` are going to be added: the same ones for `STEP_ITEMS` items."""
    surplus = len(items) + more - MAX_ITEMS
    return items if surplus <= 0 else items[surplus // STEP_ITEMS * STEP_ITEMS :]


def fitting(
    messages: Sequence[Message], most_tokens: int, truncation: str | Mapping[str, Any] = "auto"
) -> list[Message]:
    """The newest of `messages`, of about so many tokens at most. Raises `ContextTooLong`.

    `truncation`: as the protocol has it, ``auto``, ``disabled``, or a retention ratio with limits.
    """
    ratio = RETAINED
    if isinstance(truncation, Mapping):
        ratio = float(truncation.get("retention_ratio") or RETAINED)
        limits = truncation.get("token_limits") or {}
        most_tokens = min(most_tokens, int(limits.get("post_instructions") or most_tokens))
    most = most_tokens * CHARS_PER_TOKEN
    sizes = [_size(message) for message in messages]
    total = sum(sizes)
    if total <= most:
        return list(messages)
    if truncation == "disabled":
        raise ContextTooLong(total, most)
    # Whole steps, counted from the oldest: the same messages go until the conversation has grown by another step.
    step = max(1, round(most * (1 - min(max(ratio, 0.0), 1.0))))
    surplus = -(-(total - most) // step) * step
    first = 0
    while first < len(messages) - 1 and surplus > 0:
        surplus -= sizes[first]
        first += 1
    last_of_user = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=first)
    first = min(first, last_of_user)
    while first < len(messages) and messages[first]["role"] == "tool":
        first += 1  # Its call is gone.
    return list(messages[first:])


def _size(message: Message) -> int:
    """About how many characters of a model's context it takes."""
    calls = message.get("tool_calls") or ()
    called = sum(len(call["function"]["name"]) + len(call["function"]["arguments"]) for call in calls)
    return MESSAGE_CHARS + len(message.get("content") or "") + called
