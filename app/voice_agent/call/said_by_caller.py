"""What the caller said: reading a conversation from an agent's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

MAX_SAID_CHARS = 2_000
"""Two minutes of speech. Stops a caller who types megabytes from having an agent read them on the event loop."""
MAX_ITEMS_READ = 1_000
"""The newest items in which the caller's words are looked for, so that a conversation of thousands without a reply
costs no more than that."""


@dataclass(frozen=True, slots=True)
class SaidByCaller:
    """What the caller said and typed since the assistant spoke last."""

    text: str
    """All of it that is known, joined by blanks; "" if nothing was said or nothing was understood."""
    unclear: bool
    """Something of it was said but not understood (its transcript is None)."""
    items: int
    """How many of the caller's messages were read; 0: the caller has not said anything."""


def said_since_last_reply(
    items: Sequence[Mapping[str, Any]],
    *,
    failed_to: str = "",
    typed_only: bool = False,
    max_chars: int = MAX_SAID_CHARS,
) -> SaidByCaller:
    """What the next reply has to answer. Tool calls, their outputs and system messages are passed over.

    Of a text longer than `max_chars` the end is taken. `typed_only`: without what was spoken. `failed_to`: the
    newest item that the agent was asked about and failed; what was said until then is not to be answered.
    """
    texts: list[str] = []
    unclear = False
    count = chars = 0
    for item in islice(reversed(items), MAX_ITEMS_READ):
        if failed_to and item.get("id") == failed_to:
            break
        if item.get("type") != "message":
            continue
        if item.get("role") == "assistant":
            break
        if item.get("role") != "user":
            continue
        count += 1
        for part in reversed(item.get("content") or ()):
            if typed_only and part.get("type") == "input_audio":
                continue
            text = _text_of(part)
            unclear = unclear or text is None
            if text and text.strip():
                texts.append(text.strip())
                chars += len(texts[-1]) + 1
        if chars > max_chars:
            break
    return SaidByCaller(" ".join(reversed(texts))[-max_chars:], unclear, count)


def _text_of(part: Mapping[str, Any]) -> str | None:
    text = part.get("transcript") if part.get("type") == "input_audio" else part.get("text", "")
    return text if text is None or isinstance(text, str) else ""
