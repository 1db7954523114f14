"""Writes are taken, made, skipped and lost: no event is anywhere twice, and none nowhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import FRAME, append, feed, manual_call, new_call
from voice_agent.call import inputs
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.effects import Skipped, Write
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status

TYPED = inputs.CreateItem(
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}, event_id=None
)


def taken(call: CallRecord, **full: bool) -> Write:
    """A write of what changed."""
    [write] = feed(call, inputs.TakeWrite(**full), now_ms=9)
    assert isinstance(write, Write)
    return write


def test_a_write_carries_what_changed_and_what_may_be_sent_after_it() -> None:
    """Its events wait for it, and nothing is unsaved any more."""
    call = new_call()
    feed(call, TYPED)
    write = taken(call)
    assert [entry.n for entry in write.waiting] == [entry.n for entry in write.write.events] == [1, 2]
    assert write.write.fields["updated_at_ms"] == b"9"
    assert not call.has_changes
    assert call.outbox.visible_seq == 0
    feed(call, inputs.EventsReleased(2))
    assert call.outbox.visible_seq == 2


def test_a_write_that_was_not_made_is_made_again_with_all_of_the_call() -> None:
    """Its events come first, before what was said meanwhile."""
    call = new_call()
    feed(call, TYPED)
    lost = taken(call)
    feed(call, TYPED, inputs.WriteLost(lost.waiting))
    again = taken(call)
    assert again.write.whole
    assert [entry.n for entry in again.waiting] == [1, 2, 3, 4]


def test_what_is_skipped_goes_out_unsaved_and_is_written_with_the_whole_call() -> None:
    """While the store is given up."""
    call = new_call()
    feed(call, TYPED)
    [skipped] = feed(call, inputs.SkipWrite())
    assert isinstance(skipped, Skipped)
    assert [entry.n for entry in skipped.waiting] == [1, 2]
    assert call.conversation.unsaved_bytes == 0
    write = taken(call)
    assert write.write.whole
    assert write.waiting == []
    assert [entry.n for entry in write.write.events] == [1, 2]


def test_a_store_that_is_full_gets_less_until_it_is_not() -> None:
    """What is said is not checkpointed while its memory is scarce."""
    call = manual_call()
    feed(call, *append(20, audio=FRAME))
    assert not taken(call, is_scarce=True).write.speech
    assert call.speech.under_memory_pressure
    taken(call)
    assert not call.speech.under_memory_pressure
    feed(call, *append(20, audio=FRAME))
    assert taken(call).write.speech


def test_a_store_that_is_nearly_full_gets_no_audio_of_turns_until_it_is_not() -> None:
    """Also if its memory is not scarce by then."""
    call = new_call()
    assert call.speech.keeps_turns
    taken(call, is_nearly_full=True)
    assert not call.speech.keeps_turns
    taken(call, is_nearly_full=True)
    assert not call.speech.keeps_turns
    taken(call)
    assert call.speech.keeps_turns


def test_a_claim_that_is_asked_for_is_doubted_until_it_is_granted() -> None:
    """The next write says so: if the claim took effect, it does not fence its own pod."""
    call = new_call()
    feed(call, inputs.ClaimAsked("second"))
    assert taken(call).write.doubted == "second"
    feed(call, inputs.ClaimGranted(4, "second"))
    write = taken(call).write
    assert (write.epoch, write.claim, write.doubted) == (4, "second", "")


def test_the_end_of_a_call_is_written_though_nothing_else_happens_to_it() -> None:
    """Also a second time, if the first is lost."""
    call = new_call()
    feed(call, inputs.EndCall("admin"), TYPED)
    assert call.lifecycle.status is Status.ENDED
    assert taken(call).write.ends
    feed(call, inputs.ClaimAsked("late"), inputs.WriteLost())
    again = taken(call).write
    assert again.ends
    assert again.whole
    assert again.doubted == "late"


@given(st.lists(st.sampled_from(["said", "take", "made", "lost", "skip"]), max_size=30))
def test_every_event_is_sent_once_and_in_order(steps: list[str]) -> None:
    """Whatever becomes of writes, of which one at a time is under way."""
    call = new_call()
    sent: list[OutboxEntry] = []
    under_way: list[list[OutboxEntry]] = []

    def release(events: list[OutboxEntry]) -> None:
        sent.extend(events)
        if events:
            feed(call, inputs.EventsReleased(events[-1].n))

    for step in [*steps, "made", "take", "made"]:
        if step == "said":
            feed(call, TYPED)
        elif step == "take" and not under_way:
            under_way.append(taken(call).waiting)
        elif step == "made" and under_way:
            release(under_way.pop())
        elif step == "lost" and under_way:
            feed(call, inputs.WriteLost(under_way.pop()))
        elif step == "skip" and not under_way:
            [skipped] = feed(call, inputs.SkipWrite())
            assert isinstance(skipped, Skipped)
            release(skipped.waiting)
    assert [entry.n for entry in sent] == list(range(1, call.outbox.seq + 1))
    assert call.outbox.visible_seq == call.outbox.seq
