"""The ids of a call's server events: ``evt_`` and the event's number.

The first event of a call is ``evt_1``; ``evt_0`` is the position before it. Nothing else makes or reads these ids.
"""

from __future__ import annotations

import re

MAX_EVENT_NUMBER = 2**53
"""What every client can hold: a number of JSON is a double there."""
PREFIX = "evt_"
_EVENT_ID = re.compile(PREFIX + r"(0|[1-9][0-9]{0,15})")


def event_id(number: int) -> str:
    """The id of a call's event."""
    return f"{PREFIX}{number}"


def event_number(given: str) -> int | None:
    """The number in an event's id, at most `MAX_EVENT_NUMBER`; None if it is no such id."""
    match = _EVENT_ID.fullmatch(given)
    if match is None or (number := int(match[1])) > MAX_EVENT_NUMBER:
        return None
    return number
