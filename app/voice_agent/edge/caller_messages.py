"""What a caller sends, one message at a time: all but plain appends get an id of the edge's, and a number."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple

import orjson
import pybase64

from voice_agent.edge.appends import APPEND, client_frame, plain_audio_bytes
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.long_messages import LongMessage
from voice_agent.protocol.realtime import LARGE_MESSAGE, MAX_COMMAS
from voice_agent.websocket.frame_reader import LARGE_TEXT_BYTES

CHECKED_CHARS = 256 * 1024
"""Of base64: more is measured by its length alone. Where it turns out to be none, the pod's error names its id."""
MAX_JSON_BYTES = 4 * 1024 * 1024
"""Of a message besides base64. A pod has no use for a quarter of that, but would take an append with it; to read it
would hold up every other caller."""


class TooMuchJson(Exception):
    """An append whose audio cannot be counted without reading too much."""

    def __init__(self) -> None:
        super().__init__(f"over {MAX_JSON_BYTES} bytes besides base64 in an append")


class MessageKind(Enum):
    """What is kept of a message until it is durable."""

    AUDIO = auto()
    EVENT = auto()
    NOTHING = auto()
    """What means nothing to another pod, or has no id by which it would take effect once."""


class CallerMessage(NamedTuple):
    """As it goes to the pod."""

    kind: MessageKind
    frame: bytes
    number: int
    """Of the edge's id; 0 without one."""
    audio_bytes: int = 0


class CallerMessages:
    """One caller's connection's."""

    def __init__(self, ids: EventIds, *, wants_received: bool) -> None:
        self.ids = ids
        self.wants_received = wants_received
        """Whether the caller itself asked for `call.received`."""
        self._updates: list[int] = []
        """Numbers of the `session.update`s that the pod has not answered, oldest first."""

    def read(self, message: str | bytes) -> CallerMessage:
        """What a message is, with an id in it that is the edge's. Raises `TooMuchJson`.

        An append and nothing else has none, as where it comes alone: each id is one more that pods have to remember,
        in the store too, and read again at every resume.
        """
        text = message.encode() if isinstance(message, str) else message
        if isinstance(message, str) and (size := plain_audio_bytes(text)) is not None:
            return CallerMessage(MessageKind.AUDIO, client_frame(text), 0, size)
        long = LongMessage(text)
        if len(long.json) > MAX_JSON_BYTES and APPEND.encode() in long.json:
            raise TooMuchJson
        event = _event_in(long.json)
        if event is None or event.get("type") == "call.acknowledge":
            return _said_once(message)
        number, own = self.ids.next(event.pop("event_id", None) or None)
        kind = event.get("type")
        try:
            frame = client_frame(long.whole(orjson.dumps({"event_id": own, **event})))
        except TypeError:
            return _said_once(message)  # Nested more deeply than can be written.
        if kind == APPEND:
            return CallerMessage(MessageKind.AUDIO, frame, number, _audio_bytes(event.get("audio"), long))
        if kind == "session.update":
            self._updates.append(number)
        return CallerMessage(MessageKind.EVENT, frame, number)

    def update_taken(self) -> int:
        """A `session.update` took effect: its number; 0 if none is known to be under way."""
        return self._updates.pop(0) if self._updates else 0

    def update_refused(self, number: int) -> None:
        """An event was refused; if it was a `session.update`, it takes no effect."""
        if number in self._updates:
            self._updates.remove(number)


def _said_once(message: str | bytes) -> CallerMessage:
    """As it came, and never again."""
    return CallerMessage(MessageKind.NOTHING, unchanged(message), 0)


def _event_in(text: bytes) -> dict[str, Any] | None:
    """What gets an id; None for what the pod will refuse as it is, and for what it would take too long to read."""
    if len(text) > MAX_JSON_BYTES or (len(text) > LARGE_MESSAGE and text.count(b",") > MAX_COMMAS):
        return None
    try:
        event: Any = orjson.loads(text)
        if not isinstance(event, dict) or not isinstance(event.get("event_id", ""), str | None):
            return None
    except orjson.JSONDecodeError:
        return None
    return event


def unchanged(message: str | bytes) -> bytes:
    """The frame of a message as it came, text as text, binary as binary."""
    if isinstance(message, str):
        return client_frame(message.encode())
    return client_frame(message, is_binary=len(message) <= LARGE_TEXT_BYTES or not _is_utf8(message))


def _is_utf8(message: str | bytes) -> bool:
    if isinstance(message, bytes):
        try:
            message.decode()
        except UnicodeDecodeError:
            return False
    return True


def _audio_bytes(audio: Any, long: LongMessage) -> int:
    """How much the pod will count of an append."""
    if not isinstance(audio, str):
        return 0
    if (length := long.length(audio)) > CHECKED_CHARS:
        return length // 4 * 3 - audio[-2:].count("=")
    try:
        return len(pybase64.b64decode(audio, None, True))
    except ValueError:
        return 0
