"""The rules of a call that are about events, clients and connections."""

from __future__ import annotations

from dataclasses import fields

import pytest

from app.call import inputs, machine
from app.call.conversation import Entry
from app.call.effects import StopReply
from app.call.outbox import Outbox
from app.call.record import REMEMBERED_CLIENT_EVENTS, Call, Hearing, Playback, Reply, Status
from app.call.session import new_session
from app.errors import ProtocolMistake
from tests.call.calls import (
    FRAME,
    append,
    emitted,
    happen,
    item_id,
    manual_call,
    new_call,
    response_id,
    spoken_turn,
    types,
)


def text_item(event_id: str | None = None, **more: object) -> inputs.CreateItem:
    """A typed user message."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}], **more}
    return inputs.CreateItem(item, event_id=event_id)


def test_events_are_numbered_from_one_without_gaps() -> None:
    """n counts up by one with every event."""
    call = new_call()
    spoken_turn(call)
    happen(call, inputs.ReplyText(response_id(1), "Hi."), inputs.ReplyFinished(response_id(1)))
    assert [entry.n for entry in call.unsaved_events] == list(range(1, call.seq + 1))


def test_a_client_event_that_took_effect_is_ignored_when_sent_again_after_a_resume() -> None:
    """The same `event_id` twice makes one item; `last_client_event_id` says which was last."""
    call = new_call()
    happen(call, text_item("a"), text_item("b"))
    assert call.last_client_event_id == "b"
    machine.attach(call, call.seq, 0, resumable=True)
    happen(call, text_item("a"), text_item("b"), text_item("c"))
    assert len(call.conversation) == 3
    assert call.last_client_event_id == "c"


def test_an_id_that_comes_again_on_one_connection_is_another_event() -> None:
    """The protocol's own examples repeat ids: each event gets its answer."""
    call = new_call()
    happen(call, text_item("a"), text_item("a"), inputs.DeleteItem(item_id(9), "a"))
    assert types(call) == ["conversation.item.added", "conversation.item.done"] * 2 + ["error"]


def test_without_a_last_event_no_id_is_taken_for_one_that_comes_again() -> None:
    """A page that was reloaded counts from 0 again."""
    call = new_call()
    happen(call, text_item("evt-0"), text_item("evt-1"))
    machine.attach(call, None, 0, resumable=True)
    happen(call, text_item("evt-0"), text_item("evt-1"))
    assert len(call.conversation) == 4


@pytest.mark.parametrize(
    ("sent_again", "taken"),
    [
        (["b", "c", "d", "a"], ["d", "a"]),
        (["x", "a", "b"], ["x", "a", "b"]),
        (["c", "b", "c"], ["b", "c"]),
        (["c", "c", "c"], ["c", "c"]),
    ],
    ids=["what is new and all after it", "only new", "another order", "one id for everything"],
)
def test_ids_are_recognised_only_as_far_as_they_come_again(sent_again: list[str], taken: list[str]) -> None:
    """From the first that is not known, or does not come in the old order, ids are those of new events."""
    call = new_call()
    happen(call, text_item("a"), text_item("b"), text_item("c"))
    machine.attach(call, call.seq, 0, resumable=True)
    before = len(call.conversation)
    happen(call, *(text_item(event_id) for event_id in sent_again))
    assert len(call.conversation) - before == len(taken)
    assert call.last_client_event_id == taken[-1]


def test_the_last_256_client_events_are_remembered() -> None:
    """Memory of client events is bounded."""
    call = new_call()
    for number in range(REMEMBERED_CLIENT_EVENTS + 1):
        happen(call, inputs.Misspoke(ProtocolMistake("m", code="c"), f"e{number}"))
    assert "e0" not in call.seen
    assert "e1" in call.seen
    assert len(call.seen) == REMEMBERED_CLIENT_EVENTS


