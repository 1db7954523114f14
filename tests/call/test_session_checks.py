"""What a client may set for one response, and what is refused; `test_session` has the same of a session."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from voice_agent.call import session_checks
from voice_agent.call.session_checks import check_response
from voice_agent.errors import ProtocolError


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
    """The mistake names the parameter under `response`."""
    with pytest.raises(ProtocolError) as caught:
        check_response(params)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_metadata_at_its_limits_is_taken() -> None:
    """Sixteen pairs of 64 and 512 characters are allowed."""
    metadata = {f"{n:064d}": "v" * 512 for n in range(16)}
    assert check_response({"metadata": metadata}) == {"metadata": metadata}


def test_settings_may_take_as_much_as_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte of their JSON."""
    given = {"instructions": "\u00e9\n", "metadata": {"a": "b"}}
    size = len(orjson.dumps(given))
    monkeypatch.setattr(session_checks, "MAX_RESPONSE_BYTES", size)
    assert check_response(given) == given
    monkeypatch.setattr(session_checks, "MAX_RESPONSE_BYTES", size - 1)
    with pytest.raises(ProtocolError, match=f"at most {size - 1} are allowed"):
        check_response(given)


def test_what_a_response_brings_along_is_bounded() -> None:
    """As JSON, which is what is stored."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "\x01" * 100_000}]}
    with pytest.raises(ProtocolError) as caught:
        check_response({"conversation": "none", "input": [item]})
    assert caught.value.param == "response.input"
    assert caught.value.limit == "response_bytes"
