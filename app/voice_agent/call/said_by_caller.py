"""What the caller said: reading a conversation from an agent's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from voice_agent.call.item_order import Entry

MAX_SAID_CHARS = 2_000
"""Two minutes of speech. Stops a caller who types megabytes from having an agent read them on the event loop."""
MAX_ITEMS_READ = 1_000
"""The newest items in which the caller's words are looked for, so that a conversation of thousands without a reply
costs no more than that."""
MAX_ALTERNATIVES = 3
"""Of a transcript: what else it may have been; what an ear says beyond these is dropped."""


@dataclass(frozen=True, slots=True)
class SaidByCaller:
    """What the caller said and typed since the assistant spoke last."""

    text: str
    """All of it that is known, joined by blanks; "" if nothing was said or nothing was understood."""
    unclear: bool
    """Something of it was said but not understood (its transcript is None)."""
    items: int
    """How many of the caller's messages were read; 0: the caller has not said anything."""
    uncertain: bool
    """An ear doubts something of it."""
    alternatives: tuple[str, ...]
    """What else `text` may have been, likeliest first, for the newest that was spoken; "" if more of it is doubted."""


def said_since_last_reply(
    items: Sequence[Mapping[str, Any]],
    *,
    failed_to: str = "",
    typed_only: bool = False,
    max_chars: int = MAX_SAID_CHARS,
    entry_of: Callable[[str], Entry | None] = lambda _: None,
) -> SaidByCaller:
    """What the next reply has to answer. Tool calls, their outputs and system messages are passed over.

    Of a text longer than `max_chars` the end is taken. `typed_only`: without what was spoken. `failed_to`: the
    newest item that the agent was asked about and failed; what was said until then is not to be answered. `entry_of`:
    what a call keeps beside an item, by its id; without it nothing is doubted.
    """
    texts: list[str] = []
    others: list[tuple[str, ...]] = []
    """Of each text what else it may have been."""
    doubted: list[Entry] = []
    told: Entry | None = None
    """The newest with alternatives."""
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
            entry = entry_of(item.get("id", "")) if part.get("type") == "input_audio" else None
            doubted += [entry] if entry is not None and entry.uncertain else []
            if text and text.strip():
                texts.append(text.strip())
                others.append(entry.alternatives if entry is not None else ())
                told = told or (entry if others[-1] else None)
                chars += len(texts[-1]) + 1
        if chars > max_chars:
            break
    alternatives = _alternatives(texts, others, max_chars)
    if any(entry is not told for entry in doubted) and alternatives:
        # What they all mean is certain of that one alone.
        alternatives = (*alternatives[: MAX_ALTERNATIVES - 1], "")
    return SaidByCaller(_joined(texts, max_chars), unclear, count, bool(doubted), alternatives)


def _joined(texts: Sequence[str], max_chars: int) -> str:
    return " ".join(reversed(texts))[-max_chars:]


def _alternatives(texts: list[str], others: Sequence[tuple[str, ...]], max_chars: int) -> tuple[str, ...]:
    """All of the texts (newest first) with each thing that the newest one with alternatives may have been instead."""
    at = next((at for at, found in enumerate(others) if found), None)
    if at is None:
        return ()
    return tuple(_joined([*texts[:at], other, *texts[at + 1 :]], max_chars) for other in others[at])


def _text_of(part: Mapping[str, Any]) -> str | None:
    text = part.get("transcript") if part.get("type") == "input_audio" else part.get("text", "")
    return text if text is None or isinstance(text, str) else ""