def test_an_id_that_came_again_is_remembered_as_the_newest() -> None:
    """It is the last to be forgotten, and the last that took effect."""
    call = new_call()
    happen(call, text_item("again"))
    for number in range(REMEMBERED_CLIENT_EVENTS - 1):
        happen(call, inputs.Misspoke(ProtocolMistake("m", code="c"), f"e{number}"))
    happen(call, text_item("again"), text_item("new"))
    assert "e0" not in call.seen
    assert list(call.seen)[-2:] == ["again", "new"]


def test_a_mistake_names_the_client_event_and_keeps_the_call_alive() -> None:
    """An `error` event carries message, code, param and the offending event's id."""
    call = new_call()
    happen(call, inputs.DeleteItem(item_id(9), "mine"), text_item())
    error = emitted(call)[0]
    assert error["error"]["event_id"] == "mine"
    assert error["error"]["param"] == "item_id"
    assert types(call)[-1] == "conversation.item.done"


def test_a_hang_up_ends_the_call_and_any_other_loss_parks_it() -> None:
    """Close code 1000 is final; everything else waits for the caller."""
    ended, parked = new_call(), new_call()
    happen(ended, inputs.ConnectionLost(hung_up=True), now_ms=5)
    happen(parked, inputs.ConnectionLost(hung_up=False), now_ms=5)
    assert (ended.status, ended.outcome, ended.ended_at_ms) == (Status.ENDED, "hangup", 5)
    assert (parked.status, parked.left_at_ms) == (Status.PARKED, 5)
    assert happen(ended, text_item()) == []
    assert len(ended.conversation) == 0


def test_losing_the_connection_flushes_what_was_said() -> None:
    """Half a turn that was not checkpointed yet is durable with the parking."""
    call = manual_call()
    happen(call, *append(3), inputs.ConnectionLost(hung_up=False, planned=True))
    assert b"".join(entry.audio for entry in call.unsaved_speech) == FRAME * 3
    assert call.heard_ms == 60
    assert call.handed_off


def test_a_resume_starts_after_the_last_event_seen() -> None:
    """Nothing is missing, so there is no gap."""
    call = new_call()
    happen(call, text_item(), text_item(), text_item())
    machine.release(call, call.unsaved_events[:4])
    attached = machine.attach(call, 2, 0, resumable=False)
    assert (attached.start, attached.gap) == (2, None)
    assert [entry.n for entry in attached.replay] == [3, 4]


def test_a_resume_without_a_last_event_begins_with_what_nobody_has_seen() -> None:
    """Events that still wait for the store follow by themselves; none comes twice, none is skipped."""
    call = new_call()
    happen(call, text_item(), text_item())
    machine.release(call, call.unsaved_events[:3])
    attached = machine.attach(call, None, 0, resumable=True)
    assert (attached.start, attached.gap, attached.replay) == (3, None, [])
    assert call.resumable


def test_events_that_are_no_longer_held_are_named() -> None:
    """The outbox is bounded by bytes; what fell out is the gap."""
    call = new_call(outbox_bytes=600)
    for _ in range(5):
        happen(call, text_item())
    machine.release(call, call.unsaved_events)
    attached = machine.attach(call, 1, 0, resumable=False)
    assert attached.start == 1
    assert attached.gap == (2, call.outbox.first_n - 1)


def test_without_an_outbox_everything_missed_is_a_gap() -> None:
    """`VOICE_OUTBOX_BYTES=0` keeps no events and says so."""
    call = new_call(outbox_bytes=0)
    happen(call, text_item(), text_item())
    machine.release(call, call.unsaved_events[:3])
    assert machine.attach(call, 1, 0, resumable=False).gap == (2, 3)
    assert machine.attach(call, 3, 0, resumable=False).gap is None


def test_a_client_that_has_seen_more_than_the_store_is_believed() -> None:
    """Numbering goes on after the client's id, and the gap says what nobody remembers."""
    call = new_call()
    happen(call, text_item())
    machine.release(call, call.unsaved_events)
    attached = machine.attach(call, 10, 0, resumable=False)
    assert (attached.start, attached.gap) == (10, (3, 10))
    happen(call, text_item())
    assert call.unsaved_events[-1].n == 12


