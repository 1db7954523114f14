"""The rules of a call that are about events, clients and connections.

Tests of `effects`, too.
"""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.call.calls import (
    FRAME,
    Happening,
    append,
    attach,
    emitted,
    feed,
    item_id,
    manual_call,
    new_call,
    response_id,
    spoken_turn,
    types,
)
from tests.call.engine import asked, finish, first
from voice_agent.call import inputs, machine
from voice_agent.call.client_events import REMEMBERED_CLIENT_EVENTS
from voice_agent.call.clips import HeardClip
from voice_agent.call.dialogue import Playback
from voice_agent.call.effects import CountLimit, DeliverEvents, Transcribe
from voice_agent.call.ids import IdSequence
from voice_agent.call.item_order import Entry
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.record import CallRecord, Identity
from voice_agent.call.response import Response, ResponseRequest
from voice_agent.call.session_config import SessionConfig, new_session
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.writes import take_write
from voice_agent.errors import ProtocolError


def spoken_item(audio: bytes = b"", **more: object) -> inputs.CreateItem:
    """A spoken user message."""
    content = [{"type": "input_audio", "transcript": None}]
    return inputs.CreateItem({"type": "message", "role": "user", "content": content, **more}, audio)


def text_item(event_id: str | None = None, **more: object) -> inputs.CreateItem:
    """A typed user message."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}], **more}
    return inputs.CreateItem(item, event_id=event_id)


def test_events_are_numbered_from_one_without_gaps() -> None:
    """n counts up by one with every event."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "Hi."), finish)
    assert [entry.n for entry in call.outbox.unsaved] == list(range(1, call.outbox.seq + 1))


def test_a_client_event_that_took_effect_is_ignored_when_sent_again_after_a_resume() -> None:
    """The same `event_id` twice makes one item; `last_client_event_id` says which was last."""
    call = new_call()
    feed(call, text_item("a"), text_item("b"))
    assert call.client_events.last_id == "b"
    attach(call, call.outbox.seq, 0, resumable=True)
    feed(call, text_item("a"), text_item("b"), text_item("c"))
    assert len(call.conversation) == 3
    assert call.client_events.last_id == "c"


def test_an_id_that_comes_again_on_one_connection_is_another_event() -> None:
    """The protocol's own examples repeat ids: each event gets its answer."""
    call = new_call()
    feed(call, text_item("a"), text_item("a"), inputs.DeleteItem(item_id(9), "a"))
    assert types(call) == ["conversation.item.added", "conversation.item.done"] * 2 + ["error"]


def test_without_a_last_event_no_id_is_taken_for_one_that_comes_again() -> None:
    """A page that was reloaded counts from 0 again."""
    call = new_call()
    feed(call, text_item("evt-0"), text_item("evt-1"))
    attach(call, None, 0, resumable=True)
    feed(call, text_item("evt-0"), text_item("evt-1"))
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
    feed(call, text_item("a"), text_item("b"), text_item("c"))
    attach(call, call.outbox.seq, 0, resumable=True)
    before = len(call.conversation)
    feed(call, *(text_item(event_id) for event_id in sent_again))
    assert len(call.conversation) - before == len(taken)
    assert call.client_events.last_id == taken[-1]


def test_an_event_without_an_id_says_nothing_of_those_that_come_again() -> None:
    """It is a new one, and what follows may be known yet."""
    call = new_call()
    feed(call, text_item("a"))
    attach(call, call.outbox.seq, 0, resumable=True)
    feed(call, text_item(), text_item("a"))
    assert len(call.conversation) == 2


def test_the_last_256_client_events_are_remembered() -> None:
    """Memory of client events is bounded."""
    call = new_call()
    for number in range(REMEMBERED_CLIENT_EVENTS + 1):
        feed(call, inputs.InvalidEvent(ProtocolError("m", code="c"), f"e{number}"))
    assert "e0" not in call.client_events.seen
    assert "e1" in call.client_events.seen
    assert len(call.client_events.seen) == REMEMBERED_CLIENT_EVENTS


def test_an_id_that_came_again_is_remembered_as_the_newest() -> None:
    """It is the last to be forgotten, and the last that took effect."""
    call = new_call()
    feed(call, text_item("again"))
    for number in range(REMEMBERED_CLIENT_EVENTS - 1):
        feed(call, inputs.InvalidEvent(ProtocolError("m", code="c"), f"e{number}"))
    feed(call, text_item("again"), text_item("new"))
    assert "e0" not in call.client_events.seen
    assert list(call.client_events.seen)[-2:] == ["again", "new"]


