"""Every event the server may send, framed, is read by the official SDK's own types and comes back the same."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from openai._models import BaseModel
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.protocol import checked
from voice_agent.call import events
from voice_agent.call.events import pack
from voice_agent.call.session_config import new_session, settings_under
from voice_agent.errors import ProtocolError
from voice_agent.protocol.realtime import frame, greeting

SDK: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

SESSION = new_session("call_1", "frontdesk", "marin", expires_at_s=1_700_000_000)
OURS_IN_A_SESSION = {"session.id", "session.object", "session.expires_at", "session.call"}
"""Fields beyond the SDK's types, which OpenAI sends too (all but ``call``)."""

USER = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_audio", "transcript": None}],
}
SPEAKING = {**USER, "id": "item_2", "role": "assistant", "status": "in_progress", "content": []}
SPOKEN = {**SPEAKING, "status": "incomplete", "content": [{"type": "output_audio", "transcript": "Good day"}]}
TOOL_CALL = {
    "id": "item_3",
    "object": "realtime.item",
    "type": "function_call",
    "status": "completed",
    "name": "book",
    "call_id": "fc_1",
    "arguments": '{"at":"noon"}',
}
SETTINGS = settings_under(SESSION, checked.response({"metadata": {"topic": "x"}, "max_output_tokens": 7}))
MISTAKE = ProtocolError("'audio' must be a string.", code="invalid_type", param="audio")


def _response(status: str, details: dict[str, Any] | None, *output: dict[str, Any]) -> dict[str, Any]:
    used = None if status == "in_progress" else events.usage(1200, 3400)
    return events.response("resp_1", status, details, list(output), SETTINGS, conversation_id="conv_1", used=used)


BODIES: list[dict[str, Any]] = [
    events.session_updated(SESSION),
    events.error(MISTAKE, "mine_1"),
    events.error(ProtocolError("No.", code="invalid_json")),
    events.speech_started(120, "item_1"),
    events.speech_stopped(2400, "item_1"),
    events.input_audio_committed(None, "item_1"),
    events.input_audio_committed("item_0", "item_1"),
    events.input_audio_cleared(),
    events.timeout_triggered(100, 6100, "item_1"),
    events.item_added(None, USER),
    events.item_added("item_1", SPEAKING),
    events.item_done("item_1", SPOKEN),
    events.item_done("item_2", TOOL_CALL),
    events.item_retrieved(SPOKEN, with_audio=False),
    events.item_truncated("item_2", 0, 1500),
    events.item_deleted("item_2"),
    events.transcription_delta("item_1", 0, "at nine"),
    events.transcription_completed("item_1", 0, "at nine", 1.25),
    events.transcription_failed("item_1", 0),
    events.response_created(_response("in_progress", None)),
    events.response_done(_response("completed", None, SPOKEN, TOOL_CALL)),
    events.response_done(_response("cancelled", events.cancelled("turn_detected"), SPOKEN)),
    events.response_done(_response("incomplete", events.incomplete("max_output_tokens"))),
    events.response_done(_response("failed", events.failed("agent_failed", "The agent broke."))),
    events.output_item_added("resp_1", 0, SPEAKING),
    events.output_item_done("resp_1", 0, SPOKEN),
    events.content_part_added("resp_1", "item_2", 0, True),
    events.content_part_added("resp_1", "item_2", 0, False),
    events.content_part_done("resp_1", "item_2", 0, True, "Good day"),
    events.content_part_done("resp_1", "item_2", 0, False, "Good day"),
    events.output_text_delta("resp_1", "item_2", 0, "Good "),
    events.output_text_done("resp_1", "item_2", 0, "Good day"),
    events.output_audio_transcript_delta("resp_1", "item_2", 0, "Gr\u00fc\u00dfe \u2028 \U0001f3a7"),
    events.output_audio_transcript_done("resp_1", "item_2", 0, "Good day"),
    events.output_audio_done("resp_1", "item_2", 0),
    events.function_call_arguments_delta("resp_1", "item_3", 1, "fc_1", '{"at":'),
    events.function_call_arguments_done("resp_1", "item_3", 1, "fc_1", "book", '{"at":"noon"}'),
]


