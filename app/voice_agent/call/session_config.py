"""A session as the call keeps it, and how it is read.

The shape is that of the OpenAI Realtime (GA) protocol, ``RealtimeSessionCreateRequest`` in the official SDK. A session
is a plain JSON object that is never changed in place: `session.merge_session` makes a new one. All other modules read
it through the functions below. ``docs/protocol.md`` says of each field what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from voice_agent.call.audio import FORMATS, PCM, AudioFormat

SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
    "idle_timeout_ms": None,
}
SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
EAGERNESS_SILENCE_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}
"""How much silence ends a turn under `semantic_vad` when nothing is known of what was said."""
FINISHED_SILENCE_MS = {"low": 800, "medium": 320, "auto": 320, "high": 240}
"""… when it was a finished sentence."""
UNFINISHED_SILENCE_MS = {"low": 3000, "medium": 1800, "auto": 1800, "high": 1000}
"""… when it surely goes on. Also the longest that a caller who is cut off by their microphone waits."""
VAD_DEFAULTS = {"server_vad": SERVER_VAD, "semantic_vad": SEMANTIC_VAD}


def new_session(
    call_id: str, model: str, voice: str, *, expires_at_s: int, turn_detection: str = "server_vad"
) -> dict[str, Any]:
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
                "turn_detection": dict(VAD_DEFAULTS[turn_detection]),
            },
            "output": {"format": PCM.as_json(), "voice": voice, "speed": 1.0},
        },
        "include": None,
    }


# --- reading a session -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How the server finds the caller's turns; both modes in the same terms."""

    mode: Literal["server_vad", "semantic_vad"]
    threshold: float
    """0.0 to 1.0; higher needs louder speech."""
    prefix_padding_ms: int
    silence_duration_ms: int
    finished_silence_ms: int
    unfinished_silence_ms: int
    """Under `semantic_vad`, what holds in place of it once it is known what was said; else the same."""
    create_response: bool
    interrupt_response: bool
    idle_timeout_ms: int | None


def turn_detection(session: Mapping[str, Any]) -> TurnDetection | None:
    """The turn detection in force; None: the caller commits turns by itself."""
    given = session["audio"]["input"]["turn_detection"]
    if given is None:
        return None
    eagerness = given.get("eagerness", "")
    silence_ms = given.get(
        "silence_duration_ms", EAGERNESS_SILENCE_MS.get(eagerness, SERVER_VAD["silence_duration_ms"])
    )
    return TurnDetection(
        mode=given["type"],
        threshold=given.get("threshold", SERVER_VAD["threshold"]),
        prefix_padding_ms=given.get("prefix_padding_ms", SERVER_VAD["prefix_padding_ms"]),
        silence_duration_ms=silence_ms,
        finished_silence_ms=FINISHED_SILENCE_MS.get(eagerness, silence_ms),
        unfinished_silence_ms=UNFINISHED_SILENCE_MS.get(eagerness, silence_ms),
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


def spoken_language(fields: Mapping[str, Any]) -> str:
    """What the caller speaks, where the client says it; else ""."""
    return (fields["audio"]["input"]["transcription"] or {}).get("language") or ""


def transcription_prompt(fields: Mapping[str, Any]) -> str:
    """What the client says may be said: its prompt, and its keywords behind it; else ""."""
    asked = fields["audio"]["input"]["transcription"] or {}
    return " ".join(part for part in (asked.get("prompt"), ", ".join(asked.get("keywords") or ())) if part)


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
    speed: float
    """Of the voice: 0.25 to 1.5, of which 1.0 is normal."""
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


def settings_under(session: Mapping[str, Any], given: Mapping[str, Any]) -> ResponseSettings:
    """What holds for a response: what `given` (`protocol.session_fields.Response`) says, the session for the rest."""
    own = given.get("audio", {}).get("output", {})
    spoken = session["audio"]["output"]

    def effective(name: str) -> Any:
        return given[name] if name in given else session[name]

    return ResponseSettings(
        output_modalities=effective("output_modalities"),
        instructions=effective("instructions"),
        voice=own.get("voice", spoken["voice"]),
        output_format=FORMATS[own.get("format", spoken["format"])["type"]],
        speed=spoken["speed"],
        tools=effective("tools"),
        tool_choice=effective("tool_choice"),
        parallel_tool_calls=given.get("parallel_tool_calls", session.get("parallel_tool_calls", True)),
        max_output_tokens=effective("max_output_tokens"),
        truncation=session["truncation"],
        metadata=given.get("metadata"),
        in_conversation=given.get("conversation", "auto") == "auto",
        input_items=given.get("input"),
    )


# --- the session in force --------------------------------------------------


class SessionConfig:
    """The session in force, and what is read of it for every frame or chunk."""

    __slots__ = (
        "_effective",
        "fields",
        "input_format",
        "size_bytes",
        "turn_detection",
        "unsaved_bytes",
        "voice_locked",
    )

    def __init__(self, fields: dict[str, Any], *, voice_locked: bool = False) -> None:
        self.voice_locked = voice_locked
        """The caller has heard the voice, so it must not change."""
        self.unsaved_bytes = 0
        """What of it the next write carries."""
        self._effective: tuple[dict[str, Any], Mapping[str, Any], ResponseSettings] | None = None
        self.use(fields)

    def use(self, fields: dict[str, Any]) -> None:
        """Go on under these settings."""
        self.fields = fields
        self.size_bytes = len(orjson.dumps(fields))
        """As it is stored."""
        self.turn_detection = turn_detection(fields)
        """None: the client commits turns itself."""
        self.input_format = input_format(fields)
        """Format of the caller's audio."""

    def under(self, params: Mapping[str, Any]) -> ResponseSettings:
        """What holds for a response: these settings under those of its `response.create`.

        Made once for both, which are never changed in place.
        """
        known = self._effective
        if known is None or known[0] is not self.fields or known[1] is not params:
            known = self._effective = (self.fields, params, settings_under(self.fields, params))
        return known[2]
