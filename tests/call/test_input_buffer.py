"""What a call keeps of the caller's audio: how much of it, and where it is stored."""

from __future__ import annotations

import pytest

from tests.call.calls import (
    FRAME,
    append,
    attach,
    beside_speech,
    emitted,
    feed,
    item_id,
    manual_call,
    new_call,
    spoken_turn,
)
from voice_agent.call import input_audio, inputs, machine
from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.effects import CountLimit, DeliverEvents, Effect, ResetEndpointing, Transcribe
from voice_agent.call.input_audio import MAX_BUFFER_BYTES
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import take_write


def begin(call: CallRecord) -> list[Effect]:
    """The caller begins to speak."""
    return feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))


# --- what is stored of it ---------------------------------------------------


@pytest.mark.parametrize("is_manual", [False, True])
def test_each_turn_is_stored_under_numbers_of_its_own(is_manual: bool) -> None:
    """What is kept of a turn is trimmed from its first number on: that is the first piece of this turn, of several."""
    call = manual_call() if is_manual else new_call()
    for number in (1, 2):
        if is_manual:
            feed(call, *append(35), inputs.CommitAudio())
        else:
            feed(call, *append(20))
            spoken_turn(call, frames=35)
        pieces = [entry for entry in take_write(call, 0).speech if entry.item_id == item_id(number)]
        assert len(pieces) > 1
        assert call.clips.latest is not None
        assert (call.clips.latest.item_id, call.clips.latest.first_n) == (item_id(number), pieces[0].n)
        assert b"".join(entry.audio for entry in pieces) == call.clips.latest.audio
        assert (call.input_audio.saved, call.input_audio.first_n, call.input_audio.item_id) == (0, 0, None)
        assert call.dialogue.turns == number


def test_the_length_of_a_turn_is_told_with_its_words() -> None:
    """In seconds of its audio."""
    call = new_call(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    feed(call, *append(10), inputs.CommitAudio(), inputs.Transcribed(item_id(1), "hi"))
    assert emitted(call)[-1]["usage"] == {"type": "duration", "seconds": 0.2}


@pytest.mark.parametrize("how", ["lost", "handoff"])
def test_an_utterance_under_way_is_saved_when_its_connection_goes(how: str) -> None:
    """However little of it there is; what was no speech is sent again."""
    gone: inputs.Input = inputs.ConnectionLost(hung_up=False) if how == "lost" else inputs.HandoffPlanned()
    speaking, silent = new_call(), new_call()
    for call in (speaking, silent):
        call.speech.checkpoint_ms = 0
    begin(speaking)
    feed(speaking, *append(3), gone)
    feed(silent, *append(4), gone)
    assert b"".join(entry.audio for entry in speaking.speech.unsaved) == FRAME * 4
    assert silent.speech.unsaved == []


def test_an_empty_buffer_takes_no_id() -> None:
    """The item that the client makes next has the first one, connections or not."""
    call = manual_call()
    feed(call, inputs.ConnectionLost(hung_up=False))
    attach(call, None, 0, resumable=True)
    feed(call, inputs.CreateItem({"type": "function_call_output", "call_id": "c", "output": "x"}))
    assert call.conversation.last_id == item_id(1)


def test_without_checkpoints_speech_is_stored_in_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as there is enough for one, not before."""
    monkeypatch.setattr(input_audio, "MAX_PIECE_BYTES", 30 * len(FRAME))
    call = new_call()
    call.speech.checkpoint_ms = 0
    begin(call)
    feed(call, *append(28))
    assert call.speech.unsaved == []
    feed(call, *append(1))
    assert [entry.audio for entry in call.speech.unsaved] == [FRAME * 30]


def test_speech_waits_for_no_write_while_the_store_is_short_of_memory() -> None:
    """No write is due for it."""
    call = manual_call()
    call.speech.under_memory_pressure = True
    feed(call, *append(50))
    assert not call.has_changes


def test_what_waits_of_an_utterance_is_taken_back_and_turns_are_not() -> None:
    """It counts as not saved again; where turns are not kept either, their audio goes, too."""
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio(), *append(10))
    unsaved_bytes = call.unsaved_bytes
    input_audio.release_unsaved_speech(call.input_audio, call.speech)
    assert [(entry.n, entry.item_id) for entry in call.speech.unsaved] == [(1, item_id(1))]
    assert (call.input_audio.saved, call.input_audio.first_n) == (0, 0)
    assert call.unsaved_bytes == unsaved_bytes - 10 * len(FRAME)
    call.speech.keeps_turns = False
    input_audio.release_unsaved_speech(call.input_audio, call.speech)
    assert call.speech.unsaved == []
    assert call.unsaved_bytes == unsaved_bytes - 20 * len(FRAME)


def test_what_is_stored_of_an_utterance_is_not_taken_back() -> None:
    """Only what was to come with the next write is."""
    call = manual_call()
    feed(call, *append(10))
    [stored] = take_write(call, 0).speech
    feed(call, *append(10))
    input_audio.release_unsaved_speech(call.input_audio, call.speech)
    assert call.speech.unsaved == []
    assert (call.input_audio.saved, call.input_audio.first_n) == (10 * len(FRAME), stored.n)


def test_a_silent_call_is_written_every_other_second() -> None:
    """So far behind is the position from which a client sends again after a crash."""
    call = new_call()
    padding = 15
    feed(call, *append(100 + padding - 1))
    assert not call.has_changes
    feed(call, *append(1))
    assert call.has_changes
    take_write(call, 0)
    feed(call, *append(99))
    assert not call.has_changes
    feed(call, *append(1))
    assert call.has_changes


@pytest.mark.parametrize("size", [7, 8, 2401])
def test_no_byte_of_silence_is_lost_before_the_padding_is_full(size: int) -> None:
    """Nor is more kept, however the audio is cut."""
    call = new_call(audio={"input": {"format": {"type": "audio/pcmu"}}})
    for count in range(1, 350):
        feed(call, inputs.AppendAudio(bytes(size)))
        assert len(call.input_audio.audio) == min(count * size, 2400)


def test_nothing_that_was_said_is_left_in_a_call_that_has_ended() -> None:
    """Neither in the buffer nor waiting for a write."""
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio(), *append(20), inputs.EndCall("admin"))
    assert kept_audio_bytes(call) == 0
    assert call.speech.unsaved == []


# --- bounds -----------------------------------------------------------------


def test_audio_counts_in_however_small_pieces_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a turn that waits to be understood; the bound itself is allowed."""
    monkeypatch.setattr(input_audio, "MAX_AUDIO_BYTES", 20 * len(FRAME))
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio())
    assert beside_speech(feed(call, *append(10))) == []
    assert feed(call, *append(1)) == [CountLimit("call_audio_bytes")]
    assert kept_audio_bytes(call) == 20 * len(FRAME)


