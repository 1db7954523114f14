"""Messages that take long: a slice of their work in one turn of the event loop, then the other callers have theirs.

A long append is heard as the short ones would be that carry the same audio: piece by piece, in order, before the
caller's next message. What is wrong with it is found before any of it is taken, and its `event_id` takes effect with
the last piece. If the connection is closed meanwhile the rest is dropped; the input position says how far it got. The
audio of a new item is stored piece by piece too, and then the item is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from voice_agent.call import machine
from voice_agent.call.inputs import (
    AppendAudio,
    AppendItemAudio,
    CreateItem,
    CreateResponse,
    FromCaller,
    Input,
    InvalidEvent,
    UpdateSession,
)
from voice_agent.call.record import CallRecord
from voice_agent.errors import ProtocolError
from voice_agent.protocol.realtime import MAX_EVENT_ID_CHARS, Long, parse_long

_FIRST_ID = re.compile(r'\{"event_id":"([^"\\]+)"')
LONG_MESSAGE = 32 * 1024
"""Characters of a message that is taken in slices: half a second of PCM, three seconds of G.711."""
GROWS = (AppendAudio, CreateItem, CreateResponse, UpdateSession)
"""What makes the pod hold more; everything else is taken however much the call holds."""


class ReservedMemory(Protocol):
    """What the call holds; see `call_memory`."""

    incoming_bytes: int
    """Audio of the message that is being taken, as far as the call does not hold it yet: room for it is kept."""

    def reserve(self, more_bytes: int) -> ProtocolError | None:
        """What is wrong with holding so many bytes more; None: nothing, and they count from now on."""


class ReceivingCall(Protocol):
    """A live call, as far as this needs it."""

    call: CallRecord

    @property
    def memory(self) -> ReservedMemory:
        """Where the message's bytes are counted."""

    def receive_event(self, event: FromCaller) -> None:
        """Let a client event take effect."""

    def feed(self, event: Input) -> None:
        """Let something happen to the call."""


def receive_in_slices(live: ReceivingCall, message: str | bytes, *, max_audio_bytes: int) -> Iterator[None]:
    """Take a message; each step of the iterator is a slice of the work."""
    is_long = len(message) > LONG_MESSAGE
    audio_bytes = len(message) * 3 // 4
    if is_long and (too_much := live.memory.reserve(audio_bytes)) is not None:
        live.feed(InvalidEvent(too_much, _id_in_front(message)))
        return
    reservation = _Reservation(live, audio_bytes if is_long else 0)
    try:
        found = yield from parse_long(message, max_audio_bytes=max_audio_bytes)
        if not is_long and isinstance(found, GROWS) and (too_much := live.memory.reserve(len(message))) is not None:
            live.feed(InvalidEvent(too_much, found.event_id, isinstance(found, AppendAudio)))
        elif isinstance(found, Long):
            yield from _take_pieces(live, found, reservation)
        else:
            live.receive_event(found)
    finally:
        reservation.keep(0)


def _id_in_front(message: str | bytes) -> str | None:
    """The event's id if it is the first thing in a message that is not parsed; None if it is not."""
    start = message[:MAX_EVENT_ID_CHARS]
    found = _FIRST_ID.match(start if isinstance(start, str) else start.decode(errors="replace"))
    return found[1] if found is not None else None


class _Reservation:
    """What is kept of the call's `incoming_bytes` for one message.

    Another one may be taken meanwhile: the rest of a message whose connection was replaced is released later.
    """

    def __init__(self, live: ReceivingCall, size_bytes: int) -> None:
        self._live = live
        self.size_bytes = 0
        self.keep(size_bytes)

    def keep(self, size_bytes: int) -> None:
        """So much from now on."""
        self._live.memory.incoming_bytes += size_bytes - self.size_bytes
        self.size_bytes = size_bytes


def _take_pieces(live: ReceivingCall, long: Long, reservation: _Reservation) -> Iterator[None]:
    event, call = long.event, live.call
    event_id = event.event_id
    if event_id is not None and call.client_events.is_resent(event_id):
        live.feed(AppendAudio(b"", event_id) if isinstance(event, AppendAudio) else event)  # Nothing of it is taken.
        return
    refused = machine.refusal(call, event, long.size_bytes)
    if refused is not None:
        live.feed(InvalidEvent(refused, event_id, isinstance(event, AppendAudio)))
    elif isinstance(event, AppendAudio):
        left_bytes = long.size_bytes
        for piece in long.pieces():
            yield
            left_bytes -= len(piece)
            reservation.keep(left_bytes)
            live.receive_event(AppendAudio(piece, None if left_bytes else event_id))
    else:
        for piece in long.pieces():
            yield
            reservation.keep(reservation.size_bytes - len(piece))
            live.feed(AppendItemAudio(event.item.get("id"), piece))
        yield
        live.feed(CreateItem(event.item, b"", event.previous_item_id, event_id, audio_appended=True))
