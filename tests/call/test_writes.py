"""What a write carries: what changed, all of it, or the end of a call; and what it trims."""

from __future__ import annotations

import pytest

from tests.call.calls import (
    CALL_ID,
    FRAME,
    append,
    feed,
    item_id,
    manual_call,
    moved,
    new_call,
    response_id,
    stored,
)
from tests.call.engine import finish
from voice_agent.call import inputs
from voice_agent.call.changes import CallWrite
from voice_agent.call.clips import HeardClip
from voice_agent.call.completeness import Kept
from voice_agent.call.memory_pressure import apply_memory_pressure
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


def test_an_append_is_remembered_no_sooner_than_its_audio() -> None:
    """After a crash a client sends its last appends again: those whose audio is lost must not be ignored."""
    call = new_call()
    call.record.write_whole = True
    store = MemoryStore(ttl_s=60)
    run_now(store.commit([take_write(call, 0)]))
    for number in range(30):
        feed(call, inputs.AppendAudio(FRAME, f"frame_{number}"))
    feed(call, inputs.CreateItem(dict(TEXT), event_id="typed"))
    run_now(store.commit([take_write(call, 0)]))
    held = run_now(store.load(call.call_id))
    assert held is not None
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert again.heard_ms == 300
    remembered = [number for number in range(30) if f"frame_{number}" in again.client_events.seen]
    assert remembered == list(range(15))
    assert "typed" in again.client_events.seen


def test_a_new_owner_writes_under_the_name_of_its_claim() -> None:
    """The store notes it with the claim, and refuses another owner of the same epoch."""
    call = new_call()
    call.record.write_whole = True
    held = stored(call)
    held.fields["claim"] = b"a name"
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert (again.owner.epoch, again.owner.claim) == (2, "a name")
    write = take_write(again, 0)
    assert (write.epoch, write.claim) == (2, "a name")


POSITIONS = {"seq", "updated_at_ms", "input_audio", "kept"}
"""What every write carries."""


def test_a_write_after_which_nothing_happened_carries_positions_only() -> None:
    """No group of fields, no item and no event goes twice, nothing is trimmed again, and it has the next number."""
    call = manual_call()
    feed(call, inputs.UpdateSession({"instructions": "Be brief."}), *append(20))
    feed(call, inputs.CreateItem(dict(TEXT), event_id="typed"), inputs.CreateResponse({}))
    first = take_write(call, 1)
    assert first.fields.keys() > POSITIONS | {"seen:1", "response", "session"}
    again = take_write(call, 2)
    assert again == CallWrite(CALL_ID, 1, first.revision + 1, fields=again.fields)
    assert again.fields.keys() == POSITIONS | {"response_audio"}
    assert again.fields["updated_at_ms"] == b"2"
    assert not call.has_changes
    call.record.write_whole = True
    assert take_write(call, 3).whole
    last = take_write(call, 4)
    assert last == CallWrite(CALL_ID, 1, first.revision + 3, fields=last.fields)
    assert last.fields.keys() == again.fields.keys()


EVENT_BYTES = len(b'{"type":"x"}') + 48


def emit(call: CallRecord, count: int) -> None:
    """So many events of that size."""
    for _ in range(count):
        call.outbox.emit({"type": "x"})


def numbers(write: CallWrite) -> list[int]:
    """Of the events that a write carries."""
    return [event.n for event in write.events]


def test_events_are_written_and_trimmed_as_the_outbox_holds_them() -> None:
    """What it has let go of is trimmed once; what it let go of before any write is not written at all."""
    call = new_call(outbox_bytes=3 * EVENT_BYTES)
    emit(call, 3)
    assert numbers(take_write(call, 0)) == [1, 2, 3]
    emit(call, 1)
    write = take_write(call, 0)
    assert (numbers(write), write.keep_events_from) == ([4], 2)
    emit(call, 5)
    write = take_write(call, 0)
    assert (numbers(write), write.keep_events_from) == ([7, 8, 9], 7)
    assert take_write(call, 0).keep_events_from == 0
    call.outbox.clear()
    assert take_write(call, 0).keep_events_from == 10
    assert take_write(call, 0).keep_events_from == 0
    call.record.write_whole = True
    emit(call, 1)
    assert numbers(take_write(call, 0)) == [10]
    assert take_write(call, 0).keep_events_from == 0
    nothing_kept = new_call(outbox_bytes=0)
    emit(nothing_kept, 2)
    write = take_write(nothing_kept, 0)
    assert (numbers(write), write.keep_events_from) == ([], 0)


def test_a_whole_write_begins_with_the_first_event() -> None:
    """If that is held."""
    call = new_call()
    emit(call, 2)
    call.record.write_whole = True
    write = take_write(call, 0)
    assert (numbers(write), write.whole, write.keep_events_from) == ([1, 2], True, 0)


