"""What a caller sends besides plain appends: each message gets an id of the edge's, and a number."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Any, NamedTuple

import orjson
import pybase64

from voice_agent.edge.appends import APPEND, client_frame
from voice_agent.edge.event_ids import EventIds

CHECKED_CHARS = 256 * 1024
"""Of base64: more is measured by its length alone. Where it turns out to be none, the pod's error names its id."""


class MessageKind(Enum):
    """What is kept of a message until it is durable."""

    AUDIO = auto()
    EVENT = auto()
    NOTHING = auto()
    """What means nothing to another pod."""


class CallerMessage(NamedTuple):
    """As it goes to the pod."""

    kind: MessageKind
    frame: bytes
    number: int
    audio_bytes: int = 0


class CallerMessages:
    """One caller's connection's."""

    def __init__(self, ids: EventIds, *, wants_received: bool) -> None:
        self.ids = ids
        self.wants_received = wants_received
        """Whether the caller itself asked for `call.received`."""
        self._updates: deque[int] = deque()
        """Numbers of the `session.update`s that the pod has not answered, oldest first."""

    def read(self, message: str | bytes) -> CallerMessage:
        """What a message is, with an id in it that is the edge's."""
        text = message.encode() if isinstance(message, str) else message
        try:
            event: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            event = None
        own = event.get("event_id") if isinstance(event, dict) else 0
        if not isinstance(event, dict) or not (own is None or isinstance(own, str)):
            # It gets its error without an id; whether it got it is known with the next event.
            number, _ = self.ids.next(None)
            return CallerMessage(MessageKind.EVENT, client_frame(text), number)
        kind = event.get("type")
        if kind == "call.acknowledge":
            return CallerMessage(MessageKind.NOTHING, client_frame(text), 0)
        number, event["event_id"] = self.ids.next(own or None)
        frame = client_frame(orjson.dumps(event))
        if kind == APPEND:
            return CallerMessage(MessageKind.AUDIO, frame, number, _audio_bytes(event.get("audio")))
        if kind == "session.update":
            self._updates.append(number)
        return CallerMessage(MessageKind.EVENT, frame, number)

    def update_taken(self) -> int:
        """A `session.update` took effect: its number; 0 if none is known to be under way."""
        return self._updates.popleft() if self._updates else 0

    def update_refused(self, number: int) -> None:
        """An event was refused; if it was a `session.update`, it takes no effect."""
        if number in self._updates:
            self._updates.remove(number)


def _audio_bytes(audio: Any) -> int:
    """How much the pod will count of an append."""
    if not isinstance(audio, str):
        return 0
    if len(audio) > CHECKED_CHARS:
        return len(audio) // 4 * 3 - audio[-2:].count("=")
    try:
        return len(pybase64.b64decode(audio, None, True))
    except ValueError:
        return 0
