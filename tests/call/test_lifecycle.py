"""Connections come and go, and the call ends: what a client missed, what is saved, what is kept."""

from __future__ import annotations

import pytest

from tests.call.calls import (
    FRAME,
    append,
    attach,
    emitted,
    feed,
    manual_call,
    new_call,
    release,
    response_id,
    spoken_turn,
    types,
)
from voice_agent.call import inputs, machine
from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.dialogue import Playback
from voice_agent.call.outbox import Outbox
from voice_agent.call.status import Status
from voice_agent.call.writes import take_write


def text_item(event_id: str | None = None, **more: object) -> inputs.CreateItem:
    """A typed user message."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}], **more}
    return inputs.CreateItem(item, event_id=event_id)


def test_a_hang_up_ends_the_call_and_any_other_loss_parks_it() -> None:
    """Close code 1000 is final; everything else waits for the caller."""
    ended, parked = new_call(), new_call()
    feed(ended, inputs.ConnectionLost(hung_up=True), now_ms=5)
    feed(parked, inputs.ConnectionLost(hung_up=False), now_ms=5)
    assert (ended.lifecycle.status, ended.lifecycle.outcome, ended.lifecycle.ended_at_ms) == (Status.ENDED, "hangup", 5)
    assert (parked.lifecycle.status, parked.lifecycle.left_at_ms) == (Status.PARKED, 5)
    assert feed(ended, text_item()) == []
    assert len(ended.conversation) == 0


def test_losing_the_connection_flushes_what_was_said() -> None:
    """Half a turn that was not checkpointed yet is durable with the parking."""
    call = manual_call()
    feed(call, *append(3), inputs.ConnectionLost(hung_up=False, planned=True))
    assert b"".join(entry.audio for entry in call.speech.unsaved) == FRAME * 3
    assert call.heard_ms == 60
    assert call.lifecycle.handed_off


def test_a_resume_starts_after_the_last_event_seen() -> None:
    """Nothing is missing, so there is no gap."""
    call = new_call()
    feed(call, text_item(), text_item(), text_item())
    release(call, call.outbox.unsaved[:4])
    attached = attach(call, 2, 0, resumable=False)
    assert (attached.start, attached.gap) == (2, None)
    assert [entry.n for entry in attached.replay] == [3, 4]


def test_a_resume_without_a_last_event_begins_with_what_nobody_has_seen() -> None:
    """Events that still wait for the store follow by themselves; none comes twice, none is skipped."""
    call = new_call()
    feed(call, text_item(), text_item())
    release(call, call.outbox.unsaved[:3])
    attached = attach(call, None, 0, resumable=True)
    assert (attached.start, attached.gap, attached.replay) == (3, None, [])
    assert call.lifecycle.resumable


def test_events_that_are_no_longer_held_are_named() -> None:
    """The outbox is bounded by bytes; what fell out is the gap."""
    call = new_call(outbox_bytes=600)
    for _ in range(5):
        feed(call, text_item())
    release(call, call.outbox.unsaved)
    attached = attach(call, 1, 0, resumable=False)
    assert attached.start == 1
    assert attached.gap == (2, call.outbox.first_n - 1)


def test_without_an_outbox_everything_missed_is_a_gap() -> None:
    """`VOICE_OUTBOX_BYTES=0` keeps no events and says so."""
    call = new_call(outbox_bytes=0)
    feed(call, text_item(), text_item())
    release(call, call.outbox.unsaved[:3])
    assert attach(call, 1, 0, resumable=False).gap == (2, 3)
    assert attach(call, 3, 0, resumable=False).gap is None


def test_a_client_that_has_seen_more_than_the_store_is_believed() -> None:
    """Numbering goes on after the client's id, and the gap says what nobody remembers."""
    call = new_call()
    feed(call, text_item())
    release(call, call.outbox.unsaved)
    attached = attach(call, 10, 0, resumable=False)
    assert (attached.start, attached.gap) == (10, (3, 10))
    feed(call, text_item())
    assert call.outbox.unsaved[-1].n == 12


def test_a_planned_handoff_is_durable_before_the_connection_is_closed() -> None:
    """The next owner may be quicker than this pod's last write: speech and reason are saved before the close."""
    call = manual_call()
    feed(call, *append(3), inputs.HandoffPlanned())
    assert b"".join(entry.audio for entry in call.speech.unsaved) == FRAME * 3
    assert call.lifecycle.handed_off
    assert "status" in call.record.dirty
    attach(call, call.outbox.seq, 0, resumable=False)
    assert not call.lifecycle.handed_off


