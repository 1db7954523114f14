"""Server-sent events (HTML standard, section 9.2), out of bytes that come in any pieces.

Lines end with CR, LF or both, and with nothing else: text of a model holds U+2028 and U+0085, at which `str.splitlines`
would cut. Bounded: a line or an event that never ends is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 1 << 20
"""Of one event, its names and comments included: stops a stream without an end of line from filling memory."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """An event has more than `MAX_EVENT_BYTES`."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. `data`: its lines joined by LF."""

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """One stream's. What the stream ends in, without an empty line behind it, is no event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._rest = bytearray()
        self._searched = 0
        """Up to here the rest holds no end of line."""
        self._first = True
        self._data: list[str] = []
        self._event = ""
        self._id = ""
        self._event_bytes = 0

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that are complete with this piece; to be read to its end. Raises `EventTooLong`."""
        self._rest += piece
        begin = 0
        while (end := _LINE_END.search(self._rest, max(begin, self._searched))) is not None:
            if end[0] == b"\r" and end.end() == len(self._rest):
                break  # A LF may follow.
            line = bytes(self._rest[begin : end.start()])
            begin = self._searched = end.end()
            found = self._line(line)
            if found is not None:
                yield found
        del self._rest[:begin]
        # A CR at the very end is looked at again.
        self._searched = max(0, len(self._rest) - 1)
        if self._event_bytes + len(self._rest) > self._max_bytes:
            raise EventTooLong(f"an event has over {self._max_bytes} bytes")

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._end()
        self._event_bytes += len(line) + 1
        if self._event_bytes > self._max_bytes:
            raise EventTooLong(f"an event has over {self._max_bytes} bytes")
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case _:
                pass  # A comment, `retry`, or what is not known.
        return None

    def _end(self) -> ServerSentEvent | None:
        found = None
        if self._data:
            found = ServerSentEvent("\n".join(self._data), self._event or "message", self._id)
        self._data, self._event, self._event_bytes = [], "", 0
        return found
