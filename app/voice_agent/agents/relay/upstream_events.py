"""What an upstream says, as far as a relay heeds it: its messages as events, checked.

`read` takes any message and gives an event, None for one that says nothing to a relay, or raises `InvalidMessage`.
Names of the protocol before its general availability, which some servers still speak, are taken as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pybase64

MAX_ID_CHARS = 256
"""Of ids that an upstream gives: stops one from filling memory with names."""

MAX_FUNCTION_CHARS = 64
"""Of the name of a function: what providers take."""
MAX_RATE_LIMITS_BYTES = 4 * 1024
"""As JSON: they are passed on to the client, which is sent no more than that."""


class InvalidMessage(Exception):
    """An upstream sent what is no event of the protocol."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"The upstream sent {self.what}."


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The connection can be used."""

    expires_at_s: float | None
    """Wall clock; None: it does not say."""
    is_exact: bool
    """It says each piece of a text right before the audio that says it, as this server does."""


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """Something that was asked of it was refused, or it broke."""

    code: str
    message: str
    about: str
    """The ``event_id`` of what was refused; ""."""


@dataclass(frozen=True, slots=True)
class AudioCommitted:
    """The audio that was appended is an item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class CallerTranscribed:
    """What the caller said in an item; None: it was not understood."""

    item_id: str
    text: str | None


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """It begins to answer."""

    response_id: str


@dataclass(frozen=True, slots=True)
class ItemBegun:
    """An item of a response."""

    response_id: str
    item_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of what it says or writes."""

    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """More of its voice."""

    response_id: str
    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioEnded:
    """No more of its voice comes for what it has said."""

    response_id: str


@dataclass(frozen=True, slots=True)
class FunctionCalled:
    """It wants a function to be run."""

    response_id: str
    item_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """An answer is over."""

    response_id: str
    status: str
    reason: str
    """Why it is not complete; ""."""
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is left of what it allows."""

    limits: list[dict[str, Any]]


UpstreamEvent = (
    SessionCreated
    | UpstreamError
    | AudioCommitted
    | CallerTranscribed
    | ResponseCreated
    | ItemBegun
    | TextDelta
    | AudioDelta
    | AudioEnded
    | FunctionCalled
    | ResponseDone
    | RateLimits
)


def read(message: str | bytes) -> UpstreamEvent | None:
    """What a message says. Raises `InvalidMessage`."""
    try:
        event = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage("what is no JSON") from error
    if not isinstance(event, dict):
        raise InvalidMessage("what is no object")
    reader = _READERS.get(_text(event, "type"))
    return None if reader is None else reader(event)


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = body.get(name, default)
    if found is None and default is not None:
        return default
    if not isinstance(found, str):
        raise InvalidMessage(f"an event whose {name!r} is no text")
    return found


def _id(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = _text(body, name, default)
    if len(found) > MAX_ID_CHARS:
        raise InvalidMessage(f"a {name!r} of {len(found)} characters")
    return found


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidMessage(f"an event whose {name!r} is no object")
    return found


def _session(event: Mapping[str, Any]) -> UpstreamEvent:
    session = _object(event, "session")
    expires_at = session.get("expires_at")
    expires_at_s = float(expires_at) if isinstance(expires_at, int | float) and expires_at > 0 else None
    return SessionCreated(expires_at_s, is_exact=isinstance(session.get("call"), dict))


def _error(event: Mapping[str, Any]) -> UpstreamEvent:
    error = _object(event, "error")
    code = _text(error, "code", "") or _text(error, "type", "")
    return UpstreamError(code[:MAX_ID_CHARS], _text(error, "message", ""), _text(error, "event_id", "")[:MAX_ID_CHARS])


def _committed(event: Mapping[str, Any]) -> UpstreamEvent:
    return AudioCommitted(_id(event, "item_id"))


def _transcribed(event: Mapping[str, Any]) -> UpstreamEvent:
    return CallerTranscribed(_id(event, "item_id"), _text(event, "transcript"))


def _not_transcribed(event: Mapping[str, Any]) -> UpstreamEvent:
    return CallerTranscribed(_id(event, "item_id"), None)


def _created(event: Mapping[str, Any]) -> UpstreamEvent:
    return ResponseCreated(_id(_object(event, "response"), "id"))


def _item_added(event: Mapping[str, Any]) -> UpstreamEvent:
    item = _object(event, "item")
    return ItemBegun(_id(event, "response_id"), _id(item, "id"), _id(item, "type"))


def _item_done(event: Mapping[str, Any]) -> UpstreamEvent | None:
    item = _object(event, "item")
    if item.get("type") != "function_call":
        return None
    name, arguments = _id(item, "name"), _text(item, "arguments")
    if not 0 < len(name) <= MAX_FUNCTION_CHARS:
        raise InvalidMessage(f"the name of a function of {len(name)} characters")
    return FunctionCalled(_id(event, "response_id"), _id(item, "id"), _id(item, "call_id"), name, arguments)


def _text_delta(event: Mapping[str, Any]) -> UpstreamEvent:
    return TextDelta(_id(event, "response_id"), _id(event, "item_id", ""), _text(event, "delta"))


def _audio_delta(event: Mapping[str, Any]) -> UpstreamEvent:
    try:
        audio: bytes = pybase64.b64decode(_text(event, "delta"), None, True)
    except ValueError as error:
        raise InvalidMessage("audio that is no base64") from error
    return AudioDelta(_id(event, "response_id"), _id(event, "item_id", ""), audio)


def _audio_ended(event: Mapping[str, Any]) -> UpstreamEvent:
    return AudioEnded(_id(event, "response_id"))


def _done(event: Mapping[str, Any]) -> UpstreamEvent:
    response = _object(event, "response")
    details = _object(response, "status_details")
    reason = _text(details, "reason", "") or _text(_object(details, "error"), "code", "")
    status = _text(response, "status", "completed")
    usage = dict(_object(response, "usage"))
    for name in ("input_token_details", "output_token_details"):
        usage[name] = _object(usage, name)
    return ResponseDone(_id(response, "id"), status, reason[:MAX_ID_CHARS], usage)


def _limits(event: Mapping[str, Any]) -> UpstreamEvent | None:
    limits = event.get("rate_limits")
    if not isinstance(limits, list) or not all(isinstance(one, dict) for one in limits):
        raise InvalidMessage("rate limits that are no list of objects")
    return RateLimits(limits) if len(orjson.dumps(limits)) <= MAX_RATE_LIMITS_BYTES else None


_READERS: Mapping[str, Callable[[Mapping[str, Any]], UpstreamEvent | None]] = {
    "session.created": _session,
    "error": _error,
    "input_audio_buffer.committed": _committed,
    "conversation.item.input_audio_transcription.completed": _transcribed,
    "conversation.item.input_audio_transcription.failed": _not_transcribed,
    "response.created": _created,
    "response.output_item.added": _item_added,
    "response.output_item.done": _item_done,
    "response.output_text.delta": _text_delta,
    "response.output_audio_transcript.delta": _text_delta,
    "response.output_audio.delta": _audio_delta,
    "response.output_audio.done": _audio_ended,
    "response.done": _done,
    "rate_limits.updated": _limits,
    # Before general availability:
    "response.text.delta": _text_delta,
    "response.audio_transcript.delta": _text_delta,
    "response.audio.delta": _audio_delta,
    "response.audio.done": _audio_ended,
}
