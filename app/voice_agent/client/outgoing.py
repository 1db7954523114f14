"""What a caller sends, in order, and again where the server lost it.

`ClientLine` keeps it with positions in bytes; here it gets ids and numbers, and goes out. What a server tells of it
(an append refused, another input format, how much is durable) has to be told in the order in which it came.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from secrets import token_hex
from typing import Any, NamedTuple

import orjson

from voice_agent.call.audio import AudioFormat
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS
from voice_agent.client.appends import append_message, tail_of
from voice_agent.client.client_line import ClientLine

KEPT_MS = 30_000
"""So much of what was said is kept where the server does not tell what of it is durable."""
SPARE_MS = 10_000
"""And so much of what is durable: the store's newest writes may be lost with one of its machines."""
MAX_KEPT_BYTES = 24 * 1024 * 1024
"""Beyond it the oldest is let go, durable or not: five minutes of 24 kHz PCM, which is as long as a turn may be."""


class Rewound(NamedTuple):
    """What a resume made necessary."""

    again_ms: int
    """Audio that will be sent once more."""
    lost_ms: int
    """Audio that the server does not have and that is no longer kept."""


class Outgoing:
    """One call's. Pure: it never sends, it only knows what comes next."""

    def __init__(self, audio_format: AudioFormat, *, name: str) -> None:
        """`name` begins the ids of client events; "" makes one that no other client has."""
        self.format = audio_format
        """In which positions count."""
        self.is_told = False
        """Whether the server tells what of it is durable."""
        self._name = name or f"client_{token_hex(4)}_"
        self._newest = 0
        """Number of the newest event."""
        self._line = ClientLine(tail_of)
        self._unsent: deque[bytes] = deque()
        self._is_paused = False
        self._numbers: OrderedDict[str, int] = OrderedDict()
        """Of events, by their ids."""
        self._updates: deque[int] = deque()
        """Numbers of the `session.update`s that are not answered, oldest first."""

    # --- what is sent -------------------------------------------------------------

    def add(self, event: dict[str, Any]) -> None:
        """A client event. It gets an id if it has none."""
        self._newest += 1
        event_id = event.get("event_id") or f"{self._name}{self._newest}"
        self._numbers.setdefault(event_id, self._newest)
        if event.get("type") == "session.update":
            self._updates.append(self._newest)
        message = orjson.dumps({**event, "event_id": event_id})
        self._line.add_event(message, self._newest)
        self._queue(message)

    def append_audio(self, audio: bytes) -> None:
        """Audio, in the call's input format."""
        message = append_message(audio)
        self._line.add_audio(message, len(audio))
        self._queue(message)

    def tell(self, event: dict[str, Any]) -> None:
        """What is said to this connection alone."""
        if not self._is_paused:
            self._unsent.append(orjson.dumps(event))

    @property
    def appended_ms(self) -> int:
        """Position of the end of the caller's audio, as the server counts it."""
        return self.format.ms(self._line.end)

    @property
    def has_unsent(self) -> bool:
        """Whether `next_message` would give something."""
        return bool(self._unsent)

    def next_message(self) -> str | None:
        """The next text to send, in order; None when all is sent."""
        return self._unsent.popleft().decode() if self._unsent else None

    # --- connections ----------------------------------------------------------------

    def begin_at(self, position: int) -> None:
        """The server has so much audio from somebody else; what was said already stands behind that."""
        self._line.begin_at(position)

    def pause(self) -> None:
        """Send nothing until `rewind`, which is told what the server has."""
        self._is_paused = True
        self._unsent.clear()

    def rewind(self, position: int, last_event_id: str | None) -> Rewound:
        """Go back to what the server has: so much audio, and the events up to `last_event_id`.

        An id that is None or unknown rewinds to the oldest event kept; a server ignores those it remembers.
        """
        newest = self._number(last_event_id)
        rewound = self._line.rewind(position, newest)
        self._updates = deque(update for update in self._updates if update > newest)
        self._unsent = deque(rewound.frames)
        self._is_paused = False
        return Rewound(self.format.ms(self._line.end - position), self.format.ms(rewound.lost_bytes))

    # --- what the server tells of it --------------------------------------------------

    def received(self, position: int, last_event_id: str | None) -> None:
        """So much audio, and the events up to `last_event_id`, are durable."""
        self._forget(position - self.format.size(SPARE_MS), self._number(last_event_id))

    def refused(self, error: dict[str, Any]) -> None:
        """What was refused takes no effect: the bytes of an append do not count."""
        at_bytes = error.get("input_audio_bytes")
        if at_bytes is not None:
            self._line.refused_at(at_bytes)
        elif (refused := self._number(error.get("event_id"))) in self._updates:
            self._updates.remove(refused)

    def session_updated(self, after: AudioFormat) -> None:
        """A `session.update` took effect: positions may count bytes of another format from there."""
        taken = self._updates.popleft() if self._updates else 0
        before, self.format = self.format, after
        if after != before:
            self._line.reformat(taken, lambda at: after.size(before.ms(at)))

    # --- inside -------------------------------------------------------------------------

    def _number(self, event_id: str | None) -> int:
        return self._numbers.get(event_id or "", 0)

    def _queue(self, message: bytes) -> None:
        if not self._is_paused:
            self._unsent.append(message)
        if not self.is_told:
            self._forget(self._line.end - self.format.size(KEPT_MS), self._newest)
        self._line.forget(MAX_KEPT_BYTES)

    def _forget(self, position: int, newest: int) -> None:
        """Keep no audio before `position`, and no event up to `newest` but the last that a server remembers."""
        newest = min(newest, self._newest - REMEMBERED_CLIENT_EVENTS)
        self._line.received(position, newest)
        while self._numbers and next(iter(self._numbers.values())) <= newest:
            self._numbers.popitem(last=False)
