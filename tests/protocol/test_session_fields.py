"""What a client may set in a session and for one response, and what is refused."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from tests.protocol import checked
from voice_agent.errors import ProtocolError
from voice_agent.protocol import validation

TOOL = {"type": "function", "name": "book", "description": "Book a table.", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"modalities": ["text"]}, "unknown_parameter", "response.modalities"),
        ({"output_modalities": "audio"}, "invalid_type", "response.output_modalities"),
        ({"conversation": "other"}, "invalid_value", "response.conversation"),
        ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value", "response.metadata"),
        ({"metadata": {"k" * 65: ""}}, "invalid_value", "response.metadata"),
        ({"metadata": {"k": "v" * 513}}, "invalid_value", "response.metadata.k"),
        ({"metadata": {"k": 1}}, "invalid_type", "response.metadata.k"),
        ({"metadata": ["k"]}, "invalid_type", "response.metadata"),
        ({"audio": {"output": {"speed": 1}}}, "unknown_parameter", "response.audio.output.speed"),
        ({"audio": {"input": {}}}, "unknown_parameter", "response.audio.input"),
        ({"input": [{"type": "message", "role": "user"}]}, "missing_required_parameter", "response.input[0].content"),
        ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "response.input[0].id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x" * 200_000}] * 3},
            "invalid_value",
            "response.input",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x" * 300_000}]},
            "string_above_max_length",
            "response.input[0].output",
        ),
        (
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]}]},
            "invalid_value",
            "response.input[0].content[0].audio",
        ),
    ],
)
def test_wrong_parameters_of_a_response_are_refused(params: dict[str, Any], code: str, param: str) -> None:
    """The error names the parameter under `response`."""
    with pytest.raises(ProtocolError) as caught:
        checked.response(params)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_metadata_at_its_limits_is_taken() -> None:
    """Sixteen pairs of 64 and 512 characters are allowed."""
    metadata = {f"{n:064d}": "v" * 512 for n in range(16)}
    assert checked.response({"metadata": metadata}) == {"metadata": metadata}


# --- a session -------------------------------------------------------------


def refused(patch: Any) -> ProtocolError:
    """What is invalid in the settings of a session."""
    with pytest.raises(ProtocolError) as caught:
        checked.session(patch)
    return caught.value


def heard(**changes: Any) -> dict[str, Any]:
    """A patch of `audio.input`."""
    return {"audio": {"input": changes}}


def spoken(**changes: Any) -> dict[str, Any]:
    """A patch of `audio.output`."""
    return {"audio": {"output": changes}}


def detection(**changes: Any) -> dict[str, Any]:
    """A patch of turn detection."""
    return heard(turn_detection=changes)


DEEP: Any = 1
for _ in range(100):
    DEEP = {"a": DEEP}

REFUSED: list[tuple[Any, str, str]] = [
    ([], "invalid_type", "session"),
    ({"type": "transcription"}, "invalid_value", "session.type"),
    ({"type": 7}, "invalid_type", "session.type"),
    ({"type": ""}, "invalid_value", "session.type"),
    ({"type": []}, "invalid_type", "session.type"),
    ({"model": 7}, "invalid_type", "session.model"),
    ({"model": "m" * 257}, "string_above_max_length", "session.model"),
    ({"instructions": 7}, "invalid_type", "session.instructions"),
    ({"instructions": "x" * 65_537}, "string_above_max_length", "session.instructions"),
    ({"instructions": "é" * 32_769}, "string_above_max_length", "session.instructions"),
    ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[0]"),
    ({"tools": ["book"]}, "invalid_type", "session.tools[0]"),
    ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
    ({"max_output_tokens": 4097}, "invalid_value", "session.max_output_tokens"),
    ({"max_output_tokens": True}, "invalid_type", "session.max_output_tokens"),
    ({"max_output_tokens": "all"}, "invalid_value", "session.max_output_tokens"),
    ({"tools": {}}, "invalid_type", "session.tools"),
    ({"tools": [{"name": f"t{n}"} for n in range(129)]}, "invalid_value", "session.tools"),
    ({"tools": [TOOL, TOOL]}, "invalid_value", "session.tools[1].name"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    ({"tools": [{"name": "two words"}]}, "invalid_value", "session.tools[0].name"),
    ({"tools": [{"name": "a", "parameters": []}]}, "invalid_type", "session.tools[0].parameters"),
    ({"tools": [{"name": "a", "parameters": DEEP}]}, "invalid_value", "session.tools"),
    ({"tools": [{"name": "a", "description": "x" * 300_000}]}, "invalid_value", "session.tools"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "invalid_value", "session.tools[0].type"),
    ({"tools": [{"type": "function", "function": {}, "name": "a"}]}, "unknown_parameter", "session.tools[0].function"),
    ({"tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
    ({"tool_choice": {"type": "function"}}, "missing_required_parameter", "session.tool_choice.name"),
    ({"truncation": {"type": "retention_ratio"}}, "missing_required_parameter", "session.truncation.retention_ratio"),
    ({"truncation": "always"}, "invalid_value", "session.truncation"),
    ({"tracing": "always"}, "invalid_value", "session.tracing"),
    ({"tracing": {"metadata": {"a": "x" * 4096}}}, "invalid_value", "session.tracing.metadata"),
    ({"audio": []}, "invalid_type", "session.audio"),
    ({"audio": {"in": {}}}, "unknown_parameter", "session.audio.in"),
    (heard(format="pcm16"), "invalid_value", "session.audio.input.format"),
    (heard(format={"rate": 24000}), "missing_required_parameter", "session.audio.input.format.type"),
    (heard(format={"type": "audio/opus"}), "invalid_value", "session.audio.input.format.type"),
    (heard(format={"type": "audio/pcm", "rate": 16000}), "invalid_value", "session.audio.input.format.rate"),
    (heard(transcription=[]), "invalid_type", "session.audio.input.transcription"),
    (heard(noise_reduction={"type": "wind"}), "invalid_value", "session.audio.input.noise_reduction.type"),
    (heard(turn_detection=[]), "invalid_type", "session.audio.input.turn_detection"),
    (detection(type="psychic"), "invalid_value", "session.audio.input.turn_detection.type"),
    (detection(threshold=1.5), "invalid_value", "session.audio.input.turn_detection.threshold"),
    (detection(threshold="0.5"), "invalid_type", "session.audio.input.turn_detection.threshold"),
    (detection(silence_duration_ms=-1), "invalid_value", "session.audio.input.turn_detection.silence_duration_ms"),
    (detection(silence_duration_ms=0.5), "invalid_type", "session.audio.input.turn_detection.silence_duration_ms"),
    (detection(create_response=1), "invalid_type", "session.audio.input.turn_detection.create_response"),
    (spoken(voice=""), "invalid_value", "session.audio.output.voice"),
    (spoken(voice={}), "missing_required_parameter", "session.audio.output.voice.id"),
    (spoken(voice={"id": "two words"}), "invalid_value", "session.audio.output.voice.id"),
    (spoken(speed=2), "invalid_value", "session.audio.output.speed"),
    ({"nonsense": 1}, "unknown_parameter", "session.nonsense"),
    ({"x" * 9000: 1}, "unknown_parameter", f"session.{'x' * 61}..."),
]


@pytest.mark.parametrize(("patch", "code", "param"), REFUSED, ids=[f"{code}-{param}" for _, code, param in REFUSED])
def test_a_wrong_update_changes_nothing_and_says_where(patch: Any, code: str, param: str) -> None:
    """A wrong update is refused as a whole, with the dotted path of the field in error and in the sentence."""
    if isinstance(patch, dict):
        patch = {"instructions": "never applied", **patch}
    error = refused(patch)
    assert (error.code, error.param) == (code, param)
    assert f"'{param}'" in error.message
    assert len(error.message) < 500


def rate(rate_hz: int) -> dict[str, Any]:
    """A patch of the rate of what the caller sends."""
    return heard(format={"type": "audio/pcm", "rate": rate_hz})


def ratio(value: float, after: int = 0) -> dict[str, Any]:
    """A patch of how much of a long conversation is kept."""
    limits = {"post_instructions": after}
    return {"truncation": {"type": "retention_ratio", "retention_ratio": value, "token_limits": limits}}


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        (detection(threshold=1.5), "from 0 to 1, but it is 1.5"),
        ({"instructions": "x" * 65_537}, "65537 bytes long; at most 65536"),
        (rate(0), "from 1 to 192000, but it is 0"),
        (rate(192_001), "from 1 to 192000, but it is 192001"),
        (rate(1), "must be 24000 for audio/pcm"),
        (rate(192_000), "must be 24000 for audio/pcm"),
        ({"output_modalities": ["text", "audio", "text"]}, "3 entries; 1 to 2"),
        ({"output_modalities": []}, "0 entries; 1 to 2"),
        ({"output_modalities": ["text", "audio"]}, "both at once are not possible"),
        ({"max_output_tokens": 0}, "from 1 to 4096, but it is 0"),
        ({"max_output_tokens": 4097}, "from 1 to 4096, but it is 4097"),
        (ratio(1.5), "from 0 to 1, but it is 1.5"),
        (ratio(-0.5), "from 0 to 1, but it is -0.5"),
        (ratio(1, 10_000_001), "from 0 to 10000000, but it is 10000001"),
        (ratio(1, -1), "from 0 to 10000000, but it is -1"),
        ({"tracing": {"workflow_name": "x" * 257}}, "257 bytes long; at most 256"),
        ({"tracing": {"group_id": "x" * 257}}, "257 bytes long; at most 256"),
        ({"tracing": {"metadata": {"a": "x" * 4096}}}, "larger than the allowed 4096 bytes"),
        (spoken(voice="v" * 65), "65 bytes long; at most 64"),
        (spoken(voice={"id": "v" * 65}), "65 bytes long; at most 64"),
    ],
)
def test_a_limit_is_named(patch: dict[str, Any], sentence: str) -> None:
    """Whoever exceeds a bound is told the bound and what was sent."""
    assert sentence in refused(patch).message


@pytest.mark.parametrize(
    "patch",
    [
        {"max_output_tokens": 1},
        {"max_output_tokens": 4096},
        {"truncation": "disabled"},
        {"tracing": "auto"},
        {"tracing": {"workflow_name": "x" * 256, "group_id": "x" * 256}},
        {"instructions": "x" * 65_536},
        ratio(0, 0),
        ratio(1, 10_000_000),
    ],
)
def test_what_is_at_its_limit_is_taken(patch: dict[str, Any]) -> None:
    """The bounds themselves are allowed."""
    after = checked.session(patch)
    assert {name: after[name] for name in patch} == patch


@pytest.mark.parametrize("voice", ["v", "v" * 64])
def test_a_voice_may_have_a_short_name_or_a_long_one(voice: str) -> None:
    """However it is written."""
    for written in (voice, {"id": voice}):
        assert checked.session(spoken(voice=written))["audio"]["output"]["voice"] == voice


@pytest.mark.parametrize(
    ("field", "ga_field"),
    [
        ("modalities", "output_modalities"),
        ("voice", "audio.output.voice"),
        ("input_audio_format", "audio.input.format"),
        ("output_audio_format", "audio.output.format"),
        ("turn_detection", "audio.input.turn_detection"),
        ("input_audio_transcription", "audio.input.transcription"),
        ("max_response_output_tokens", "max_output_tokens"),
    ],
)
def test_a_beta_field_is_answered_with_its_new_name(field: str, ga_field: str) -> None:
    """A client of the old protocol is told where each field has moved."""
    error = refused({field: "x"})
    assert (error.code, error.param) == ("unknown_parameter", f"session.{field}")
    assert f"'{ga_field}'" in error.message


PARTS = [{"type": "input_text", "text": 7}] * 60


@pytest.mark.parametrize(
    "params",
    [
        {"input": [{"type": "message", "role": "user", "content": PARTS}] * 60},
        {"input": [{}] * 200},
        {"tools": [{"type": "function", "name": 7}] * 128},
    ],
)
def test_a_message_full_of_mistakes_is_refused_at_the_first_few(params: dict[str, Any]) -> None:
    """Each costs as much as finding it and telling of it: a small message must not take a turn of the event loop."""
    with patch.object(validation, "_is_there", wraps=validation._is_there) as looked_at, pytest.raises(ProtocolError):
        checked.response(params)
    assert looked_at.call_count <= 8