def test_what_has_ended_is_listened_to_and_spoken_to_no_more() -> None:
    """Nothing is left of what only a resume would need, whatever was going on."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "Hi."), inputs.ResponseAudio(response_id(1), FRAME * 50))
    assert call.dialogue.playback is not None
    effects = feed(call, inputs.EndCall("admin"), now_ms=7)
    assert effects == []
    assert [call.response, call.dialogue.playback, call.clips.latest, call.clips.answered] == [None] * 4
    assert (len(call.input_audio.audio), call.clips.untranscribed) == (0, {})
    assert (call.lifecycle.status, call.lifecycle.outcome, call.lifecycle.ended_at_ms) == (Status.ENDED, "admin", 7)


def test_a_second_connection_hears_afresh_what_is_not_saved() -> None:
    """Speech under way is saved; the silence before an utterance is forgotten and sent again."""
    silent, speaking = new_call(), new_call()
    feed(silent, *append(3))
    silent.record.dirty.clear()
    assert attach(silent, 0, 0, resumable=False).rewound
    assert (silent.input_audio.position, len(silent.input_audio.audio)) == (0, 0)
    feed(speaking, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), *append(3))
    assert not attach(speaking, 0, 0, resumable=False).rewound
    assert speaking.input_audio.position == speaking.input_audio.durable_position == 4 * len(FRAME)


@pytest.mark.parametrize(
    ("left_at_ms", "now_ms", "moved_ms"),
    [(0, 9000, 0), (3000, 9000, 6000), (500, 9000, 8000), (3000, 3000, 0), (9000, 8000, 0)],
    ids=["not left", "while it was played", "before it began", "at once", "a clock that went back"],
)
def test_what_is_played_waits_while_nobody_listens(left_at_ms: int, now_ms: int, moved_ms: int) -> None:
    """The caller goes on hearing it where the connection broke."""
    call = new_call()
    call.dialogue.playback = Playback("item_1", 1000)
    call.lifecycle.left_at_ms = left_at_ms
    call.record.dirty.clear()
    attach(call, 0, now_ms, resumable=False)
    assert call.dialogue.playback.started_at_ms == 1000 + moved_ms
    assert ("playback" in call.record.dirty) == bool(left_at_ms)
    assert call.lifecycle.left_at_ms == 0


def test_a_call_is_attached_with_whoever_has_come() -> None:
    """Nothing is left of the connection before but that its client could come back."""
    call = new_call()
    attach(call, 0, 0, resumable=True)
    feed(call, inputs.AppendItemAudio(None, FRAME), inputs.ConnectionLost(hung_up=False, planned=True), now_ms=5)
    assert (call.lifecycle.status, call.lifecycle.handed_off, call.lifecycle.left_at_ms) == (Status.PARKED, True, 5)
    assert "status" in call.record.dirty
    call.record.dirty.clear()
    feed(call, inputs.AppendItemAudio(None, FRAME))
    attach(call, None, 9, resumable=False)
    assert (call.lifecycle.status, call.lifecycle.handed_off, call.lifecycle.left_at_ms) == (Status.ATTACHED, False, 0)
    assert call.lifecycle.resumable
    assert call.clips.pending is None
    assert "status" in call.record.dirty
    feed(call, inputs.HandoffPlanned(), inputs.ConnectionLost(hung_up=False))
    assert not call.lifecycle.handed_off


@pytest.mark.parametrize(
    ("last_event", "gap", "replay"),
    [
        (0, (1, 2), [3, 4, 5, 6]),
        (1, (2, 2), [3, 4, 5, 6]),
        (2, None, [3, 4, 5, 6]),
        (5, None, [6]),
        (6, None, []),
        (7, None, []),
        (8, None, []),
        (9, (9, 9), []),
        (11, (9, 11), []),
    ],
)
def test_what_a_client_missed_is_replayed_or_named(
    last_event: int, gap: tuple[int, int] | None, replay: list[int]
) -> None:
    """Of eight events the first two have gone and the last two wait for the store."""
    call = new_call()
    for _ in range(8):
        call.outbox.emit({"type": "x"})
    call.outbox = Outbox(1 << 20, call.outbox.after(2), seq=8)
    call.outbox.visible_seq = 6
    attached = attach(call, last_event, 0, resumable=True)
    assert attached.gap == gap
    assert [entry.n for entry in attached.replay] == replay
    again = attach(call, 0, 0, resumable=True)
    assert [entry.n for entry in again.replay] == ([3, 4, 5, 6] if last_event <= 8 else [])
    assert again.gap == ((1, 2) if last_event <= 8 else (1, last_event))
    assert (call.ids.items_made, call.ids.responses_made) == (max(0, last_event - 8),) * 2


@pytest.mark.parametrize(("last_event", "gap"), [(4, (5, 6)), (5, (6, 6)), (6, None), (8, None), (9, (9, 9))])
def test_without_an_outbox_all_that_was_visible_is_named(last_event: int, gap: tuple[int, int] | None) -> None:
    """Six of eight were; the others come by themselves."""
    call = new_call(outbox_bytes=0)
    for _ in range(8):
        call.outbox.emit({"type": "x"})
    release(call, call.outbox.unsaved[:6])
    assert attach(call, last_event, 0, resumable=True).gap == gap


@pytest.mark.parametrize(
    ("connections", "is_told"),
    [
        ([3], True),
        ([3, 3], True),
        ([3, 2], True),
        ([3, 4], False),
        ([3, None], False),
        ([None], True),
        ([None, 5], True),
        ([None, 6], False),
        ([3, 3, 4], False),
    ],
)
def test_what_the_store_had_lost_is_told_until_an_event_after_it_was_seen(
    connections: list[int | None], is_told: bool
) -> None:
    """Each greeting tells it; a client that has seen what came after one has seen the greeting."""
    call = new_call()
    for _ in range(6):
        call.outbox.emit({"type": "x"})
    release(call, call.outbox.unsaved[:5])
    call.record.missing, call.record.missing_told_at = Missing(items=1), None
    attached = [attach(call, last_event, 0, resumable=True) for last_event in connections]
    assert attached[-1].missing == (Missing(items=1) if is_told else NOTHING_MISSING)


def test_a_call_that_is_left_or_about_to_be_says_so_in_its_record() -> None:
    """And what was visible here is known."""
    ways: list[inputs.Input] = [
        inputs.HandoffPlanned(),
        inputs.ConnectionLost(hung_up=False),
        inputs.EndCall("admin"),
    ]
    for leave in ways:
        call = new_call()
        call.outbox.emit({"type": "x"})
        release(call, call.outbox.unsaved)
        call.record.dirty.clear()
        feed(call, leave)
        assert "status" in call.record.dirty
        assert call.outbox.sent_seq == isinstance(leave, inputs.ConnectionLost)


def test_what_ends_while_something_is_going_on_keeps_no_event_for_a_resume() -> None:
    """Those that wait still go out; the end is in the next write with what it took away."""
    call = new_call()
    feed(call, inputs.AppendItemAudio(None, FRAME), inputs.CreateResponse({}))
    call.record.dirty.clear()
    feed(call, inputs.EndCall("admin"))
    assert len(call.outbox) == 0
    assert call.clips.pending is None
    assert types(call) == ["response.created"]
    assert {"status", "response"} <= call.record.dirty


def test_a_connection_that_comes_too_late_revives_nothing() -> None:
    """It is told what is left to tell; the call has ended."""
    call = new_call()
    feed(call, inputs.EndCall("admin"), now_ms=5)
    call.record.dirty.clear()
    attach(call, 0, 6, resumable=True)
    assert (call.lifecycle.status, call.lifecycle.ended_at_ms) == (Status.ENDED, 5)
    assert "status" not in call.record.dirty


def test_what_a_client_acknowledges_is_not_replayed_any_more() -> None:
    """The outbox begins behind it with the next write, and a client that comes back behind it misses nothing."""
    call = new_call()
    feed(call, text_item(), text_item())
    waiting = [*call.outbox.unsaved]
    take_write(call, 0)
    release(call, waiting)
    feed(call, inputs.AcknowledgeEvents(3))
    assert [entry.n for entry in call.outbox.after(0)] == [4]
    assert take_write(call, 0).keep_events_from == 4
    assert attach(call, 3, 0, resumable=True).gap is None
    assert attach(call, 1, 0, resumable=True).gap == (2, 3)
    feed(call, inputs.AcknowledgeEvents(4))
    assert take_write(call, 0).keep_events_from == 5


def test_an_event_that_was_not_sent_cannot_be_acknowledged() -> None:
    """The error names the newest one; nothing is dropped."""
    call = new_call()
    feed(call, text_item())
    release(call, call.outbox.unsaved[:1])
    feed(call, inputs.AcknowledgeEvents(2))
    error = emitted(call)[-1]["error"]
    assert error["param"] == "event_id"
    assert "'evt_1'" in error["message"]
    assert call.outbox.first_n == 1


def test_who_counts_bytes_is_told_where_an_append_was_refused() -> None:
    """An append without an id has no other name; one with an id, and other clients, get the usual error."""
    call = manual_call()
    machine.step(call, inputs.ConnectionMade(None, resumable=True, counts_bytes=True), 0)
    feed(call, *append(2), inputs.AppendAudio(b"odd"), inputs.AppendAudio(b"odd", "mine"), *append(1))
    nameless, named = [event["error"] for event in emitted(call) if event["type"] == "error"]
    assert nameless["input_audio_bytes"] == 2 * len(FRAME)
    assert (named["event_id"], "input_audio_bytes" in named) == ("mine", False)
    machine.step(call, inputs.ConnectionMade(None, resumable=True), 0)
    feed(call, inputs.AppendAudio(b"odd"))
    assert "input_audio_bytes" not in emitted(call)[-1]["error"]