def _unknown_to_sdk(value: Any, path: str = "") -> set[str]:
    """Paths of fields that no type of the SDK declares."""
    if isinstance(value, list):
        return set().union(*(_unknown_to_sdk(each, path) for each in value))
    if not isinstance(value, BaseModel):
        return set()
    found = {f"{path}{name}" for name in value.model_extra or {}}
    for name in type(value).model_fields:
        found |= _unknown_to_sdk(getattr(value, name), f"{path}{name}.")
    return found


def _read_by_sdk(text: bytes) -> Any:
    """The event as the SDK reads it: of the class its type names, lossless, with no undeclared field."""
    event = SDK.validate_json(text, strict=True)
    said = json.loads(text)
    assert type(event).model_fields["type"].annotation.__args__ == (said["type"],)
    assert event.model_dump(mode="json", exclude_unset=True, by_alias=True) == said
    assert _unknown_to_sdk(event) <= OURS_IN_A_SESSION
    return event


@pytest.mark.parametrize("body", BODIES, ids=[body["type"] for body in BODIES])
def test_an_event_is_the_sdks_event(body: dict[str, Any]) -> None:
    """A framed event is valid for the SDK in strict mode and says what the body says, plus its id."""
    text = frame(41, pack(body), b"")
    event = _read_by_sdk(text)
    assert event.event_id == "evt_41"
    assert json.loads(text) == {"event_id": "evt_41", **json.loads(json.dumps(body))}


NULL_IS_BORNE = {
    "previous_item_id",
    "item.content.transcript",
    "response.conversation_id",
    "response.metadata",
    "response.output.content.transcript",
    "response.status_details",
    "response.usage",
}
"""Where the agents SDK for JavaScript reads null. Elsewhere what is not known must be absent, or the whole event is
passed over there. Of ``error`` events and sessions it reads anything."""


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body["type"]))
def test_null_stands_only_where_strict_clients_read_it(body: dict[str, Any]) -> None:
    """The Python SDK reads null wherever a field may be absent; others know numbers, texts and absence."""
    if body["type"] not in {"error", "session.updated"}:
        assert set(_nulls(body)) <= NULL_IS_BORNE


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, content in value.items():
            yield from _nulls(content, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for entry in value:
            yield from _nulls(entry, path)
    elif value is None:
        yield path


def test_audio_comes_as_the_delta() -> None:
    """The bytes beside an audio event are its base64 delta, whatever they are."""
    audio = bytes(range(256)) * 3 + b"\x00"
    event = _read_by_sdk(frame(7, pack(events.output_audio_delta("resp_1", "item_2", 0)), audio))
    assert event.type == "response.output_audio.delta"
    assert (event.event_id, event.response_id, event.item_id, event.output_index) == ("evt_7", "resp_1", "item_2", 0)
    assert b64decode(event.delta, validate=True) == audio


def test_a_retrieved_item_carries_its_audio() -> None:
    """The bytes beside a retrieved item are in its first spoken part, and the item itself is not changed."""
    text_part = {"type": "input_text", "text": '"audio":""'}
    item = {**USER, "content": [text_part, USER["content"][0], {"type": "input_audio", "transcript": "two"}]}
    body = events.item_retrieved(item, with_audio=True)
    event = _read_by_sdk(frame(7, pack(body), b"\x01\x02\x03"))
    assert event.item.content[1].audio == "AQID"
    assert event.item.content[0].text == '"audio":""'
    assert event.item.content[2].audio is None
    assert "audio" not in item["content"][1]


def test_the_greeting_says_where_the_connection_starts() -> None:
    """`session.created` has the session, the call beside it, and the position as its id."""
    call = {"id": "call_1", "resume_token": "t", "epoch": 2, "gap": None}
    event = _read_by_sdk(greeting(41, SESSION, call))
    assert (event.type, event.event_id) == ("session.created", "evt_41")
    assert event.session.model_extra["call"] == call
    assert event.session.audio.output.voice == "marin"
    assert "call" not in SESSION


def test_going_away_is_an_extension() -> None:
    """The announcement of a planned close is what the contract says, and unknown to the SDK."""
    said = json.loads(frame(3, pack(events.going_away(9000, "drain")), b""))
    assert said == {"event_id": "evt_3", "type": "call.going_away", "time_left_ms": 9000, "reason": "drain"}