def test_quiet_means_that_nobody_speaks_and_nothing_is_made() -> None:
    """Speech, an uncommitted manual buffer, a transcription and a reply each make a handoff wait."""
    call = new_call()
    assert machine.is_quiet(call)
    happen(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)))
    assert not machine.is_quiet(call)
    happen(call, inputs.AppendAudio(FRAME * 10, None, (inputs.VoiceBoundary(False, 9600),)))
    assert not machine.is_quiet(call)
    happen(call, inputs.Transcribed(item_id(1), "hi"), inputs.ReplyFinished(response_id(1)))
    assert machine.is_quiet(call)
    manual = manual_call()
    happen(manual, *append(1))
    assert not machine.is_quiet(manual)


def test_transcripts_go_to_clients_that_asked() -> None:
    """With transcription configured the client hears what was understood, or that nothing was."""
    quiet, curious = new_call(), new_call(audio={"input": {"transcription": {"model": "whisper-1"}}})
    for call in (quiet, curious):
        spoken_turn(call)
        happen(call, inputs.Transcribed(item_id(1), "hello"))
        entry = call.conversation.get(item_id(1))
        assert entry is not None
        assert entry.item["content"][0]["transcript"] == "hello"
    assert not any("transcription" in kind for kind in types(quiet))
    assert types(curious)[-2:] == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    spoken_turn(curious)
    happen(curious, inputs.Transcribed(item_id(2), None))
    assert types(curious)[-1] == "conversation.item.input_audio_transcription.failed"


def test_changing_the_input_format_starts_the_buffer_afresh() -> None:
    """Positions of the new format go on in milliseconds where the old ones ended."""
    call = manual_call()
    happen(call, *append(5), inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    assert not call.hearing.audio
    happen(call, inputs.AppendAudio(b"\xff" * 160 * 10), inputs.CommitAudio())
    assert call.heard_ms == 300


def test_a_planned_handoff_is_durable_before_the_connection_is_closed() -> None:
    """The next owner may be quicker than this pod's last write: speech and reason are saved before the close."""
    call = manual_call()
    happen(call, *append(3), inputs.HandoffPlanned())
    assert b"".join(entry.audio for entry in call.unsaved_speech) == FRAME * 3
    assert call.handed_off
    assert "status" in call.dirty
    machine.attach(call, call.seq, 0, resumable=False)
    assert not call.handed_off


def test_what_has_ended_is_listened_to_and_spoken_to_no_more() -> None:
    """Nothing is left of what only a resume would need, whatever was going on."""
    call = new_call()
    spoken_turn(call)
    happen(call, inputs.ReplyText(response_id(1), "Hi."), inputs.ReplyAudio(response_id(1), FRAME * 50))
    assert call.playback is not None
    effects = happen(call, inputs.EndCall("admin"), now_ms=7)
    assert effects == [StopReply(response_id(1))]
    assert [call.reply, call.playback, call.clip, call.answered] == [None] * 4
    assert (call.reserved, len(call.hearing.audio), call.untranscribed) == (0, 0, {})
    assert (call.status, call.outcome, call.ended_at_ms) == (Status.ENDED, "admin", 7)


def test_a_call_that_has_just_begun_has_nothing_in_it() -> None:
    """Nothing is numbered, counted, saved or under way, in the call or in any part of it."""
    call = Call(
        call_id="call_x",
        epoch=1,
        owner="pod-a",
        color="blue",
        model="test",
        session=new_session("call_x", "test", "alloy", expires_at_s=1),
        outbox=Outbox(1),
        created_at_ms=0,
    )
    assert call.keeps_turns
    for part in (call, Hearing(), Entry({}, "a0"), Reply("resp_1", {}, 0), Playback("item_1", 0)):
        numbers = {field.name: getattr(part, field.name) for field in fields(part) if field.default in (0, 1)}
        numbers.pop("keeps_turns", None)
        assert numbers
        assert not any(numbers.values()), numbers
