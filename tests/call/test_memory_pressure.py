"""What a call keeps in a store that is short of memory, and that nothing is claimed which is not kept."""

from __future__ import annotations

from tests.call.calls import attach, feed, item_id, manual_call
from tests.call.engine import finish
from voice_agent.call import inputs
from voice_agent.call.memory_pressure import apply_memory_pressure
from voice_agent.call.outbox import PRESSURE_SHARE
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.status import Status
from voice_agent.call.writes import take_write
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

OUTBOX_BYTES = 100_000
SECOND = bytes(48_000)


def a_call() -> CallRecord:
    """A call whose client commits its turns, to be written."""
    call = manual_call(outbox_bytes=OUTBOX_BYTES)
    call.record.write_whole = True
    return call


def write(store: MemoryStore, call: CallRecord, *, is_scarce: bool, is_nearly_full: bool = False) -> None:
    """As the runtime does."""
    apply_memory_pressure(call, is_scarce=is_scarce, is_nearly_full=is_nearly_full)
    assert run_now(store.commit([take_write(call, 0)])) == [WriteOutcome.COMMITTED]


def kept(store: MemoryStore, call: CallRecord) -> tuple[int, int]:
    """Bytes of speech and of events in the store."""
    held = run_now(store.load(call.call_id))
    assert held is not None
    return sum(len(entry.audio) for entry in held.speech), sum(len(entry.audio) for entry in held.outbox)


def crashed(store: MemoryStore, call: CallRecord) -> CallRecord:
    """What the next owner finds."""
    held = run_now(store.load(call.call_id))
    assert held is not None
    return restore(held, epoch=2, outbox_bytes=OUTBOX_BYTES, checkpoint_ms=200)


def test_an_outbox_is_cut_to_a_quarter_with_the_next_write_and_grows_again() -> None:
    """Silent calls, too, for each is written every other second."""
    store, call = MemoryStore(ttl_s=60), a_call()
    for _ in range(20):
        call.outbox.emit({"type": "audio"}, bytes(4000))
    write(store, call, is_scarce=False)
    assert kept(store, call)[1] == 20 * 4000
    write(store, call, is_scarce=True)
    assert kept(store, call)[1] <= OUTBOX_BYTES // PRESSURE_SHARE
    for _ in range(20):
        call.outbox.emit({"type": "audio"}, bytes(4000))
    write(store, call, is_scarce=True)
    assert kept(store, call)[1] <= OUTBOX_BYTES // PRESSURE_SHARE
    write(store, call, is_scarce=False)
    for _ in range(10):
        call.outbox.emit({"type": "audio"}, bytes(4000))
    write(store, call, is_scarce=False)
    assert kept(store, call)[1] > OUTBOX_BYTES // PRESSURE_SHARE


def test_an_utterance_is_not_checkpointed_and_the_client_is_told_so() -> None:
    """After a crash the client sends again from an earlier position; none of it is taken for stored."""
    store, call = MemoryStore(ttl_s=60), a_call()
    feed(call, inputs.AppendAudio(SECOND, None))
    write(store, call, is_scarce=False)
    for _ in range(3):
        feed(call, inputs.AppendAudio(SECOND, None))
        write(store, call, is_scarce=True)
    assert kept(store, call)[0] == len(SECOND)
    assert (call.heard_ms, crashed(store, call).heard_ms) == (1000, 1000)
    write(store, call, is_scarce=False)
    feed(call, inputs.AppendAudio(SECOND, None))
    write(store, call, is_scarce=False)
    again = crashed(store, call)
    assert again.heard_ms == call.heard_ms == 5000
    assert bytes(again.input_audio.audio) == 5 * SECOND


def test_the_audio_of_a_turn_is_kept_until_it_is_understood_and_answered() -> None:
    """While memory is scarce, and no longer."""
    store, call = MemoryStore(ttl_s=60), a_call()
    write(store, call, is_scarce=True)
    feed(call, inputs.AppendAudio(SECOND, None), inputs.CommitAudio(), inputs.CreateResponse({}))
    write(store, call, is_scarce=True)
    again = crashed(store, call)
    assert again.clips.answered is not None
    assert again.clips.answered.audio == SECOND
    feed(call, inputs.Transcribed(item_id(1), "hello"), finish)
    write(store, call, is_scarce=True)
    assert kept(store, call)[0] == 0


