"""What happens to a call is written down, and read again as it was."""

from __future__ import annotations

from typing import get_args
from unittest.mock import Mock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import CALL_ID, new_call, stored
from voice_agent.call import inputs, machine
from voice_agent.call.apology import Apology
from voice_agent.call.beginnings import Beginning, CallClaimed, CallMade
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.inputs import Input
from voice_agent.call.recording import InputText, _shape, digest, emitted_after, opening, read
from voice_agent.errors import ProtocolError, RecordingUnreadable

MADE = CallMade(
    call_id=CALL_ID,
    claim="c0",
    owner="pod-a",
    color="blue",
    model="test",
    voice="ash",
    created_at_ms=5,
    expires_at_s=9,
    outbox_bytes=1000,
    checkpoint_ms=100,
)
ONE_OF_EACH: list[Input] = [
    inputs.UpdateSession({"instructions": "ü", "x": [1.0, None, {"y": True}]}, "e1"),
    inputs.AppendAudio(b"\x00\xff", "e2", (inputs.VoiceBoundary(True, 7, 9), inputs.VoiceBoundary(False, 8))),
    inputs.CommitAudio(),
    inputs.ClearAudio("e3"),
    inputs.CreateItem({"type": "message"}, b"abcd", "root", "e4", audio_appended=True),
    inputs.RetrieveItem("item_1"),
    inputs.TruncateItem("item_1", 0, 400),
    inputs.DeleteItem("item_1"),
    inputs.CreateResponse({"metadata": {}}),
    inputs.CancelResponse("resp_1"),
    inputs.AcknowledgeEvents(41),
    inputs.InvalidEvent(ProtocolError("no", code="bad", param="a.b", limit="items"), "e5"),
    inputs.Transcribed("item_1", None, by_agent=True),
    inputs.Transcribed("item_1", "for", certain=False, alternatives=("four", "fore")),
    inputs.TranscriptGiven("item_1", "hi"),
    inputs.ResponseText("resp_1", "hi", joins=True),
    inputs.ResponseAudio("resp_1", b"\x01\x00", 2, [[0, 0], [10, 3]]),
    inputs.ResponseDiverged("resp_1", 3),
    inputs.ConnectionMade(4, resumable=True),
    inputs.ConnectionLost(hung_up=False, planned=True),
    inputs.HandoffPlanned(),
    inputs.DrainAnnounced(500),
    inputs.EndCall("admin"),
    inputs.AppendItemAudio(None, b"\x03\x00"),
    inputs.AudioStopped(),
    inputs.TimersDue(),
    inputs.DtmfPressed("#"),
    inputs.EventDone(3, {"n": [1]}),
    inputs.EventDone(3, None, "max_output_tokens"),
    inputs.EventFailed(3, "broke", Apology("sorry", b"\x05\x00")),
    inputs.SpeechBegun(3, "reply", interruptible=False),
    inputs.SpeechEnded(3, "reply"),
    inputs.ToolAsked(3, "look", "look_up", "{}"),
    inputs.OnceBegun(3, "book"),
    inputs.OnceDone(3, "book", [1, None]),
    inputs.TimerSet(3, "at", "remind", 500),
    inputs.AgentEventSent(3, "send", {"type": "agent.card"}),
    inputs.TransferAsked(3, "person", "+4930123"),
    inputs.HangUpAsked(3, "bye", "done"),
    inputs.UsageBegun("req_1", "openai", "gpt", "resp_1"),
    inputs.UsageAttributed("req_1", "resp_1"),
    inputs.UsageKnown("req_1", {"input_tokens": 3}),
    inputs.UsageUnknown("req_1"),
    inputs.UsageWithdrawn("req_1"),
    inputs.ClaimAsked("c1"),
    inputs.ClaimGranted(2, "c1"),
    inputs.TakeWrite(is_scarce=True),
    inputs.SkipWrite(),
    inputs.EventsReleased(9),
    inputs.WriteLost([OutboxEntry(1, b"{}", b""), OutboxEntry(2, b"{}", b"\x04\x00")]),
]


def entries(recording: bytes) -> list[Input]:
    """The inputs of a recording."""
    return [entry.input() for entry in read(recording)[1]]


def recorded(*given: Input, beginning: Beginning = MADE) -> bytes:
    """A recording of these inputs, which gave no events."""
    first = opening(beginning, version="1", pod="pod-a")
    return first + b"".join(InputText(event, 3).entry([]) for event in given)