def test_what_a_new_owner_finds_need_not_be_trimmed() -> None:
    """But for speech, of which a crash may have left some; also where no event is kept, or none has been yet."""
    busy, full, idle = new_call(), new_call(outbox_bytes=2 * EVENT_BYTES), new_call()
    emit(busy, 3)
    emit(full, 5)
    for call, seq in ((busy, 3), (full, 5), (idle, 0)):
        again = moved(call)
        assert (again.outbox.seq, again.outbox.visible_seq, again.outbox.sent_seq) == (seq, seq, seq)
        write = take_write(again, 0)
        assert (write.keep_events_from, write.keep_speech_from) == (0, 1)


def test_speech_is_trimmed_once_nobody_needs_it_any_more() -> None:
    """From the oldest that is still needed on, or all there is."""
    call = manual_call()

    def kept() -> tuple[int, list[int]]:
        """What the next write trims, and what the store holds after it."""
        write = take_write(call, 0)
        counted = Kept.unpack(write.fields)
        assert counted is not None
        assert counted.speech == len(call.speech.stored)
        return write.keep_speech_from, list(call.speech.stored)

    feed(call, *append(20))
    assert kept() == (0, [1, 2])
    feed(call, inputs.CommitAudio(), *append(20), inputs.CommitAudio())
    assert kept() == (0, [1, 2, 3, 4])
    feed(call, inputs.Transcribed(item_id(1), "one"), *append(20))
    assert kept() == (3, [3, 4, 5, 6])
    call.record.write_whole = True
    assert kept() == (0, [3, 5])  # A turn in one piece.
    feed(call, inputs.Transcribed(item_id(2), "two"), inputs.CreateItem(dict(TEXT)))
    assert kept() == (5, [5])
    feed(call, inputs.ClearAudio(), inputs.AppendItemAudio("mine", FRAME))
    assert kept() == (7, [7])
    apply_memory_pressure(call, is_scarce=True, is_nearly_full=True)
    assert kept() == (8, [])
    assert kept() == (0, [])


def test_a_whole_write_carries_no_speech_without_audio() -> None:
    """Of an utterance that has just begun, of a turn whose audio is lost, of an item in a store that is nearly full."""
    begun = new_call()
    begun.speech.checkpoint_ms = 0
    feed(begun, inputs.AppendAudio(FRAME * 12, None, (inputs.VoiceBoundary(True, 0),)))
    assert begun.input_audio.item_id is not None
    lost = manual_call()
    feed(lost, *append(20), inputs.CommitAudio())
    lost.record.write_whole = True
    held = stored(lost)
    held.speech.clear()
    lost = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert lost.clips.untranscribed == {item_id(1): HeardClip(item_id(1), b"", 0)}
    full = manual_call()
    feed(full, inputs.AppendItemAudio("mine", FRAME))
    apply_memory_pressure(full, is_scarce=True, is_nearly_full=True)
    for call in (begun, lost, full):
        call.record.write_whole = True
        write = take_write(call, 0)
        assert write.speech == []
        assert list(call.speech.stored) == []


@pytest.mark.parametrize("whole", [False, True])
def test_an_append_is_remembered_with_the_write_that_carries_its_audio(whole: bool) -> None:
    """Not with the one before, also if that is of the whole call; all others with the next write."""
    call = manual_call()
    feed(call, *(inputs.AppendAudio(FRAME, f"event_{number}") for number in range(1, 16)))
    feed(call, inputs.CreateItem(dict(TEXT), event_id="event_16"))
    call.record.write_whole = whole
    write = take_write(call, 0)
    assert {name for name in write.fields if name.startswith("seen:")} == {f"seen:{n}" for n in (*range(1, 11), 16)}
    feed(call, *append(5))
    write = take_write(call, 0)
    assert {name for name in write.fields if name.startswith("seen:")} == {f"seen:{n}" for n in range(11, 16)}


def test_what_a_reply_left_is_emptied_once() -> None:
    """Else it would empty the words of the next one, which stand in the same fields."""
    call = new_call()
    feed(call, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
    feed(call, inputs.ResponseText(response_id(1), "One."))
    assert take_write(call, 0).fields["text:0"]
    feed(call, finish)
    assert take_write(call, 0).fields["text:0"] == b""
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(2), "Two."))
    assert take_write(call, 0).fields["text:0"]
    call.record.mark("response")
    assert "text:0" not in take_write(call, 0).fields


def test_what_happens_after_a_write_was_taken_is_in_the_next_one() -> None:
    """A write that carries nothing of a kind is not given any of it later."""
    call = manual_call()
    write = take_write(call, 0)
    assert (write.events, write.speech) == ([], [])
    feed(call, *append(50))
    call.outbox.emit({"type": "x"})
    assert call.speech.unsaved
    assert (write.events, write.speech, "counts" in write.fields) == ([], [], False)
