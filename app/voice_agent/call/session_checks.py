"""The fields a client may set in a session and in a response, as tables of checks (`json_checks`).

`SESSION` takes the ``session`` of a `session.update`, `check_response` the ``response`` of a `response.create`. Each
returns what to keep, or raises `ProtocolError` naming the field.

Sources: ``RealtimeSessionCreateRequest`` and ``RealtimeResponseCreateParams`` of the
official OpenAI SDK. Where that gives no bound there is one here, since whatever passes
is stored with the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call.audio import FORMATS
from voice_agent.call.item_checks import check_input_item
from voice_agent.call.json_checks import (
    Check,
    an_object,
    array,
    boolean,
    fields,
    free_json,
    free_object,
    integer,
    invalid,
    number,
    one_of,
    shown,
    text,
    wrong_type,
)
from voice_agent.call.session_config import EAGERNESS_SILENCE_MS
from voice_agent.errors import ProtocolError

KIB = 1024
MAX_INSTRUCTIONS_BYTES = 64 * KIB
MAX_TOOLS = 128
MAX_TOOLS_BYTES = 256 * KIB
"""Names, descriptions and parameter schemas of all tools together."""
MAX_TOOLS_VALUES = 8 * KIB
"""JSON values in all tools: stops a message of empty objects whose checking keeps all other calls waiting."""
MAX_INPUT_VALUES = 4 * KIB
"""The same of a response's input, each of whose parts is checked by itself."""
MAX_INPUT_ITEMS = 256
MAX_INPUT_BYTES = 512 * KIB
"""What a response may be given to answer in place of the conversation."""
MAX_RESPONSE_BYTES = 512 * KIB
"""Of one `response.create`: it is kept with the response, and written again while that goes on."""


def _format(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, str):
        raise invalid(path, f'must be an object such as {{"type": "audio/pcm", "rate": 24000}}, not {shown(value)}')
    given = fields({"type": one_of(*FORMATS), "rate": integer(1, 192_000)}, required=("type",))(value, path)
    audio_format = FORMATS[given["type"]]
    if given.get("rate", audio_format.rate_hz) != audio_format.rate_hz:
        raise invalid(f"{path}.rate", f"must be {audio_format.rate_hz} for {audio_format.name}")
    return audio_format.as_json()


_VOICE_NAME = text(64, min_bytes=1, pattern=r"[\w.+:/-]+", means="letters, digits and '.+:/_-'")


def _voice(value: Any, path: str) -> str:
    """A name, or ``{"id": …}`` of a custom voice, which is kept as its id."""
    if isinstance(value, dict):
        return str(fields({"id": _VOICE_NAME}, required=("id",))(value, path)["id"])
    return str(_VOICE_NAME(value, path))


def _modalities(value: Any, path: str) -> list[str]:
    given: list[str] = array(one_of("text", "audio"), 2, min_items=1)(value, path)
    if len(given) != 1:
        raise invalid(
            path, "must be ['audio'] or ['text']; audio comes with its transcript, both at once are not possible"
        )
    return given


def _max_tokens(value: Any, path: str) -> int | str:
    if isinstance(value, str):
        return str(one_of("inf")(value, path))
    return int(integer(1, 4096)(value, path))


_TOOL_NAME = text(64, min_bytes=1, pattern=r"[A-Za-z0-9_-]+", means="letters, digits, '_' and '-'")
_TOOL = fields(
    {
        "type": one_of("function"),
        "name": _TOOL_NAME,
        "description": text(MAX_TOOLS_BYTES),
        "parameters": free_object(MAX_TOOLS_BYTES),
        "strict": boolean,
    },
    required=("name",),
    hints={"function": "Put name, description and parameters directly into the tool."},
)


def _tool(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict) and value.get("type") == "mcp":
        raise invalid(f"{path}.type", "is 'mcp'; this server takes only tools of type 'function'")
    return {"type": "function", **_TOOL(value, path)}


def _tools(value: Any, path: str) -> list[dict[str, Any]]:
    free_json(MAX_TOOLS_BYTES, max_values=MAX_TOOLS_VALUES)(value, path)
    tools: list[dict[str, Any]] = array(_tool, MAX_TOOLS)(value, path)
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool["name"] in seen:
            raise invalid(f"{path}[{index}].name", f"is {shown(tool['name'])}, the name of an earlier tool")
        seen.add(tool["name"])
    return tools


def _tool_choice(value: Any, path: str) -> str | dict[str, Any]:
    if isinstance(value, dict):
        chosen: dict[str, Any] = fields({"type": one_of("function"), "name": _TOOL_NAME}, required=("type", "name"))(
            value, path
        )
        return chosen
    return str(one_of("none", "auto", "required")(value, path))


def _truncation(value: Any, path: str) -> str | dict[str, Any]:
    if isinstance(value, str):
        return str(one_of("auto", "disabled")(value, path))
    limits = fields({"post_instructions": integer(0, 10_000_000)})
    table = {"type": one_of("retention_ratio"), "retention_ratio": number(0, 1), "token_limits": limits}
    ratio: dict[str, Any] = fields(table, required=("type", "retention_ratio"))(value, path)
    return ratio


def _tracing(value: Any, path: str) -> str | dict[str, Any]:
    if isinstance(value, str):
        return str(one_of("auto")(value, path))
    table = {"workflow_name": text(256), "group_id": text(256), "metadata": free_object(4 * KIB)}
    tracing: dict[str, Any] = fields(table)(value, path)
    return tracing