def test_a_turn_that_is_understood_but_not_answered_yet_keeps_its_audio() -> None:
    """A client may ask for the reply long after it committed; the next owner goes on with that reply."""
    store, call = MemoryStore(ttl_s=60), a_call()
    write(store, call, is_scarce=True)
    feed(call, inputs.AppendAudio(SECOND, None), inputs.CommitAudio(), inputs.Transcribed(item_id(1), "hello"))
    write(store, call, is_scarce=True)
    feed(call, inputs.CreateResponse({}))
    write(store, call, is_scarce=True)
    again = crashed(store, call)
    assert again.clips.answered is not None
    assert again.clips.answered.audio == SECOND


def test_a_store_nearly_full_keeps_no_audio_of_turns_for_a_next_owner() -> None:
    """The turn is: it is understood and answered here, and after a crash without its audio."""
    store, call = MemoryStore(ttl_s=60), a_call()
    feed(call, inputs.AppendAudio(SECOND, None), inputs.CommitAudio())
    write(store, call, is_scarce=False)
    assert kept(store, call)[0] == len(SECOND)
    feed(call, inputs.AppendAudio(SECOND, None), inputs.CommitAudio())
    write(store, call, is_scarce=True, is_nearly_full=True)
    assert kept(store, call)[0] == 0
    again = crashed(store, call)
    assert len(again.conversation) == 2
    assert again.heard_ms == 2000
    assert [clip.audio for clip in again.clips.untranscribed.values()] == [b"", b""]
    assert call.clips.latest is not None
    assert call.clips.latest.audio == SECOND


def test_who_drops_the_connection_leaves_no_audio_behind() -> None:
    """Connecting, talking and dropping in a loop would fill the store; a planned handoff takes the utterance along."""
    for planned, left in ((False, 0), (True, len(SECOND))):
        store, call = MemoryStore(ttl_s=60), a_call()
        write(store, call, is_scarce=True)
        feed(call, inputs.AppendAudio(SECOND, None))
        if planned:
            feed(call, inputs.HandoffPlanned())
        feed(call, inputs.ConnectionLost(hung_up=False, planned=planned))
        write(store, call, is_scarce=True)
        assert call.lifecycle.status is Status.PARKED
        assert kept(store, call)[0] == left
        assert crashed(store, call).heard_ms == call.heard_ms == (1000 if planned else 0)
        attach(call, None, 5, resumable=True)
        assert bytes(call.input_audio.audio) == SECOND


def test_an_item_whose_audio_came_while_the_store_was_nearly_full_is_stored_whole_or_not_at_all() -> None:
    """Pieces that were let go of are not joined to those that came later; all is written again for that, once."""
    pieces = [bytes([number, 0]) * 24_000 for number in range(1, 5)]
    item = {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    for full in ([0], [1], [2], [1, 2], [2, 3], [1, 3], [0, 1, 2, 3]):
        store, call = MemoryStore(ttl_s=60), a_call()
        write(store, call, is_scarce=False)
        for number, piece in enumerate(pieces):
            feed(call, inputs.AppendItemAudio("mine", piece))
            apply_memory_pressure(call, is_scarce=number in full, is_nearly_full=number in full)
            assert call.record.write_whole is (number - 1 in full and number not in full)
            assert run_now(store.commit([take_write(call, 0)])) == [WriteOutcome.COMMITTED]
        feed(call, inputs.CreateItem(dict(item), audio_appended=True))
        write(store, call, is_scarce=False)
        assert crashed(store, call).clips.untranscribed["mine"].audio == (b"" if 3 in full else b"".join(pieces))
    other = manual_call()
    apply_memory_pressure(other, is_scarce=True, is_nearly_full=True)
    apply_memory_pressure(other, is_scarce=False, is_nearly_full=False)
    assert not take_write(other, 0).whole
