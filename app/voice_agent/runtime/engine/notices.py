"""A stored event as the agent is told of it: what it refers to is looked up in the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from voice_agent.call.agent_events import request_of
from voice_agent.call.agent_ledger import AgentEvent, EventKind, played
from voice_agent.call.audio import FORMATS
from voice_agent.call.items import spoken_index
from voice_agent.call.record import CallRecord
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.call.session_config import spoken_language, wants_audio
from voice_agent.kit.call import Session
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked, Dtmf, Event, Heard, Interrupted, Started, Timer, ToolResult


def notice_of(call: CallRecord, stored: AgentEvent) -> Event:
    """What `Call.events` gives for it."""
    number, at_ms, data = stored.number, stored.at_ms, stored.data
    match stored.kind:
        case EventKind.STARTED:
            return Started(number=number, at_ms=at_ms, resumed=data["resumed"])
        case EventKind.HEARD:
            return _heard(call, stored, data["item_id"])
        case EventKind.ASKED:
            return _asked(call, stored)
        case EventKind.INTERRUPTED:
            text, heard_ms = played(call.conversation, data["item_id"])
            return Interrupted(number=number, at_ms=at_ms, item_id=data["item_id"], text=text, heard_ms=heard_ms)
        case EventKind.DTMF:
            return Dtmf(number=number, at_ms=at_ms, digit=data["digit"])
        case EventKind.TOOL_RESULT:
            return _tool_result(call, stored)
        case EventKind.TIMER:
            return Timer(number=number, at_ms=at_ms, name=data["name"])
        case _:
            assert_never(stored.kind)


def items_at(call: CallRecord, stored: AgentEvent | None) -> Sequence[Mapping[str, Any]]:
    """The conversation up to an event; on every pod the same, but for what the client has changed since.

    None: all of it.
    """
    return call.conversation.items(to_rank=stored.up_to_rank if stored is not None else None)


def session_of(call: CallRecord) -> Session:
    """The settings in force."""
    fields = call.session.fields
    tokens, output = fields["max_output_tokens"], fields["audio"]["output"]
    return Session(
        instructions=fields["instructions"],
        tools=fields["tools"],
        tool_choice=fields["tool_choice"],
        max_output_tokens=None if tokens == "inf" else int(tokens),
        voice=output["voice"],
        speed=output["speed"],
        language=spoken_language(fields),
        wants_audio=wants_audio(fields),
        input_format=call.session.input_format,
        output_format=FORMATS[output["format"]["type"]],
    )


def _asked(call: CallRecord, stored: AgentEvent) -> Asked:
    request = request_of(call, stored)
    settings = call.session.under(request.params)
    items: Sequence[Mapping[str, Any]] | None = settings.input_items
    if items is None:
        items = call.conversation.items(to_rank=request.items_up_to)
    said = said_since_last_reply(items, failed_to=call.dialogue.failed_up_to, entry_of=call.conversation.get)
    clips = (call.clips.answered, call.clips.latest)
    clip = next((one for one in clips if one is not None and one.item_id == request.clip_id), None)
    return Asked(
        number=stored.number,
        at_ms=stored.at_ms,
        response_id=stored.data["response_id"],
        text=said.text,
        unclear=said.unclear,
        uncertain=said.uncertain,
        alternatives=said.alternatives,
        clip=Clip(clip.audio, call.session.input_format) if clip is not None else None,
        was_cut=request.cut,
        out_of_band=not settings.in_conversation,
        instructions=settings.instructions,
        wants_audio=settings.wants_audio,
        tools=settings.tools,
        tool_choice=settings.tool_choice,
        parallel_tool_calls=settings.parallel_tool_calls,
        max_output_tokens=None if settings.max_output_tokens == "inf" else int(settings.max_output_tokens),
        items=items,
        truncation=settings.truncation,
        metadata=settings.metadata or {},
    )


def _heard(call: CallRecord, stored: AgentEvent, item_id: str) -> Heard:
    entry = call.conversation.get(item_id)
    if entry is None or not entry.item.get("content"):  # The client may have put another kind of item there.
        return Heard(number=stored.number, at_ms=stored.at_ms, item_id=item_id, text=None)
    return Heard(
        number=stored.number,
        at_ms=stored.at_ms,
        item_id=item_id,
        text=entry.item["content"][spoken_index(entry.item)].get("transcript"),
        uncertain=entry.uncertain,
        alternatives=entry.alternatives,
    )


def _tool_result(call: CallRecord, stored: AgentEvent) -> ToolResult:
    item_id = stored.data["item_id"]
    entry = call.conversation.get(item_id)
    item = entry.item if entry is not None else {}
    return ToolResult(
        number=stored.number,
        at_ms=stored.at_ms,
        item_id=item_id,
        tool_call_id=item.get("call_id", ""),
        output=item.get("output"),
    )
