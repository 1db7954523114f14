"""The audio of an item that is created in pieces: nobody sees any of it before the item is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import FRAME, append, attach, emitted, feed, manual_call, types
from voice_agent.call import inputs
from voice_agent.call.effects import Transcribe
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

SPOKEN = {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
PIECES = [bytes([number, 0]) * 500 for number in range(1, 6)]
WHOLE = b"".join(PIECES)


def stage(*pieces: bytes) -> list[inputs.Input]:
    """Pieces of the item's audio."""
    return [inputs.AppendItemAudio("mine", piece) for piece in pieces]


CREATE = inputs.CreateItem(dict(SPOKEN), audio_appended=True, event_id="create_1")


def write(store: MemoryStore, call: CallRecord) -> None:
    """Make durable what changed."""
    run_now(store.commit([take_write(call, 0)]))


def taken_over(store: MemoryStore, call: CallRecord) -> CallRecord:
    """The call as another pod finds it."""
    held = run_now(store.load(call.call_id))
    assert held is not None
    again = restore(held, epoch=call.owner.epoch, outbox_bytes=1 << 20, checkpoint_ms=200)
    attach(again, None, 0, resumable=True)
    return again


def stored_call() -> tuple[MemoryStore, CallRecord]:
    """A call that the store holds."""
    store, call = MemoryStore(ttl_s=60), manual_call()
    call.record.write_whole = True
    write(store, call)
    return store, call


def test_pieces_and_a_whole_make_the_same_item() -> None:
    """The same events, the same item, the same audio."""
    pieces, whole = manual_call(), manual_call()
    in_pieces = feed(pieces, *stage(*PIECES), CREATE)
    at_once = feed(whole, inputs.CreateItem(dict(SPOKEN), WHOLE, event_id="create_1"))
    assert in_pieces == at_once == [Transcribe("mine", WHOLE)]
    assert emitted(pieces) == emitted(whole)
    assert pieces.clips.latest is not None
    assert pieces.clips.latest.audio == WHOLE
    assert pieces.clips.pending is None


@given(st.integers(0, 5), st.booleans(), st.booleans())
def test_a_crash_before_the_item_leaves_nothing(survived: int, speaks: bool, whole: bool) -> None:
    """Pieces that were stored belong to no item; the client creates it again, with the same id, with its own audio."""
    store, call = stored_call()
    if speaks:
        feed(call, *append(20))  # Its speech, stored before, keeps the pieces from being trimmed.
    feed(call, *stage(*PIECES[:survived]))
    write(store, call)
    again = taken_over(store, call)
    assert "mine" not in again.conversation
    assert again.clips.latest is None
    assert "create_1" not in again.client_events.seen
    again.record.write_whole = whole
    feed(again, *stage(*PIECES), CREATE)
    write(store, again)
    third = taken_over(store, again)
    assert third.clips.latest is not None
    assert third.clips.latest.audio == WHOLE
    assert third.clips.untranscribed["mine"].audio == WHOLE
    assert bytes(third.input_audio.audio) == (FRAME * 20 if speaks else b"")


def test_what_a_crash_left_is_trimmed() -> None:
    """The next owner's first write takes it out of the store."""
    store, call = stored_call()
    feed(call, *stage(*PIECES[:3]))
    write(store, call)
    again = taken_over(store, call)
    feed(again, inputs.ClearAudio())
    write(store, again)
    held = run_now(store.load(call.call_id))
    assert held is not None
    assert held.speech == []


def test_pieces_survive_a_write_of_the_whole_call() -> None:
    """The store came back empty while an item's audio was on its way."""
    store, call = stored_call()
    feed(call, *stage(*PIECES[:3]))
    call.record.write_whole = True
    write(store, call)
    feed(call, *stage(*PIECES[3:]), CREATE)
    write(store, call)
    again = taken_over(store, call)
    assert again.clips.latest is not None
    assert again.clips.latest.audio == WHOLE


def test_a_lost_connection_takes_the_pieces_back() -> None:
    """Nothing is left of them in memory, and the next write trims what is stored."""
    store, call = stored_call()
    feed(call, *stage(*PIECES[:3]))
    write(store, call)
    feed(call, inputs.ConnectionLost(hung_up=False))
    write(store, call)
    assert call.clips.pending is None
    held = run_now(store.load(call.call_id))
    assert held is not None
    assert held.speech == []


def test_an_item_that_is_refused_in_the_end_takes_the_pieces_back() -> None:
    """Its id was taken while the pieces came."""
    call = manual_call()
    feed(call, *stage(*PIECES[:3]))
    feed(call, inputs.CreateItem({**SPOKEN, "content": [{"type": "input_text", "text": "hi"}]}))
    feed(call, *stage(*PIECES), CREATE)
    assert types(call)[-1] == "error"
    assert call.clips.pending is None
