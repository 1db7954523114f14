"""The session: what a caller may configure, and how `session.update` and `response.create` change it.

The shape is that of the OpenAI Realtime (GA) protocol, ``RealtimeSessionCreateRequest``
in the official SDK. A session is a plain JSON object that is never changed in place:
`merge_session` makes a new one. The accessors below are how everybody else reads it.

``docs/protocol.md`` says of each field what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from voice_agent.call.audio import FORMATS, PCM, AudioFormat
from voice_agent.call.session_fields import (
    EAGERNESS_SILENCE_MS,
    RESPONSE,
    SERVER_VAD,
    SESSION,
    VAD,
    VAD_DEFAULTS,
    VAD_MODE,
)
from voice_agent.call.shapes import an_object, invalid, one_of, text
from voice_agent.errors import ProtocolError

MAX_SESSION_BYTES = 512 * 1024
"""Of all settings together: stops a call whose every `session.update` is answered, and stored, with megabytes."""
MAX_RESPONSE_BYTES = 512 * 1024
"""Of one `response.create`: it is kept with the reply, and written again while the reply goes on."""
MAX_MODEL_BYTES = 256
"""Of the model that a client names in its session: it is looked at and not kept."""

_SERVER_SET = ("id", "object", "expires_at")
_KIND = one_of("realtime")
_MODEL_NAME = text(MAX_MODEL_BYTES)

# --- making and changing a session -----------------------------------------


def new_session(call_id: str, model: str, voice: str, *, expires_at_s: int) -> dict[str, Any]:
    """A session as it is before the first `session.update`; `expires_at_s` counts seconds since 1970 UTC."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": call_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at_s,
        "audio": {
            "input": {
                "format": PCM.as_json(),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": PCM.as_json(), "voice": voice, "speed": 1.0},
        },
        "include": None,
    }


def merge_session(session: dict[str, Any], patch: dict[str, Any], *, voice_locked: bool) -> dict[str, Any]:
    """The session with the fields of `patch` in place of its own; `session` stays as it is.

    Objects under ``audio`` are merged, lists are replaced, and null switches off what can
    be off. `voice_locked`: the caller has heard the voice, so it must not change. Fields
    that only the server sets may be sent back unchanged, since clients edit the session
    they were given. Whatever model is named, the call's own goes on answering: stock clients
    name OpenAI's in every update, and their tools and instructions must not be lost with it.
    Raises `ProtocolError`, whose `param` starts with ``session.``.
    """
    given = dict(an_object(patch, "session"))
    if (kind := given.pop("type", None)) is not None:
        _KIND(kind, "session.type")
    given.pop("call", None)
    if (model := given.pop("model", None)) is not None:
        _MODEL_NAME(model, "session.model")
    for name in _SERVER_SET:
        if given.pop(name, None) not in (None, session.get(name)):
            raise invalid(f"session.{name}", "cannot be changed during a call")
    given = SESSION(given, "session")
    audio = given.pop("audio", {})
    heard, spoken = session["audio"]["input"], session["audio"]["output"]
    given_in, given_out = audio.get("input", {}), audio.get("output", {})
    if voice_locked and given_out.get("voice", spoken["voice"]) != spoken["voice"]:
        raise invalid("session.audio.output.voice", "cannot be changed once it has been heard", "cannot_update_voice")
    for name in ("transcription", "noise_reduction"):
        if given_in.get(name) is not None:
            given_in[name] = {**(heard[name] or {}), **given_in[name]}
    if given_in.get("turn_detection") is not None:
        given_in["turn_detection"] = _merge_turn_detection(heard["turn_detection"], given_in["turn_detection"])
    merged = {**session, **given, "audio": {"input": {**heard, **given_in}, "output": {**spoken, **given_out}}}
    _check_size(merged, "session", MAX_SESSION_BYTES, limit="session_bytes")
    return merged


def _check_size(settings: Mapping[str, Any], path: str, max_bytes: int, *, limit: str) -> None:
    """Bound what is stored: as JSON, in which some characters take six bytes each."""
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


def _merge_turn_detection(current: dict[str, Any] | None, given: dict[str, Any]) -> dict[str, Any]:
    path = "session.audio.input.turn_detection"
    named = given.get("type")
    kind = (current or SERVER_VAD)["type"] if named is None else VAD_MODE(named, f"{path}.type")
    base = current if current is not None and current["type"] == kind else VAD_DEFAULTS[kind]
    return {**base, **VAD[kind](given, path)}


