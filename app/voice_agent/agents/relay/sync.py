"""What makes the conversation of an upstream equal to ours: items to delete and to create there.

Conversations grow at their end, and what is cut or deleted is near it. So what both begin with stays, and what both end
with; all between is deleted there, and created anew. ::

    upstream   A B c d     F          delete c, d
    ours       A B   x y   F          create x behind B, y behind x

The upstream's own items stay where they are the same: of what it said and heard it has the audio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from voice_agent.agents.relay.content import CALL, MESSAGE, OUTPUT, Content, ContentReader
from voice_agent.kit.call import Item

MAX_CALL_ID_CHARS = 32
"""Of ids that OpenAI takes."""


@dataclass(slots=True)
class HeldItem:
    """An item of the upstream's conversation."""

    upstream_id: str
    """"" while the upstream has not said it."""
    content: Content
    call_id: str = ""
    """Of a function call, the upstream's."""
    audio_ms: int = 0
    """Of what it said: how much of that it sent."""
    is_transcribed: bool = False
    """Of what the caller said: it has told what that was."""

    def cut(self, text: str) -> None:
        """What was not heard of it is cut off."""
        self.content = replace(self.content, text=text)


@dataclass(frozen=True, slots=True)
class WantedItem:
    """An item of ours that the upstream is to have."""

    our_id: str
    content: Content
    item: Item


@dataclass(slots=True)
class SyncPlan:
    """What is to be sent, in this order, and what the upstream has then."""

    deleted: list[HeldItem] = field(default_factory=list)
    created: list[tuple[HeldItem, HeldItem | None, dict[str, Any]]] = field(default_factory=list)
    """Each with the item that it stands behind, None for in front of all, and the item as it is created."""
    held: list[HeldItem] = field(default_factory=list)


def wanted_of(items: Sequence[Item], has_audio: Callable[[str], bool]) -> list[WantedItem]:
    """Our items as the upstream is to have them; `has_audio`: whether it has the audio of one of ours."""
    reader, found = ContentReader(), []
    for item in items:
        our_id = str(item.get("id") or "")
        content = reader.read(item, with_audio=has_audio(our_id))
        if content is not None:
            found.append(WantedItem(our_id, content, item))
    return found


def plan(held: Sequence[HeldItem], wanted: Sequence[WantedItem], new_id: Callable[[str], str]) -> SyncPlan:
    """How `held` becomes `wanted`. `new_id` gives an id that no item of the upstream has, made of ours."""
    shorter = min(len(held), len(wanted))
    first = 0
    while first < shorter and _is_same(held[first], wanted[first]):
        first += 1
    last = 0
    while last < shorter - first and _is_same(held[-1 - last], wanted[-1 - last]):
        last += 1
    last = _without_torn_calls(held, first, last)
    made = SyncPlan(deleted=list(held[first : len(held) - last]), held=list(held[:first]))
    call_ids = [one.call_id for one in held[:first] if one.content.kind == CALL]
    for one in wanted[first : len(wanted) - last]:
        behind = made.held[-1] if made.held else None
        item, call_id = _created(one, new_id(one.our_id), call_ids)
        created = HeldItem(str(item["id"]), one.content, call_id)
        made.created.append((created, behind, item))
        made.held.append(created)
    made.held += held[len(held) - last :]
    return made


def _without_torn_calls(held: Sequence[HeldItem], first: int, last: int) -> int:
    """How many items at the end may stay: none that is an output of a call which is created anew, under another id."""
    calls_kept = sum(one.content.kind == CALL for one in held[:first])
    while True:
        calls_gone = sum(one.content.kind == CALL for one in held[first : len(held) - last])
        gone = range(calls_kept, calls_kept + calls_gone)
        end = held[len(held) - last :]
        torn = [at for at, one in enumerate(end) if one.content.kind == OUTPUT and one.content.call in gone]
        if not torn:
            return last
        last -= torn[-1] + 1


def _is_same(held: HeldItem, wanted: WantedItem) -> bool:
    return held.content.is_same(wanted.content)


def _created(wanted: WantedItem, upstream_id: str, call_ids: list[str]) -> tuple[dict[str, Any], str]:
    """An item as the upstream takes it, and, of a function call, its call id, which joins `call_ids`."""
    content = wanted.content
    if content.kind == MESSAGE:
        part = "output_text" if content.role == "assistant" else "input_text"
        said = [{"type": part, "text": content.text}]
        return {"id": upstream_id, "type": MESSAGE, "role": content.role, "content": said}, ""
    if content.kind == OUTPUT:
        call_id = call_ids[content.call] if 0 <= content.call < len(call_ids) else _call_id(wanted.item)
        return {"id": upstream_id, "type": OUTPUT, "call_id": call_id, "output": content.text}, ""
    call_id = _call_id(wanted.item)
    call_ids.append(call_id)
    call = {"id": upstream_id, "type": CALL, "call_id": call_id, "name": content.name, "arguments": content.text}
    return call, call_id


def _call_id(item: Item) -> str:
    ours = str(item.get("call_id") or "call")
    if len(ours) <= MAX_CALL_ID_CHARS:
        return ours
    return f"call_{blake2b(ours.encode(), digest_size=12).hexdigest()}"
