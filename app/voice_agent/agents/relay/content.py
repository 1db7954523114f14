"""What an item of a conversation says, as far as a model reads it: in the same words for our items and an upstream's.

Ids differ between the two: an upstream names what it says and hears itself. So a call of a function is known by where
it stands among the calls, and what the caller said by our id only where its audio is what the upstream has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from voice_agent.kit.call import Item

INAUDIBLE = "(inaudible)"
"""Stands for what the caller said and nobody understood, where its audio is gone."""
MESSAGE, CALL, OUTPUT = "message", "function_call", "function_call_output"


@dataclass(frozen=True, slots=True)
class Content:
    """Of one item."""

    kind: str
    """`MESSAGE`, `CALL` or `OUTPUT`."""
    text: str
    """Of a call its arguments, of an output what the function gave."""
    role: str = ""
    """Of a message."""
    name: str = ""
    """Of a call: the function's."""
    call: int = -1
    """Of an output: which of the calls before it, counted from 0, it belongs to; -1: to none of them."""
    audio_of: str = ""
    """What the caller said, as audio: our id of the item; "" for text."""

    def is_same(self, other: Content) -> bool:
        """Whether a model reads the same. What was said as audio is, whatever has been understood of it."""
        if self.audio_of and self.audio_of == other.audio_of:
            return True
        return self._read == other._read

    @property
    def _read(self) -> tuple[str, str, str, str, int]:
        return self.kind, self.role, self.name, self.text.strip(), self.call


class ContentReader:
    """Reads the items of a conversation in order."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}

    def read(self, item: Item, *, with_audio: bool = False) -> Content | None:
        """What an item says; None for one that says nothing to a model. `with_audio`: the upstream has its audio."""
        match item.get("type"):
            case "message":
                return _message(item, with_audio=with_audio)
            case "function_call":
                self._calls[str(item.get("call_id"))] = len(self._calls)
                return Content(CALL, str(item.get("arguments") or ""), name=str(item.get("name") or ""))
            case "function_call_output":
                call = self._calls.get(str(item.get("call_id")), -1)
                return Content(OUTPUT, str(item.get("output") or ""), call=call)
            case _:
                return None


def _message(item: Item, *, with_audio: bool) -> Content | None:
    role, item_id = str(item.get("role") or ""), str(item.get("id") or "")
    parts = item.get("content") or ()
    is_spoken = role == "user" and any(part.get("type") == "input_audio" for part in parts)
    text = " ".join(filter(None, map(_text_of, parts)))
    if not text.strip() and not is_spoken:
        return None
    return Content(MESSAGE, text or INAUDIBLE, role, audio_of=item_id if is_spoken and with_audio else "")


def _text_of(part: Mapping[str, Any]) -> str:
    for name in ("transcript", "text"):
        if isinstance(text := part.get(name), str) and text.strip():
            return text.strip()
    return ""


def is_spoken(item: Item) -> bool:
    """Whether it is what the caller said, as audio."""
    parts: Iterable[Mapping[str, Any]] = item.get("content") or ()
    return item.get("role") == "user" and any(part.get("type") == "input_audio" for part in parts)
