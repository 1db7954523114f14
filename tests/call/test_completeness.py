"""What the record counts is what the store holds, and what is missing is told."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.call.calls import FRAME, append, attach, feed, manual_call, new_call, release
from tests.call.engine import engine_call, finish, first
from tests.call.test_codec import STEP_NAMES, TEXT, act
from voice_agent.call import inputs
from voice_agent.call.changes import OutboxEntry, Snapshot
from voice_agent.call.completeness import KEPT_FORMAT, Kept, Missing, missing, replayable
from voice_agent.call.memory_pressure import apply_memory_pressure
from voice_agent.call.record import CallRecord
from voice_agent.call.response_items import item_of
from voice_agent.call.restoring import restore
from voice_agent.call.writes import skip_write, take_write
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now


class Owner:
    """Writes a call to a store."""

    def __init__(self, call: CallRecord) -> None:
        self.call = call
        self.store = MemoryStore(ttl_s=60)
        call.record.write_whole = True
        self.write()

    def write(self) -> None:
        assert run_now(self.store.commit([take_write(self.call, 0)])) == [WriteOutcome.COMMITTED]

    def held(self) -> Snapshot:
        held = run_now(self.store.load(self.call.call_id))
        assert held is not None
        return held

    def taken_over(self, *, outbox_bytes: int = 1 << 20) -> CallRecord:
        """The call as the next owner finds it."""
        return restore(self.held(), epoch=self.call.owner.epoch, outbox_bytes=outbox_bytes, checkpoint_ms=200)


OFTEN = "speak append append stop commit heard create finish".split()
SPOKEN = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
MORE_STEPS = st.lists(
    st.sampled_from([*STEP_NAMES, *OFTEN, "moved", "ahead", "handoff", "stage", "staged"]), min_size=5, max_size=60
)
ENOUGH = {"is_scarce": False, "is_nearly_full": False}
FULL = {"is_scarce": True, "is_nearly_full": True}
MEMORY = [ENOUGH, ENOUGH, ENOUGH | {"is_scarce": True}, FULL]
"""What the store has left of it."""


@settings(max_examples=400)
@given(
    MORE_STEPS,
    st.lists(st.sampled_from(MEMORY), min_size=1, max_size=4),
    st.sampled_from([0, 4000, 1 << 20]),
)
@example("stage stage stage staged".split(), [ENOUGH, FULL, ENOUGH, ENOUGH], 0)
@example("stage speak speak speak stage staged".split(), [ENOUGH, ENOUGH, FULL], 0)
@example("stage speak speak speak stage staged write".split(), [ENOUGH] * 6 + [FULL], 0)
def test_a_record_counts_exactly_what_the_store_holds(
    steps: list[str], memory: list[dict[str, bool]], outbox_bytes: int
) -> None:
    """After each write, whatever happened: also while memory is scarce, across owners, with any outbox.

    The audio of a turn is there from its beginning to its end, or not at all.
    """
    owner = Owner(manual_call(outbox_bytes=outbox_bytes))
    for number, step in enumerate(steps):
        call = owner.call
        if step == "skip":
            skip_write(call)
            continue
        if step == "moved":
            owner.call = owner.taken_over(outbox_bytes=(1 << 20) - outbox_bytes)
        elif step == "ahead":
            attach(call, call.outbox.seq + 3, 0, resumable=True)
        elif step == "handoff":
            feed(call, inputs.HandoffPlanned())
        elif step == "stage":
            feed(call, inputs.AppendItemAudio(f"mine_{number}", bytes([number, 0]) * 480))
        elif step == "staged":
            staged_id = call.clips.pending.item_id if call.clips.pending is not None else f"mine_{number}"
            feed(call, inputs.CreateItem({**SPOKEN, "id": staged_id}, audio_appended=True))
        elif step in ("write", "whole"):
            call.record.write_whole = call.record.write_whole or step == "whole"
        else:
            act(call, step, number)
        apply_memory_pressure(owner.call, **memory[number % len(memory)])
        owner.write()
        held = owner.held()
        kept = Kept.unpack(held.fields)
        assert kept is not None
        assert kept[:3] == (len(held.items), len(held.outbox), len(held.speech))
        assert int(held.fields["kept"].split()[4]) == sum(map(len, held.items.values()))
        again = owner.taken_over()
        assert again.record.missing == Missing()
        assert again.input_audio.saved == len(again.input_audio.audio) == kept.utterance_bytes
        for of_id, clip in owner.call.clips.untranscribed.items():
            assert again.clips.untranscribed[of_id].audio in (b"", clip.audio)
        assert again.clips.latest in (None, owner.call.clips.latest)
        assert again.clips.answered in (None, owner.call.clips.answered)
        assert [entry.n for entry in held.outbox] == [entry.n for entry in replayable(held.outbox, again.outbox.seq)]


def test_what_is_missing_is_told_until_that_has_arrived_and_is_written_anew() -> None:
    """Items, events and speech are counted; the next write replaces all, and a later claim finds nothing missing."""
    owner = Owner(manual_call())
    feed(owner.call, *(inputs.CreateItem(dict(TEXT)) for _ in range(3)), *append(20))
    owner.write()
    held = owner.held()
    held.items.popitem()
    held.outbox.clear()
    held.speech.clear()
    again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
    events = owner.call.outbox.seq
    assert again.record.missing == Missing(1, events, len(owner.call.speech.stored))
    attached = attach(again, 2, 0, resumable=True)
    assert (attached.missing, attached.gap) == (Missing(1, events, 2), (3, events))
    assert attach(again, 2, 0, resumable=True).missing == attached.missing, "the greeting may have been lost"
    assert attach(again, 3, 0, resumable=True).missing == Missing()
    write = take_write(again, 0)
    assert write.whole
    assert missing(Snapshot(write.fields, write.items, write.events, write.speech)) == Missing()


@settings(max_examples=400)
@given(MORE_STEPS, st.data(), MORE_STEPS)
def test_a_call_goes_on_whatever_of_it_has_gone(steps: list[str], data: st.DataObject, then: list[str]) -> None:
    """Any items, events and speech are taken out of the store; whatever happens next is a call like any other."""
    owner = Owner(engine_call(started=False))
    for number, step in enumerate(step for step in steps if step in STEP_NAMES):
        if step in ("skip", "write", "whole"):
            owner.write()
        else:
            act(owner.call, step, number)
    owner.write()
    held = owner.held()
    left = st.integers(0, 2)
    for item_id in [item_id for item_id in held.items if data.draw(left) == 0]:
        del held.items[item_id]
    held.outbox[:] = [entry for entry in held.outbox if data.draw(left)]
    held.speech[:] = [entry for entry in held.speech if data.draw(left)]
    owner.call = restore(held, epoch=owner.call.owner.epoch, outbox_bytes=1 << 20, checkpoint_ms=200)
    under_way = owner.call.response
    for number, step in enumerate((step for step in then if step in STEP_NAMES), len(steps)):
        if step in ("skip", "write", "whole"):
            owner.write()
        else:
            act(owner.call, step, number)
    owner.write()
    assert owner.taken_over().record.missing == Missing()
    if under_way is not None and under_way is owner.call.response and under_way.open_item.item_id is not None:
        assert item_of(owner.call, under_way, under_way.open_item.item_id) is not None


def test_a_reply_goes_on_in_its_item_also_where_the_store_has_lost_that() -> None:
    """The words under way stand in the reply; the item has the same id, so a client appends to what it knows."""
    owner = Owner(manual_call())
    feed(owner.call, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
    response = owner.call.response
    assert response is not None
    feed(owner.call, inputs.ResponseText(response.response_id, "This was "))
    owner.write()
    held = owner.held()
    held.items.clear()
    again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
    feed(again, inputs.ResponseText(response.response_id, "said."), finish)
    (item,) = again.conversation.items()
    assert (item["id"], item["status"]) == (response.open_item.item_id, "completed")
    assert "This was said." in str(item["content"])


def test_ids_of_what_nobody_remembers_are_not_given_again() -> None:
    """Neither to items nor to responses nor to steps: a client would take two for one, a tool work for work done."""
    owner = Owner(manual_call())
    forgotten = owner.taken_over()
    seen: set[str] = set()
    for _ in range(3):
        feed(owner.call, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
        assert owner.call.response is not None
        response_id = owner.call.response.response_id
        seen |= {response_id, first(owner.call).key_id}
        feed(owner.call, inputs.ResponseText(response_id, "Yes."), finish)
    seen |= {item["id"] for item in owner.call.conversation.items()}
    attach(forgotten, owner.call.outbox.seq, 0, resumable=True)
    feed(forgotten, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
    assert forgotten.response is not None
    assert not {forgotten.response.response_id, first(forgotten).key_id, forgotten.conversation.last_id} & seen


def test_speech_that_is_gone_is_asked_for_again() -> None:
    """The input position is where the lost utterance began, and its appends are not taken for known."""
    owner = Owner(manual_call())
    feed(owner.call, *(inputs.AppendAudio(FRAME, f"first_{n}") for n in range(10)), inputs.CommitAudio())
    said_ms = owner.call.heard_ms
    feed(owner.call, inputs.CreateItem(dict(TEXT), event_id="typed"))
    feed(owner.call, *(inputs.AppendAudio(FRAME, f"second_{n}") for n in range(20)))
    owner.write()
    assert owner.taken_over().heard_ms == said_ms + 400
    held = owner.held()
    held.speech[:] = [entry for entry in held.speech if entry.item_id != owner.call.input_audio.item_id]
    again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert again.heard_ms == said_ms
    assert again.client_events.last_id == "typed"
    assert list(again.client_events.seen) == [*(f"first_{n}" for n in range(10)), "typed"]
    feed(again, *(inputs.AppendAudio(FRAME, f"second_{n}") for n in range(20)))
    assert again.heard_ms == said_ms + 400


def test_of_an_utterance_in_pieces_none_is_kept_if_one_is_gone() -> None:
    """What is left of it would be spliced, or heard twice by a client that sends again."""
    owner = Owner(manual_call())
    feed(owner.call, *append(40))
    owner.write()
    held = owner.held()
    assert len(held.speech) > 1
    del held.speech[0]
    again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert (again.heard_ms, bytes(again.input_audio.audio)) == (0, b"")


def test_of_a_turn_in_pieces_none_is_kept_if_one_is_gone() -> None:
    """It is understood and answered without its audio, not by what is left of it; other turns keep theirs."""
    owner = Owner(manual_call())
    feed(owner.call, *append(30), inputs.CommitAudio(), *append(30), inputs.CommitAudio(), inputs.CreateResponse({}))
    owner.write()
    assert len(owner.held().speech) == 6
    for gone in range(6):
        held = owner.held()
        del held.speech[gone]
        again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
        kept = [clip.audio for clip in again.clips.untranscribed.values()]
        assert kept == ([b"", FRAME * 30] if gone < 3 else [FRAME * 30, b""])
        assert (again.clips.latest is None) is (again.clips.answered is None) is (gone >= 3)


def test_an_outbox_with_a_hole_is_not_replayed_across_it() -> None:
    """The client is told of all that it cannot get, and gets the rest."""
    entries = [OutboxEntry(n, b"{}", b"") for n in (1, 2, 4, 5)]
    assert [entry.n for entry in replayable(entries, 5)] == [4, 5]
    assert replayable(entries, 6) == []
    owner = Owner(new_call())
    feed(owner.call, *(inputs.CreateItem(dict(TEXT)) for _ in range(3)))
    owner.write()
    held = owner.held()
    del held.outbox[2]
    again = restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200)
    attached = attach(again, 1, 0, resumable=True)
    assert attached.gap == (2, 3)
    assert [entry.n for entry in attached.replay] == [4, 5, 6]


def test_who_comes_back_after_one_who_knew_more_is_told_of_the_numbers_in_between() -> None:
    """Numbering goes on after a client that outlived an outage; nobody can be sent what it alone has seen."""
    call = new_call()
    feed(call, inputs.CreateItem(dict(TEXT)))
    take_write(call, 0)
    seen = call.outbox.seq
    assert attach(call, seen + 5, 0, resumable=True).gap == (seen + 1, seen + 5)
    feed(call, inputs.CreateItem(dict(TEXT)))
    write = take_write(call, 0)
    assert write.keep_events_from == seen + 6
    release(call, write.events)
    attached = attach(call, seen - 1, 0, resumable=True)
    assert attached.gap == (seen, seen + 5)
    assert [entry.n for entry in attached.replay] == [seen + 6, seen + 7]


def test_events_of_a_whole_write_are_let_go_like_any_others() -> None:
    """Of a call that was made in an outage, say, all was written at once."""
    owner = Owner(new_call())
    feed(owner.call, inputs.CreateItem(dict(TEXT)))
    skip_write(owner.call)
    owner.write()
    assert owner.held().outbox
    attach(owner.call, owner.call.outbox.seq + 5, 0, resumable=True)
    owner.write()
    assert owner.held().outbox == []


def test_events_kept_before_an_owner_without_an_outbox_are_not_replayed_after_it() -> None:
    """An owner with `VOICE_OUTBOX_BYTES=0` lets them go; they would be followed by a hole."""
    owner = Owner(new_call())
    feed(owner.call, inputs.CreateItem(dict(TEXT)))
    owner.write()
    assert owner.held().outbox
    owner.call = owner.taken_over(outbox_bytes=0)
    feed(owner.call, inputs.CreateItem(dict(TEXT)))
    owner.write()
    assert owner.held().outbox == []
    assert attach(owner.taken_over(), 1, 0, resumable=True).gap == (2, owner.call.outbox.seq)


def test_a_record_without_counts_is_not_checked() -> None:
    """One that an early release wrote."""
    owner = Owner(new_call())
    feed(owner.call, inputs.CreateItem(dict(TEXT)))
    owner.write()
    held = owner.held()
    del held.fields["kept"]
    held.items.clear()
    assert missing(held) == Missing()


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        ((3, 4, 5), Missing()),
        ((2, 4, 5), Missing(items=1)),
        ((3, 2, 5), Missing(events=2)),
        ((3, 4, 2), Missing(speech=3)),
        ((4, 6, 9), Missing()),
    ],
)
def test_only_what_is_counted_and_not_there_is_missing(found: tuple[int, int, int], lost: Missing) -> None:
    """Part by part; more than is counted makes up for nothing."""
    assert Kept(3, 4, 5, 0).missing(*found) == lost


def test_what_a_newer_version_counts_is_left_out() -> None:
    """The parts that this one knows are read."""
    kept = Kept(1, 2, 3, 4)
    assert Kept.unpack({"kept": KEPT_FORMAT % (*kept, 5) + b" 6"}) == kept


@pytest.mark.parametrize("lost", ["items", "outbox", "speech"])
def test_whatever_is_missing_the_next_write_is_of_all(lost: str) -> None:
    """So record and parts agree again; where nothing is missing it is of what changed."""
    owner = Owner(manual_call())
    feed(owner.call, inputs.CreateItem(dict(TEXT)), *append(20))
    owner.write()
    assert not take_write(owner.taken_over(), 0).whole
    held = owner.held()
    getattr(held, lost).clear()
    assert take_write(restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200), 0).whole
