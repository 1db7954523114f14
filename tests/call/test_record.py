"""What a call counts of itself: numbers, sizes, positions.

Its parts that only hold fields (`status`, `dialogue`, `clips`, `response`, `stored_record`) are tried with the rules
that change them.
"""

from __future__ import annotations

from tests.call.calls import FRAME, append, feed, manual_call, new_call
from voice_agent.call import inputs
from voice_agent.call.audio import PCM, PCMU
from voice_agent.call.changes import SpeechEntry
from voice_agent.call.clips import PendingItemAudio
from voice_agent.call.dialogue import Playback
from voice_agent.call.outbox import ENTRY_OVERHEAD_BYTES
from voice_agent.call.response import Response, ResponseRequest
from voice_agent.call.writes import take_write
from voice_agent.errors import ProtocolError

LINES = b"12345"
HEAD = b'{"type":"x"}'


def test_what_the_next_write_carries_is_counted_to_the_byte() -> None:
    """Events with what each costs beside its own bytes, and speech; also what is taken back or waits again."""
    call = new_call()
    assert call.unsaved_bytes == 0
    call.outbox.emit({"type": "x"}, LINES)
    assert call.unsaved_bytes == len(HEAD) + len(LINES) + ENTRY_OVERHEAD_BYTES
    call.outbox.emit_packed(HEAD, b"")
    event_bytes = 2 * (len(HEAD) + ENTRY_OVERHEAD_BYTES) + len(LINES)
    assert call.unsaved_bytes == call.outbox.size_bytes == event_bytes
    call.speech.add("item_1", FRAME)
    assert call.unsaved_bytes == event_bytes + len(FRAME)
    taken = call.outbox.unsaved
    take_write(call, 0)
    assert call.unsaved_bytes == 0
    call.outbox.emit_packed(HEAD, b"")
    call.outbox.requeue(taken)
    assert call.unsaved_bytes == event_bytes + len(HEAD) + ENTRY_OVERHEAD_BYTES
    assert [entry.n for entry in call.outbox.unsaved] == [1, 2, 3]


def test_whatever_a_write_should_carry_is_a_change() -> None:
    """An event alone too: that a client sent something invalid changes nothing else, and it is told at once."""
    call = new_call()
    assert not call.has_changes
    feed(call, inputs.InvalidEvent(ProtocolError("m", code="c")))
    assert call.record.dirty == set()
    assert call.has_changes
    take_write(call, 0)
    assert not call.has_changes
    for change in (
        lambda other: other.record.mark("status"),
        lambda other: other.speech.add("item_1", LINES),
        lambda other: setattr(other.record, "write_whole", True),
    ):
        other = new_call()
        change(other)
        assert other.has_changes


def test_positions_go_on_in_milliseconds_over_a_change_of_format() -> None:
    """`heard_bytes` counts as if all of it had been in the current format."""
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio())
    assert (call.heard_ms, call.heard_bytes) == (200, PCM.size(200))
    feed(call, inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    assert (call.heard_ms, call.heard_bytes) == (200, PCMU.size(200))
    feed(call, inputs.AppendAudio(bytes(PCMU.size(300))), inputs.CommitAudio())
    assert (call.heard_ms, call.heard_bytes) == (500, PCMU.size(500))


def test_what_is_not_saved_of_the_input_is_not_heard_yet() -> None:
    """The durable position lies within the buffer."""
    call = manual_call()
    feed(call, *append(13))
    heard = call.input_audio
    assert (heard.position, heard.start, heard.saved) == (13 * len(FRAME), 0, 10 * len(FRAME))
    assert heard.durable_position == 10 * len(FRAME)
    del heard.audio[: len(FRAME)]
    heard.saved -= len(FRAME)
    assert heard.start == len(FRAME)
    assert heard.durable_position == 10 * len(FRAME)


def test_sizes_of_what_is_spoken_and_staged() -> None:
    """Of the open item alone, in whole milliseconds of its format; nothing staged weighs nothing."""
    response = Response("resp_1", ResponseRequest({}, 0))
    response.said.audio_bytes, response.open_item.audio_from = 500, 200
    assert response.item_audio_bytes == 300
    assert Playback("item_1", 0, audio_bytes=1599, bytes_per_ms=8).sent_ms == 199
    call = new_call()
    assert call.clips.pending_bytes == 0
    call.clips.pending = PendingItemAudio("item_1", [SpeechEntry(4, "item_1", LINES), SpeechEntry(5, "item_1", LINES)])
    assert call.clips.pending_bytes == 2 * len(LINES)
    assert call.clips.pending.first_n == 4


def test_what_comes_first_reaches_no_input_position() -> None:
    """A client event without audio is durable with the next write, however little was heard until then."""
    call = new_call()
    feed(call, inputs.InvalidEvent(ProtocolError("m", code="c"), "e1"))
    feed(call, inputs.AppendAudio(FRAME, "e2"))
    assert call.client_events.seen == {"e1": (1, 0), "e2": (2, len(FRAME))}
