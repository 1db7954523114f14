"""Whether what an agent yields is part of a reply: what is not must be known before any of it is durable."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import orjson

from voice_agent.agents.base import Audio, FunctionCall, HangUp, Plan, ResponsePart, Text
from voice_agent.call.audio import AudioFormat


class NoResponsePart(Exception):
    """An agent yielded what nothing can be done with."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The agent yielded {what}.")


def checked(part: object) -> ResponsePart:
    """`part` as it will be, on this pod and on another. Raises `NoResponsePart`."""
    match part:
        case Text(str() as delta):
            _encodable(delta)
            return part
        case Audio(bytes() | bytearray() | memoryview() as audio, AudioFormat() as audio_format, words):
            if len(audio) % audio_format.sample_bytes:
                raise NoResponsePart(f"{len(audio)} bytes of {audio_format.name}, which is no whole number of samples")
            return Audio(bytes(audio), audio_format, _ascending(words))
        case Plan(plan, state):
            return Plan(_kept(plan, "plan"), _kept(state, "state"))
        case FunctionCall(str() as name, str() as arguments):
            _encodable(name + arguments)
            return part
        case HangUp():
            return part
        case _:
            raise NoResponsePart(
                f"{type(part).__name__} {part!r:.80}, which is no part of a reply or holds what is none"
            )


def json_of(value: Any, what: str) -> Any:
    """`value` as the record gives it back. Raises `NoResponsePart` for what does not survive JSON."""
    try:
        return orjson.loads(orjson.dumps(value))
    except (TypeError, ValueError) as error:
        raise NoResponsePart(f"a {what} that does not survive JSON: {error}") from error


def _kept(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise NoResponsePart(f"a {what} of type {type(value).__name__}, not a mapping")
    kept: dict[str, Any] = json_of(dict(value), what)
    return kept


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoResponsePart(f"text that is no Unicode: {error}") from error


def _ascending(words: Any) -> list[list[int]]:
    try:
        kept = [[int(ms), int(chars)] for ms, chars in words]
    except (TypeError, ValueError) as error:
        raise NoResponsePart(f"words that are no [milliseconds, characters]: {error}") from error
    if any(after[0] < before[0] or after[1] < before[1] for before, after in pairwise([[0, 0], *kept])):
        raise NoResponsePart("words that do not ascend")
    return kept