def test_speech_is_cut_at_the_byte_where_all_audio_reaches_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered as one that goes on; silence behind it changes nothing, and speech is not heard and refused."""
    monkeypatch.setattr(input_audio, "MAX_AUDIO_BYTES", 20 * len(FRAME))
    monkeypatch.setattr(input_audio, "MAX_PIECE_BYTES", len(FRAME))
    call = new_call()
    spoken_turn(call, frames=10)
    assert beside_speech(begin(call)) == []
    assert call.response is None
    assert feed(call, *append(9)) == []
    assert beside_speech(feed(call, *append(1))) == [
        CountLimit("call_audio_bytes"),
        Transcribe(item_id(2), FRAME * 10),
        ResetEndpointing(),
    ]
    assert call.response is not None
    assert call.response.asked.cut
    emitted_before = call.outbox.seq
    assert feed(call, *append(20)) == []
    assert call.outbox.seq == emitted_before
    assert begin(call) == [CountLimit("call_audio_bytes")]
    assert emitted(call)[-1]["error"]["code"] == "audio_full"
    assert not call.input_audio.speaking


@pytest.mark.parametrize("less", [0, 1])
def test_speech_is_heard_where_there_is_room_for_a_piece_of_it(monkeypatch: pytest.MonkeyPatch, less: int) -> None:
    """To the byte."""
    monkeypatch.setattr(input_audio, "MAX_PIECE_BYTES", len(FRAME))
    monkeypatch.setattr(input_audio, "MAX_AUDIO_BYTES", 12 * len(FRAME) - less)
    call = new_call()
    spoken_turn(call, frames=10)
    begin(call)
    assert call.input_audio.speaking is not bool(less)


def test_an_utterance_that_fills_the_buffer_is_answered_as_one_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent knows that the caller had not finished."""
    monkeypatch.setattr(input_audio, "MAX_BUFFER_BYTES", 10 * len(FRAME))
    call = new_call()
    begin(call)
    feed(call, *append(10))
    assert call.response is not None
    assert call.response.asked.cut


def test_which_item_is_not_transcribed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place of its audio."""
    monkeypatch.setattr(input_audio, "MAX_UNTRANSCRIBED", 0)
    call = new_call(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    effects = beside_speech(feed(call, *append(10), inputs.CommitAudio()))
    assert effects == [CountLimit("untranscribed_items"), DeliverEvents()]
    assert (emitted(call)[-1]["item_id"], emitted(call)[-1]["content_index"]) == (item_id(1), 0)


@pytest.mark.parametrize(
    ("kind", "size", "code"),
    [
        ("manual", 4, None),
        ("manual", 5, "invalid_value"),
        ("manual", MAX_BUFFER_BYTES, None),
        ("manual", MAX_BUFFER_BYTES + 2, "input_audio_buffer_full"),
        ("detecting", MAX_BUFFER_BYTES + 2, None),
        ("detecting", 5, "invalid_value"),
        ("mirror", MAX_BUFFER_BYTES + 2, None),
        ("mirror", 5, "invalid_value"),
    ],
)
def test_it_is_known_before_its_audio_comes_whether_an_append_is_taken(kind: str, size: int, code: str | None) -> None:
    """A buffer is filled by calls alone that commit it themselves; where turns are detected they are cut instead."""
    call = new_call() if kind == "detecting" else manual_call(mirror=kind == "mirror")
    error = machine.refusal(call, inputs.AppendAudio(b""), size)
    assert (error.code if error is not None else None) == code