def test_an_invalid_event_names_the_client_event_and_keeps_the_call_alive() -> None:
    """An `error` event carries message, code, param and the offending event's id."""
    call = new_call()
    feed(call, inputs.DeleteItem(item_id(9), "mine"), text_item())
    error = emitted(call)[0]
    assert error["error"]["event_id"] == "mine"
    assert error["error"]["param"] == "item_id"
    assert types(call)[-1] == "conversation.item.done"


def test_quiet_means_that_nobody_speaks_and_nothing_is_made() -> None:
    """Speech, an uncommitted manual buffer, a transcription and a reply each make a handoff wait."""
    call = new_call()
    assert machine.is_quiet(call)
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)))
    assert not machine.is_quiet(call)
    feed(call, inputs.AppendAudio(FRAME * 10, None, (inputs.VoiceBoundary(False, 9600),)))
    assert not machine.is_quiet(call)
    feed(call, inputs.Transcribed(item_id(1), "hi"), finish)
    assert machine.is_quiet(call)
    manual = manual_call()
    feed(manual, *append(1))
    assert not machine.is_quiet(manual)


def test_transcripts_go_to_clients_that_asked() -> None:
    """With transcription configured the client hears what was understood, or that nothing was."""
    quiet, curious = new_call(), new_call(audio={"input": {"transcription": {"model": "whisper-1"}}})
    for call in (quiet, curious):
        spoken_turn(call)
        feed(call, inputs.Transcribed(item_id(1), "hello"))
        entry = call.conversation.get(item_id(1))
        assert entry is not None
        assert entry.item["content"][0]["transcript"] == "hello"
    assert not any("transcription" in kind for kind in types(quiet))
    assert types(curious)[-2:] == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    spoken_turn(curious)
    feed(curious, inputs.Transcribed(item_id(2), None))
    assert types(curious)[-1] == "conversation.item.input_audio_transcription.failed"


def test_changing_the_input_format_starts_the_buffer_afresh() -> None:
    """Positions of the new format go on in milliseconds where the old ones ended."""
    call = manual_call()
    feed(call, *append(5), inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    assert not call.input_audio.audio
    feed(call, inputs.AppendAudio(b"\xff" * 160 * 10), inputs.CommitAudio())
    assert call.heard_ms == 300


def test_a_call_that_has_just_begun_has_nothing_in_it() -> None:
    """Nothing is numbered, counted, saved or under way, in the call or in any part of it."""
    call = CallRecord(
        call_id="call_x",
        identity=Identity(model="test", created_at_ms=0, mirror=False),
        owner=Owner(1, "pod-a", "blue"),
        ids=IdSequence.of("call_x"),
        speech=SpeechLog(),
        session=SessionConfig(new_session("call_x", "test", "alloy", expires_at_s=1)),
        outbox=Outbox(1),
    )
    assert call.speech.keeps_turns
    assert (call.outbox.seq, call.outbox.visible_seq, call.outbox.sent_seq, call.unsaved_bytes) == (0, 0, 0, 0)
    parts = (call.ids, call.lifecycle, call.dialogue, call.record, call.speech, call.client_events, call.input_audio)
    for part in (*parts, Entry({}, "a0"), Playback("item_1", 0), Response("resp_1", ResponseRequest({}, 0))):
        numbers = {field.name: getattr(part, field.name) for field in fields(part) if field.default in (0, 1)}
        numbers.pop("keeps_turns", None)
        numbers.pop("is_interruptible", None)
        assert numbers
        assert not any(numbers.values()), numbers


@pytest.mark.parametrize(
    ("say", "is_quiet"),
    [
        ([], True),
        (append(3), True),
        ([inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),))], False),
        ([*append(5), inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}})], False),
        ([inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}})], True),
        ([inputs.CreateResponse({})], False),
        ([inputs.CreateResponse({}), inputs.CancelResponse()], False),
        ([inputs.CreateResponse({}), inputs.CancelResponse(), asked], True),
        ([spoken_item(FRAME * 10)], False),
        ([spoken_item(FRAME * 10), inputs.Transcribed(item_id(1), "hi")], False),
        ([spoken_item(FRAME * 10), inputs.Transcribed(item_id(1), "hi"), asked], True),
    ],
    ids="nothing padding speech manual empty reply cancelled stopped transcription understood handled".split(),
)
def test_each_thing_that_is_going_on_makes_a_handoff_wait(say: list[Happening], is_quiet: bool) -> None:
    """By itself. What is kept of silence is nothing that anybody said."""
    call = new_call()
    feed(call, *say)
    assert machine.is_quiet(call) == is_quiet


def test_the_callers_own_audio_that_comes_back_makes_no_handoff_wait() -> None:
    """It does not end by itself."""
    call = new_call(mirror=True)
    feed(call, *append(1))
    assert call.response is not None
    assert machine.is_quiet(call)