_PROMPT = fields(
    {"id": text(256, min_bytes=1), "version": text(64), "variables": free_object(64 * KIB)},
    required=("id",),
)
_TRANSCRIPTION = fields(
    {
        "model": text(128),
        "language": text(32),
        "prompt": text(8 * KIB),
        "delay": one_of("minimal", "low", "medium", "high", "xhigh"),
        "keywords": array(text(256), 256),
        "languages": array(text(32), 32),
    }
)
_NOISE_REDUCTION = fields({"type": one_of("near_field", "far_field"), "strength": number(0, 1)})

_COMMON: dict[str, Check] = {
    "output_modalities": _modalities,
    "instructions": text(MAX_INSTRUCTIONS_BYTES),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "max_output_tokens": _max_tokens,
    "reasoning": fields({"effort": one_of("minimal", "low", "medium", "high", "xhigh")}),
    "prompt": _PROMPT,
}
_INPUT = fields(
    {
        "format": _format,
        "transcription": _TRANSCRIPTION,
        "noise_reduction": _NOISE_REDUCTION,
        "turn_detection": an_object,
    },
    null_means=dict.fromkeys(("transcription", "noise_reduction", "turn_detection")),
)
_OUTPUT = fields({"format": _format, "voice": _voice, "speed": number(0.25, 1.5)})

_BETA_HINTS = {
    "modalities": "In the GA protocol it is 'output_modalities'.",
    "voice": "In the GA protocol it is 'audio.output.voice'.",
    "output_audio_format": "In the GA protocol it is 'audio.output.format', an object with a 'type'.",
    "max_response_output_tokens": "In the GA protocol it is 'max_output_tokens'.",
    "temperature": "The GA protocol has no such field.",
}
SESSION = fields(
    {
        **_COMMON,
        "audio": fields({"input": _INPUT, "output": _OUTPUT}),
        "tracing": _tracing,
        "truncation": _truncation,
        "include": array(one_of("item.input_audio_transcription.logprobs"), 1),
    },
    null_means={"tracing": None, "max_output_tokens": "inf"},
    hints={
        **_BETA_HINTS,
        "input_audio_format": "In the GA protocol it is 'audio.input.format', an object with a 'type'.",
        "speed": "In the GA protocol it is 'audio.output.speed'.",
        "turn_detection": "In the GA protocol it is 'audio.input.turn_detection'.",
        "input_audio_transcription": "In the GA protocol it is 'audio.input.transcription'.",
        "input_audio_noise_reduction": "In the GA protocol it is 'audio.input.noise_reduction'.",
    },
)

VAD_MODE = one_of("server_vad", "semantic_vad")
_BOTH_MODES: dict[str, Check] = {
    "type": VAD_MODE,
    "create_response": boolean,
    "interrupt_response": boolean,
}
VAD = {
    "server_vad": fields(
        {
            **_BOTH_MODES,
            "threshold": number(0, 1),
            "prefix_padding_ms": integer(0, 5_000),
            "silence_duration_ms": integer(20, 10_000),
            "idle_timeout_ms": integer(1_000, 120_000),
        },
        null_means={"idle_timeout_ms": None},
        hints={"eagerness": "It belongs to turn detection of type 'semantic_vad'."},
    ),
    "semantic_vad": fields(
        {**_BOTH_MODES, "eagerness": one_of(*EAGERNESS_SILENCE_MS)},
        hints=dict.fromkeys(
            ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"),
            "It belongs to turn detection of type 'server_vad'.",
        ),
    ),
}


def _metadata(value: Any, path: str) -> dict[str, str]:
    given = an_object(value, path)
    if len(given) > 16:
        raise invalid(path, f"has {len(given)} pairs; at most 16 are allowed")
    for key, content in given.items():
        if len(key) > 64:
            raise invalid(path, f"has a key of {len(key)} characters; at most 64 are allowed")
        if not isinstance(content, str):
            raise wrong_type(content, f"{path}.{key}", "a string")
        if len(content) > 512:
            raise invalid(f"{path}.{key}", f"is {len(content)} characters long; at most 512 are allowed")
    return given


def _input_items(value: Any, path: str) -> list[dict[str, Any]]:
    free_json(MAX_INPUT_BYTES, max_values=MAX_INPUT_VALUES)(value, path)
    items: list[dict[str, Any]] = array(check_input_item, MAX_INPUT_ITEMS)(value, path)
    return items


RESPONSE = fields(
    {
        **_COMMON,
        "audio": fields({"output": fields({"format": _format, "voice": _voice})}),
        "metadata": _metadata,
        "conversation": one_of("auto", "none"),
        "input": _input_items,
    },
    hints=_BETA_HINTS,
)


def check_response(params: Mapping[str, Any]) -> dict[str, Any]:
    """The ``response`` object of a `response.create` ({} if absent) as it is kept.

    Raises `ProtocolError`, whose `param` starts with ``response.``.
    """
    if not params:
        return {}
    given: dict[str, Any] = RESPONSE(params, "response")
    check_size(given, "response", MAX_RESPONSE_BYTES, limit="response_bytes")
    return given


def check_size(settings: Mapping[str, Any], path: str, max_bytes: int, *, limit: str) -> None:
    """Raise `ProtocolError`, naming the largest field, if the settings take more than `max_bytes` as JSON."""
    size = len(orjson.dumps(settings))
    if size > max_bytes:
        largest = max(settings, key=lambda name: len(orjson.dumps(settings[name])))
        raise ProtocolError(
            f"'{path}.{largest}' is too large: with it the {path} takes {size} bytes as JSON; "
            f"at most {max_bytes} are allowed.",
            code=f"{path}_too_large",
            param=f"{path}.{largest}",
            limit=limit,
        )