# --- reading a session -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How the server finds the caller's turns; both modes in the same terms."""

    mode: Literal["server_vad", "semantic_vad"]
    threshold: float
    """0.0 to 1.0; higher needs louder speech."""
    prefix_padding_ms: int
    silence_duration_ms: int
    create_response: bool
    interrupt_response: bool
    idle_timeout_ms: int | None


def turn_detection(session: Mapping[str, Any]) -> TurnDetection | None:
    """The turn detection in force; None: the caller commits turns by itself."""
    given = session["audio"]["input"]["turn_detection"]
    if given is None:
        return None
    silence_ms = EAGERNESS_SILENCE_MS.get(given.get("eagerness", ""), SERVER_VAD["silence_duration_ms"])
    return TurnDetection(
        mode=given["type"],
        threshold=given.get("threshold", SERVER_VAD["threshold"]),
        prefix_padding_ms=given.get("prefix_padding_ms", SERVER_VAD["prefix_padding_ms"]),
        silence_duration_ms=given.get("silence_duration_ms", silence_ms),
        create_response=given["create_response"],
        interrupt_response=given["interrupt_response"],
        idle_timeout_ms=given.get("idle_timeout_ms"),
    )


def input_format(session: Mapping[str, Any]) -> AudioFormat:
    """What the caller sends."""
    return FORMATS[session["audio"]["input"]["format"]["type"]]


def wants_audio(session: Mapping[str, Any]) -> bool:
    """Whether replies are spoken."""
    return "audio" in session["output_modalities"]


def transcription_on(session: Mapping[str, Any]) -> bool:
    """Whether the caller wants to be told what was understood."""
    return session["audio"]["input"]["transcription"] is not None


# --- one response ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResponseSettings:
    """What holds for one response: the session's settings under those of its `response.create`."""

    output_modalities: list[str]
    instructions: str
    voice: str
    output_format: AudioFormat
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    max_output_tokens: int | str
    """1 to 4096, or ``inf``."""
    truncation: str | dict[str, Any]
    """What a long conversation is cut to: ``auto``, ``disabled`` or a ``retention_ratio``."""
    metadata: dict[str, str] | None
    in_conversation: bool
    """False: the response stays outside the conversation (``conversation: "none"``)."""
    input_items: list[dict[str, Any]] | None
    """What to answer instead of the conversation, as items and ``item_reference``; None: the conversation."""

    @property
    def wants_audio(self) -> bool:
        """Whether the reply is spoken."""
        return "audio" in self.output_modalities


def check_response(params: Mapping[str, Any]) -> dict[str, Any]:
    """The ``response`` object of a `response.create` ({} if absent) as it is kept.

    Raises `ProtocolError`, whose `param` starts with ``response.``.
    """
    if not params:
        return {}
    given: dict[str, Any] = RESPONSE(params, "response")
    _check_size(given, "response", MAX_RESPONSE_BYTES, limit="response_bytes")
    return given


def response_settings(session: Mapping[str, Any], params: Mapping[str, Any]) -> ResponseSettings:
    """Check `params` as `check_response` does, and fill in the rest."""
    return settings_under(session, check_response(params))


def settings_under(session: Mapping[str, Any], given: Mapping[str, Any]) -> ResponseSettings:
    """What holds for a response: `given`, which `check_response` passed, and the session's settings for the rest."""
    own = given.get("audio", {}).get("output", {})
    spoken = session["audio"]["output"]

    def effective(name: str) -> Any:
        return given[name] if name in given else session[name]

    return ResponseSettings(
        output_modalities=effective("output_modalities"),
        instructions=effective("instructions"),
        voice=own.get("voice", spoken["voice"]),
        output_format=FORMATS[own.get("format", spoken["format"])["type"]],
        tools=effective("tools"),
        tool_choice=effective("tool_choice"),
        parallel_tool_calls=given.get("parallel_tool_calls", session.get("parallel_tool_calls", True)),
        max_output_tokens=effective("max_output_tokens"),
        truncation=session["truncation"],
        metadata=given.get("metadata"),
        in_conversation=given.get("conversation", "auto") == "auto",
        input_items=given.get("input"),
    )