def test_what_the_caller_said_is_saved_once_a_write_has_it() -> None:
    """Silence is not speech; in manual mode everything is."""
    silent, manual, speaking = new_call(), manual_call(), new_call()
    feed(silent, *append(3))
    assert silent.input_audio.audio
    assert machine.is_saved(silent)
    feed(manual, *append(3))
    start = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),))
    feed(speaking, start)
    take_write(speaking, 0)
    assert machine.is_saved(speaking)
    feed(speaking, *append(1))
    for call in (manual, speaking):
        assert not machine.is_saved(call)
        feed(call, inputs.HandoffPlanned())
        assert call.input_audio.saved == len(call.input_audio.audio)
        assert not machine.is_saved(call)
        take_write(call, 0)
        assert machine.is_saved(call)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_new_owner_starts_what_was_under_way(mirror: bool) -> None:
    """Transcriptions, and the agent's run; a reply that is the caller's own audio has none."""
    call = new_call(mirror=mirror)
    assert machine.resume(call) == []
    feed(call, spoken_item(FRAME * 10))
    assert machine.resume(call) == [Transcribe(item_id(1), FRAME * 10)]
    feed(call, inputs.DtmfPressed("1"), inputs.CreateResponse({}))
    assert machine.resume(call)[1:] == ([] if mirror else [DeliverEvents()])


def test_what_is_wrong_with_long_audio_is_known_before_it_comes() -> None:
    """Of an append or of an item, by its size; nothing has changed."""
    call = manual_call()
    feed(call, text_item(id="mine"))
    take_write(call, 0)
    asked: list[tuple[inputs.AppendAudio | inputs.CreateItem, int, str]] = [
        (inputs.AppendAudio(b""), 11, "audio"),
        (spoken_item(), 11, "item.content"),
        (spoken_item(id="mine"), 10, "item.id"),
    ]
    assert machine.refusal(call, inputs.AppendAudio(b""), 10) is None
    assert machine.refusal(call, spoken_item(), 10) is None
    for event, size_bytes, param in asked:
        refused = machine.refusal(call, event, size_bytes)
        assert refused is not None
        assert refused.param == param
    assert not call.has_changes


def test_a_limit_that_an_invalid_event_met_is_counted() -> None:
    """One that met none is an event and nothing else."""
    call = new_call()
    limited = inputs.InvalidEvent(ProtocolError("m", code="c", limit="item_bytes"))
    assert feed(call, limited) == [CountLimit("item_bytes")]
    assert feed(call, inputs.InvalidEvent(ProtocolError("m", code="c"))) == []
    assert types(call) == ["error", "error"]


def test_parts_of_another_reply_than_the_one_under_way_are_ignored() -> None:
    """An agent may not know yet that it was cancelled."""
    call = new_call()
    feed(call, inputs.ResponseText(response_id(1), "nobody asked"), inputs.CreateResponse({}))
    before = types(call)
    feed(call, inputs.ResponseText(response_id(2), "of a later one"), inputs.EventDone(first(call).number + 1))
    assert types(call) == before == ["response.created"]
    assert call.response is not None
    feed(call, finish)
    assert types(call)[-1] == "response.done"


@pytest.mark.parametrize(("text", "told"), [("hi", ["delta", "completed"]), ("", ["completed"]), (None, ["failed"])])
def test_what_was_understood_is_told_and_stored(text: str | None, told: list[str]) -> None:
    """Once: nothing is known of an item any more that was understood before, or that has gone."""
    call = new_call(audio={"input": {"transcription": {"model": "whisper-1"}}})
    feed(call, spoken_item(FRAME * 75, id="mine"))
    take_write(call, 0)
    feed(call, inputs.Transcribed("mine", text), inputs.Transcribed("mine", "again"))
    assert [kind.rpartition(".")[2] for kind in types(call)] == told
    assert emitted(call)[-1].get("usage", {}).get("seconds") == (None if text is None else 1.5)
    assert call.clips.untranscribed == {}
    assert "turn" in call.record.dirty
    assert call.conversation.take_changes()[0].keys() == {"mine"}
    call.clips.untranscribed["gone"] = HeardClip("gone", FRAME, 1)
    feed(call, inputs.Transcribed("gone", "hi"))
    assert call.clips.untranscribed == {}
    assert len(types(call)) == len(told)


def test_a_drain_is_announced_as_an_event() -> None:
    """With the time that is left."""
    call = new_call()
    feed(call, inputs.DrainAnnounced(1500))
    (event,) = emitted(call)
    assert (event["type"], event["reason"]) == ("call.going_away", "drain")
    assert not call.lifecycle.handed_off
