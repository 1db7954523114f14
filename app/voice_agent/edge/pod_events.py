"""What the edge has to know of a pod's events: their numbers, and the few that concern it.

An event goes to the caller in the frame in which it came. Its number stands at a fixed place, and so does its type;
only errors, greetings, other events of the session and the pod's messages to the edge are read as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from voice_agent.call.event_ids import PREFIX
from voice_agent.websocket.frames import payload_start

_START = f'{{"event_id":"{PREFIX}'.encode()
_TYPE = b'","type":"'
READ = (b"error", b"session.")
"""How types of events begin that are read."""


def number_of(frame: bytes) -> int | None:
    """The number of an event that goes to the caller as it came; None for what has to be read first."""
    at = payload_start(frame)
    if not frame.startswith(_START, at):
        return None
    start = at + len(_START)
    end = frame.find(b'"', start, start + 17)
    kind = end + len(_TYPE)
    if end < 0 or not frame.startswith(_TYPE, end) or frame.startswith(READ, kind):
        return None
    return int(frame[start:end])


def newest_if_new(frames: Sequence[bytes], newest: int) -> int:
    """The number of the last event; 0 unless all go to the caller as they came, each newer than the one before."""
    for frame in frames:
        number = number_of(frame)
        if number is None or number <= newest:
            return 0
        newest = number
    return newest


def event_in(frame: bytes) -> dict[str, Any] | None:
    """The event as an object; None if it is none."""
    try:
        event = orjson.loads(frame[payload_start(frame) :])
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def event_number(event: dict[str, Any]) -> int | None:
    """The number in an event's id; None for an event of another server."""
    event_id = event.get("event_id")
    if not isinstance(event_id, str) or not event_id.startswith(PREFIX):
        return None
    number = event_id.removeprefix(PREFIX)
    return int(number) if number.isascii() and number.isdecimal() else None
