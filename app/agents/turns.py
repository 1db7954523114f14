"""Reading a conversation from an agent's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SaidByCaller:
    """What the caller said and typed since the assistant spoke last."""

    text: str
    """All of it that is known, joined by blanks; "" if nothing was said or nothing was understood."""
    unclear: bool
    """Something of it was said but not understood (its transcript is None)."""
    items: int
    """How many of the caller's messages it was; 0: the caller has not said anything."""


def said_since_last_reply(items: Sequence[Mapping[str, Any]]) -> SaidByCaller:
    """What the next reply has to answer. Tool calls, their outputs and system messages are passed over."""
    texts: list[str] = []
    unclear = False
    count = 0
    for item in reversed(items):
        if item.get("type") != "message":
            continue
        if item.get("role") == "assistant":
            break
        if item.get("role") != "user":
            continue
        count += 1
        parts = [_text_of(part) for part in item.get("content") or ()]
        unclear = unclear or None in parts
        texts += [part.strip() for part in reversed(parts) if part and part.strip()]
    return SaidByCaller(" ".join(reversed(texts)), unclear, count)


def typed_since_last_reply(items: Sequence[Mapping[str, Any]]) -> str:
    """The text parts alone of what the caller put in since the assistant spoke last."""
    typed = [
        {**item, "content": [part for part in item.get("content") or () if part.get("type") != "input_audio"]}
        for item in items
    ]
    return said_since_last_reply(typed).text


def _text_of(part: Mapping[str, Any]) -> str | None:
    text = part.get("transcript") if part.get("type") == "input_audio" else part.get("text", "")
    return text if text is None or isinstance(text, str) else ""