def test_an_input_of_every_kind_is_read_as_it_was() -> None:
    """With all its fields, also those that are bytes or other objects."""
    assert {type(event) for event in ONE_OF_EACH} == set(get_args(Input))
    for was, now in zip(ONE_OF_EACH, entries(recorded(*ONE_OF_EACH)), strict=True):
        if isinstance(was, inputs.InvalidEvent):
            assert isinstance(now, inputs.InvalidEvent)
            assert vars(now.error) == vars(was.error)
            assert now.event_id == was.event_id
        else:
            assert now == was
    [again] = entries(recorded(ONE_OF_EACH[1]))
    assert isinstance(again, inputs.AppendAudio)
    assert again.boundaries[0].known_at == 9


@given(st.binary(max_size=100), st.lists(st.tuples(st.integers(0, 9), st.binary(), st.binary()), max_size=5))
def test_any_bytes_are_read_as_they_were(audio: bytes, events: list[tuple[int, bytes, bytes]]) -> None:
    """Those of the input and those of the events beside it."""
    lost = inputs.WriteLost([OutboxEntry(*event) for event in events])
    assert entries(recorded(inputs.AppendAudio(audio), lost)) == [inputs.AppendAudio(audio), lost]


def test_a_call_that_was_claimed_begins_with_its_snapshot() -> None:
    """Record, items, outbox and speech."""
    call = new_call()
    machine.step(call, ONE_OF_EACH[1], 0)
    call.record.write_whole = True
    for beginning in (MADE, CallClaimed(snapshot=stored(call), epoch=3, outbox_bytes=5, checkpoint_ms=0)):
        begun, _ = read(recorded(beginning=beginning))
        assert begun.beginning == beginning
        assert (begun.version, begun.pod) == ("1", "pod-a")


def test_an_input_is_taken_down_before_the_rules_have_it() -> None:
    """They keep what it holds, and change that later."""
    given: dict[str, object] = {"instructions": "before"}
    text = InputText(inputs.UpdateSession(given), 3)
    given["instructions"] = "after"
    recording = opening(MADE, version="1", pod="p") + text.entry([])
    assert entries(recording) == [inputs.UpdateSession({"instructions": "before"})]


def test_events_are_kept_with_their_numbers_and_a_digest_of_their_audio() -> None:
    """In the order in which they were emitted."""
    call = new_call()
    call.outbox.emit({"type": "a"})
    before = call.outbox.seq
    call.outbox.emit({"type": "b"})
    call.outbox.emit({"type": "c"}, b"\x01\x00")
    recording = opening(MADE, version="1", pod="p") + InputText(inputs.ClearAudio(), 3).entry(
        emitted_after(call, before)
    )
    [entry] = read(recording)[1]
    assert [(n, orjson.loads(head)["type"], audio) for n, head, audio in entry.events] == [
        (before + 1, "b", ""),
        (before + 2, "c", digest(b"\x01\x00")),
    ]
    assert digest(b"\x01\x00") != digest(b"\x00\x01")


def test_what_was_cut_anywhere_is_read_as_far_as_it_goes() -> None:
    """Its pod died while it wrote."""
    whole = recorded(inputs.CommitAudio(), inputs.AppendAudio(b"abcd"))
    first = len(recorded())
    found = {len(entries(whole[:size])) for size in range(first, len(whole) + 1)}
    assert found == {0, 1, 2}
    for size in range(first):
        with pytest.raises(RecordingUnreadable):
            read(whole[:size])


def test_an_entry_that_lacks_bytes_which_it_counts_is_refused() -> None:
    """Not read as if it had fewer."""
    whole = recorded(inputs.AppendAudio(b"abcd"))
    assert whole.count(b'"audio":4') == 1
    [entry] = read(whole.replace(b'"audio":4', b'"audio":5'))[1]
    with pytest.raises(RecordingUnreadable, match="bytes are missing"):
        entry.input()


def test_what_an_earlier_version_did_not_write_has_its_default() -> None:
    """So a field that is added makes no recording unreadable."""
    read_input = _shape(inputs.CommitAudio).read
    assert read_input({}, Mock()) == inputs.CommitAudio()
    with pytest.raises(ValueError, match="tempo"):
        read_input({"event_id": None, "tempo": 1}, Mock())


def test_what_is_no_recording_of_this_format_is_refused() -> None:
    """And so is an input of a kind, or with fields, that this version does not have."""
    for damaged in (b"", b"RIFF" * 9, recorded().replace(b'"format":1', b'"format":2')):
        with pytest.raises(RecordingUnreadable):
            read(damaged)
    for was, is_now in ((b"ClaimAsked", b"ClaimAskee"), (b'"name"', b'"nome"')):
        [entry] = read(recorded(inputs.ClaimAsked("c1")).replace(was, is_now))[1]
        with pytest.raises(RecordingUnreadable):
            entry.input()
    with pytest.raises(RecordingUnreadable):
        list(read(recorded(inputs.CommitAudio()).replace(b"[3,", b"{3,"))[1])
