"""What a message that is taken in slices weighs, and how much room is kept for it at each moment."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.call.calls import manual_call
from tests.runtime.calls.test_long_messages import append, item
from voice_agent.call import machine
from voice_agent.call.inputs import AppendAudio, AppendItemAudio, CreateItem, FromCaller, Input, InvalidEvent
from voice_agent.errors import ProtocolError
from voice_agent.protocol.realtime import MAX_APPEND_BYTES, SLICE_BYTES
from voice_agent.runtime.calls.long_messages import LONG_MESSAGE, receive_in_slices

NO_ROOM = ProtocolError("No room.", code="server_memory_budget")


class Scale:
    """A call that notes what is to be weighed, and how much room is kept whenever it takes something."""

    def __init__(self, *, has_room: bool = True) -> None:
        self.call = manual_call()
        self.incoming_bytes = 0
        self.memory = self
        self.weighed: list[int] = []
        self.taken: list[tuple[Input, int]] = []
        self._refusal = None if has_room else NO_ROOM

    def receive_event(self, event: FromCaller) -> None:
        """Note it and let it happen."""
        self.feed(event)

    def feed(self, event: Input) -> None:
        """Note it and let it happen."""
        self.taken.append((event, self.incoming_bytes))
        machine.step(self.call, event, 0)

    def reserve(self, more_bytes: int) -> ProtocolError | None:
        """As the test wants."""
        self.weighed.append(more_bytes)
        return self._refusal


def take(scale: Scale, message: str) -> list[int]:
    """Take a message to its end; how much room was kept after each slice."""
    return [scale.incoming_bytes for _ in receive_in_slices(scale, message, max_audio_bytes=MAX_APPEND_BYTES)]


def text(event: dict[str, Any], *, size: int = 0) -> str:
    """A message, made as long as that with spaces that mean nothing."""
    message = orjson.dumps({**event, "event_id": "mine"}).decode()
    return message[:-1] + " " * (size - len(message)) + "}"


TYPED = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
}
CLEAR = {"type": "input_audio_buffer.clear"}


@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize("size", [0, LONG_MESSAGE])
async def test_a_short_message_is_weighed_if_it_makes_the_call_hold_more(size: int, *, has_room: bool) -> None:
    """At its length, after it was read: the error names its event, and what frees memory is always taken."""
    for message, grows in ((TYPED, True), (append(bytes(960)), True), (CLEAR, False)):
        scale = Scale(has_room=has_room)
        take(scale, sent := text(message, size=size))
        assert scale.weighed == [len(sent)] * grows
        [(event, kept)] = scale.taken
        assert isinstance(event, InvalidEvent) is (grows and not has_room)
        assert isinstance(event, FromCaller)
        assert (event.event_id, kept) == ("mine", 0)
        assert scale.incoming_bytes == 0


@pytest.mark.parametrize("event", [append(bytes(LONG_MESSAGE)), item(bytes(LONG_MESSAGE)), CLEAR])
async def test_a_long_message_that_has_no_room_is_not_even_read(event: dict[str, Any]) -> None:
    """Whatever it is: nothing is known of it but its length, of which three quarters may be audio."""
    scale = Scale(has_room=False)
    message = text(event, size=LONG_MESSAGE + 1)
    assert take(scale, message) == []
    assert scale.weighed == [len(message) * 3 // 4]
    assert [event for event, _ in scale.taken] == [InvalidEvent(NO_ROOM)]
    assert scale.incoming_bytes == 0


async def test_a_long_message_without_audio_is_weighed_once() -> None:
    """What is kept for it counts already."""
    scale = Scale()
    take(scale, message := text(TYPED, size=LONG_MESSAGE + 1))
    assert scale.weighed == [len(message) * 3 // 4]
    [(event, _)] = scale.taken
    assert isinstance(event, CreateItem)


AUDIO_BYTES = 5 * SLICE_BYTES - 960


async def test_room_for_a_long_append_is_kept_as_far_as_the_call_does_not_hold_it() -> None:
    """All of it while it is read; piece by piece less."""
    scale = Scale()
    message = orjson.dumps(append(bytes(AUDIO_BYTES))).decode()
    kept = take(scale, message)
    assert scale.weighed == [len(message) * 3 // 4]
    assert kept[0] == len(message) * 3 // 4
    heard_bytes = 0
    for event, room in scale.taken:
        assert isinstance(event, AppendAudio)
        heard_bytes += len(event.audio)
        assert heard_bytes + room == AUDIO_BYTES
    assert heard_bytes == AUDIO_BYTES
    assert scale.incoming_bytes == 0


async def test_room_for_a_long_item_is_kept_as_far_as_it_is_not_stored() -> None:
    """Until the item is there."""
    scale = Scale()
    message = orjson.dumps(item(bytes(AUDIO_BYTES))).decode()
    kept = take(scale, message)
    assert kept[0] == len(message) * 3 // 4
    *pieces, (last, _) = scale.taken
    pending_audio_bytes = 0
    for event, room in pieces:
        assert isinstance(event, AppendItemAudio)
        pending_audio_bytes += len(event.audio)
        assert pending_audio_bytes + room == kept[0]
    assert pending_audio_bytes == AUDIO_BYTES
    assert isinstance(last, CreateItem)
    assert last.audio_appended
    assert scale.incoming_bytes == 0


@pytest.mark.parametrize("abandoned_after", [1, 7])
async def test_room_is_given_back_by_a_message_that_is_not_taken_to_its_end(abandoned_after: int) -> None:
    """The connection was closed meanwhile."""
    scale = Scale()
    slices = receive_in_slices(
        scale, orjson.dumps(append(bytes(AUDIO_BYTES))).decode(), max_audio_bytes=MAX_APPEND_BYTES
    )
    for _ in range(abandoned_after):
        next(slices)
    assert scale.incoming_bytes
    slices.close()  # type: ignore[attr-defined]  # it is a generator
    assert scale.incoming_bytes == 0


async def test_a_message_of_a_connection_that_was_replaced_gives_back_its_own_room() -> None:
    """It is let go while the new connection's message is taken, which goes on to be counted."""
    scale = Scale()
    older, newer = (
        receive_in_slices(scale, orjson.dumps(event).decode(), max_audio_bytes=MAX_APPEND_BYTES)
        for event in (append(bytes(AUDIO_BYTES)), item(bytes(AUDIO_BYTES)))
    )
    next(older)
    before = scale.incoming_bytes
    next(newer)
    kept = scale.incoming_bytes - before
    assert kept >= AUDIO_BYTES
    older.close()  # type: ignore[attr-defined]  # it is a generator
    assert scale.incoming_bytes == kept
    for _ in newer:
        assert scale.incoming_bytes + scale.call.clips.pending_bytes == kept
    assert scale.incoming_bytes == 0


async def test_a_message_that_comes_again_is_taken_once() -> None:
    """Also behind one that has no id, by which none is known again."""
    scale = Scale()
    message = orjson.dumps(append(bytes(AUDIO_BYTES), event_id="mine")).decode()
    take(scale, message)
    scale.call.client_events.resent_to = 0
    take(scale, orjson.dumps(append(bytes(AUDIO_BYTES))).decode())
    before = len(scale.taken)
    assert scale.call.input_audio.position == 2 * AUDIO_BYTES
    take(scale, message)
    assert len(scale.taken) == before + 1, "the rules are told that it came again"
    assert scale.call.input_audio.position == 2 * AUDIO_BYTES
