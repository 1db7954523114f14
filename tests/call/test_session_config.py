"""A session before any update, and what holds for one response under it."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import RealtimeSessionCreateRequest

from tests.protocol import checked
from voice_agent.call.audio import PCM, PCMU
from voice_agent.call.session import merge_session
from voice_agent.call.session_config import (
    input_format,
    new_session,
    settings_under,
    transcription_on,
    turn_detection,
    wants_audio,
)

TOOL = {"type": "function", "name": "book", "description": "Book a table.", "parameters": {"type": "object"}}


@pytest.fixture
def session() -> dict[str, Any]:
    """A session nobody has touched."""
    return new_session("call_1", "frontdesk", "marin", expires_at_s=1_700_000_000)


def test_a_new_session_is_the_sdks_session(session: dict[str, Any]) -> None:
    """The official SDK reads every field of a new session with the type it declares."""
    model = RealtimeSessionCreateRequest.model_validate(session, strict=True)
    assert model.model_dump(mode="json", exclude_unset=True) == session
    assert set(model.model_extra or {}) == {"object", "id", "expires_at"}


def test_a_new_session_listens_and_speaks(session: dict[str, Any]) -> None:
    """Without any update a call has server turn detection, speech in 24 kHz PCM both ways, and no transcription."""
    found = turn_detection(session)
    assert found is not None
    assert (found.mode, found.threshold, found.prefix_padding_ms, found.silence_duration_ms) == (
        "server_vad", 0.5, 300, 500,
    )  # fmt: skip
    assert (found.create_response, found.interrupt_response, found.idle_timeout_ms) == (True, True, None)
    assert session["audio"]["output"]["speed"] == 1
    assert input_format(session) is PCM
    assert settings_under(session, {}).output_format is PCM
    assert wants_audio(session)
    assert not transcription_on(session)


def test_sessions_share_nothing() -> None:
    """Changing one session's object leaves the next new one as it should be."""
    one = new_session("call_1", "m", "v", expires_at_s=0)
    one["audio"]["input"]["turn_detection"]["threshold"] = 0.9
    one["tools"].append(TOOL)
    two = new_session("call_1", "m", "v", expires_at_s=0)
    assert two["audio"]["input"]["turn_detection"]["threshold"] == 0.5
    assert two["tools"] == []


def test_a_response_takes_the_sessions_settings(session: dict[str, Any]) -> None:
    """Without parameters everything comes from the session."""
    patch = {"instructions": "Be brief.", "tools": [TOOL], "audio": {"output": {"voice": "cedar"}}}
    session = merge_session(session, patch, voice_locked=False)
    found = settings_under(session, {})
    assert (found.instructions, found.tools, found.voice) == ("Be brief.", [TOOL], "cedar")
    assert found.wants_audio
    assert found.in_conversation
    assert (found.output_format, found.max_output_tokens, found.tool_choice) == (PCM, "inf", "auto")
    assert found.metadata is None
    assert found.input_items is None
    assert found.parallel_tool_calls


def test_a_response_overrides_the_session(session: dict[str, Any]) -> None:
    """Each parameter takes the session's place, for this response only."""
    found = settings_under(
        session,
        checked.response(
            {
                "output_modalities": ["text"],
                "instructions": "",
                "tools": [TOOL],
                "tool_choice": "required",
                "max_output_tokens": 7,
                "metadata": {"topic": "x"},
                "conversation": "none",
                "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"}},
                "input": [
                    {"type": "item_reference", "id": "item_1"},
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                ],
            }
        ),
    )
    assert not found.wants_audio
    assert not found.in_conversation
    assert (found.instructions, found.tools, found.tool_choice) == ("", [TOOL], "required")
    assert (found.max_output_tokens, found.metadata) == (7, {"topic": "x"})
    assert (found.output_format, found.voice) == (PCMU, "cedar")
    assert found.input_items is not None
    assert found.input_items[0] == {"type": "item_reference", "id": "item_1"}
    assert found.input_items[1]["content"] == [{"type": "input_text", "text": "hi"}]
    assert session["output_modalities"] == ["audio"]
