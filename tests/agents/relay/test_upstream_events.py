"""Whatever an upstream sends is an event, nothing, or invalid. Tests of `upstream_events`."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.agents.relay.upstream_events import (
    _READERS,
    MAX_ID_CHARS,
    AudioDelta,
    CallerTranscribed,
    FunctionCalled,
    InvalidMessage,
    ItemBegun,
    ResponseDone,
    SessionCreated,
    TextDelta,
    UpstreamError,
    read,
)

NAMES = st.sampled_from(
    "type id item item_id response response_id delta session expires_at call error code usage status_details "
    "rate_limits transcript name arguments call_id input_token_details".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=8,
)


@given(st.sampled_from([*_READERS, "unknown"]), st.dictionaries(NAMES, JSON, max_size=6))
def test_any_object_is_an_event_or_nothing_or_invalid(kind: str, body: dict[str, Any]) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(InvalidMessage):
        read(orjson.dumps({**body, "type": kind}))


@given(st.text() | st.binary())
def test_any_message_is_an_event_or_nothing_or_invalid(message: str | bytes) -> None:
    """Be it no JSON at all."""
    with contextlib.suppress(InvalidMessage):
        read(message)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        ({"type": "session.created", "session": {"expires_at": 7, "call": {}}}, SessionCreated(7.0, is_exact=True)),
        ({"type": "session.created", "session": {"expires_at": None}}, SessionCreated(None, is_exact=False)),
        (
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "code": None, "message": "no", "event_id": None},
            },
            UpstreamError("invalid_request_error", "no", ""),
        ),
        (
            {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "AAA="},
            AudioDelta("r", "i", b"\0\0"),
        ),
        (
            {"type": "response.audio_transcript.delta", "response_id": "r", "item_id": "i", "delta": "a"},
            TextDelta("r", "i", "a"),
        ),
        (
            {"type": "response.output_item.added", "response_id": "r", "item": {"id": "i", "type": "message"}},
            ItemBegun("r", "i", "message"),
        ),
        (
            {
                "type": "response.output_item.done",
                "response_id": "r",
                "item": {"id": "i", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            },
            FunctionCalled("r", "i", "c", "look", "{}"),
        ),
        ({"type": "response.output_item.done", "response_id": "r", "item": {"id": "i", "type": "message"}}, None),
        (
            {
                "type": "response.done",
                "response": {"id": "r", "status": "cancelled", "status_details": {"reason": "x"}},
            },
            ResponseDone("r", "cancelled", "x", {"input_token_details": {}, "output_token_details": {}}),
        ),
        (
            {"type": "conversation.item.input_audio_transcription.failed", "item_id": "i", "error": {}},
            CallerTranscribed("i", None),
        ),
        ({"type": "input_audio_buffer.speech_started"}, None),
    ],
)
def test_what_the_protocol_says_is_read(body: dict[str, Any], event: object) -> None:
    """Events that say nothing to a relay are none."""
    assert read(orjson.dumps(body)) == event


def test_an_id_that_would_fill_the_memory_is_invalid() -> None:
    """Ids are kept for as long as a session."""
    with pytest.raises(InvalidMessage):
        read(orjson.dumps({"type": "input_audio_buffer.committed", "item_id": "x" * (MAX_ID_CHARS + 1)}))
