"""How what the caller says becomes turns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    response_id,
    spoken_turn,
    types,
)
from tests.call.engine import finish
from voice_agent.call import conversation, inputs
from voice_agent.call.effects import (
    CountLimit,
    Effect,
    ResetEndpointing,
    SpeechStarted,
    SpeechStopped,
    Transcribe,
)
from voice_agent.call.input_audio import MAX_BUFFER_BYTES
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import take_write


def test_who_begins_with_a_sample_alone_has_begun() -> None:
    """One of G.711 is a byte."""
    audio = {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}}
    assert feed(new_call(audio=audio), inputs.AppendAudio(b"\xff")) == [SpeechStarted(None)]


def test_a_spoken_turn_has_openais_events_in_openais_order() -> None:
    """Speech start, stop, commit, the item, and the response that answers it."""
    call = new_call()
    effects = spoken_turn(call)
    assert types(call) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert effects == [
        SpeechStarted(item_id(1)),
        SpeechStopped(item_id(1)),
        Transcribe(item_id(1), FRAME * 25),
    ]
    assert call.response is not None


def test_the_turn_starts_with_the_padding_that_was_asked_for() -> None:
    """`prefix_padding_ms` of audio from before the speech belongs to the turn, and its start says so."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 100}}})
    feed(call, *append(50))
    spoken_turn(call, frames=10)
    assert emitted(call)[0]["audio_start_ms"] == 900
    assert call.clips.latest is not None
    assert len(call.clips.latest.audio) == 5 * len(FRAME) + 10 * len(FRAME)


def test_silence_keeps_only_the_padding() -> None:
    """A caller who says nothing for long costs no memory and no writes."""
    call = new_call()
    feed(call, *append(99))
    assert len(call.input_audio.audio) == 15 * len(FRAME)
    assert not call.speech.unsaved
    assert not call.has_changes


def test_the_stored_position_stays_in_front_of_audio_that_only_memory_has() -> None:
    """A client that re-sends from `input_audio_ms` sends again what a crash would lose."""
    call = new_call()
    feed(call, *append(50))
    assert call.heard_ms == 1000 - 300


def test_speech_is_checkpointed_as_it_grows() -> None:
    """While the caller speaks, a piece is handed to the store every checkpoint interval."""
    call = new_call()
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), *append(24))
    pieces = [entry.audio for entry in call.speech.unsaved]
    assert b"".join(pieces) == FRAME * 21
    assert call.heard_ms == 420


@pytest.mark.parametrize("is_manual", [False, True])
@pytest.mark.parametrize("is_written", [False, True])
def test_audio_that_was_taken_back_may_be_sent_again_under_its_own_id(is_manual: bool, is_written: bool) -> None:
    """Its caller comes back and sends again from `input_audio_ms`: what that covers is ignored, the rest is heard."""
    call = manual_call() if is_manual else new_call()
    frames = [inputs.AppendAudio(FRAME, f"frame_{n}") for n in range(20)]
    feed(call, *frames)
    if is_written:
        take_write(call, 0)
    attached = attach(call, call.outbox.visible_seq, 0, resumable=True)
    kept = call.heard_bytes // len(FRAME)
    assert attached.rewound is not is_manual
    assert call.client_events.last_id == (f"frame_{kept - 1}" if kept else None)
    feed(call, *frames)
    assert call.input_audio.position == 20 * len(FRAME)
    assert len(call.input_audio.audio) == (20 if is_manual else 15) * len(FRAME)


def test_a_manual_turn_is_not_answered_until_asked() -> None:
    """With `turn_detection: null`, commit makes an item and nothing else."""
    call = manual_call()
    effects = feed(call, *append(10), inputs.CommitAudio())
    assert effects == [SpeechStarted(None), SpeechStopped(item_id(1)), Transcribe(item_id(1), FRAME * 10)]
    assert types(call)[-3:] == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert call.response is None
    feed(call, inputs.CreateResponse({}))
    assert call.response is not None


def test_committing_less_than_100_ms_is_refused() -> None:
    """The error says how much there is and how much is needed."""
    call = manual_call()
    feed(call, *append(4), inputs.CommitAudio())
    error = emitted(call)[-1]["error"]
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "100ms" in error["message"]
    assert "80.00ms" in error["message"]


def test_clear_forgets_the_buffer_and_listens_afresh() -> None:
    """After a clear nothing is left to commit."""
    call = manual_call()
    assert feed(call, *append(10), inputs.ClearAudio()) == [
        SpeechStarted(None),
        SpeechStopped(None),
        ResetEndpointing(),
    ]
    assert types(call)[-1] == "input_audio_buffer.cleared"
    feed(call, inputs.CommitAudio())
    assert types(call)[-1] == "error"


def test_half_a_sample_is_refused() -> None:
    """PCM that is no whole number of samples is an error and changes nothing."""
    call = manual_call()
    feed(call, inputs.AppendAudio(b"\x00" * 481))
    assert emitted(call)[-1]["error"]["param"] == "audio"
    assert call.input_audio.position == 0


def test_a_manual_buffer_is_bounded() -> None:
    """Beyond its limit the buffer takes nothing more and says so."""
    call = manual_call()
    big = b"\x00" * (MAX_BUFFER_BYTES // 2)
    feed(call, inputs.AppendAudio(big), inputs.AppendAudio(big), inputs.AppendAudio(FRAME))
    assert emitted(call)[-1]["error"]["code"] == "input_audio_buffer_full"
    assert len(call.input_audio.audio) == MAX_BUFFER_BYTES


def test_speech_without_end_becomes_a_turn_at_the_limit() -> None:
    """A caller who never pauses is cut into turns instead of filling the memory."""
    call = new_call()
    big = b"\x00" * (MAX_BUFFER_BYTES // 2)
    feed(call, inputs.AppendAudio(big, None, (inputs.VoiceBoundary(True, 0),)))
    effects = feed(call, inputs.AppendAudio(big), inputs.AppendAudio(FRAME))
    assert "input_audio_buffer.committed" in types(call)
    assert ResetEndpointing() in effects


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 3))
def test_what_is_stored_of_a_turn_is_what_was_said(sizes: list[int], write_every: int) -> None:
    """However the audio is cut and whenever it is written, the pieces add up to the turn, byte for byte."""
    call = manual_call()
    said = b""
    stored = b""
    for number, size in enumerate(sizes):
        audio = bytes([number, number + 1]) * (24 * size)
        said += audio
        feed(call, inputs.AppendAudio(audio))
        if write_every and number % write_every == 0:
            stored += b"".join(entry.audio for entry in take_write(call, 0).speech)
    feed(call, inputs.CommitAudio())
    stored += b"".join(entry.audio for entry in take_write(call, 0).speech)
    if len(said) >= 4800:
        assert stored == said
        assert call.clips.latest is not None
        assert call.clips.latest.audio == said
    else:
        assert said.startswith(stored)


@pytest.mark.parametrize("interrupts", [True, False])
def test_barge_in_stops_the_reply_only_if_wanted(interrupts: bool) -> None:
    """`interrupt_response: false` lets the agent go on talking."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": interrupts}}})
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "One two three."), inputs.ResponseAudio(response_id(1), FRAME * 50))
    spoken_turn(call, now_ms=400)
    assert ("response.done" in types(call)) is interrupts


def test_turning_detection_on_starts_with_an_empty_buffer() -> None:
    """What was appended by hand and not committed is not taken for the beginning of an utterance."""
    call = manual_call()
    feed(call, *append(30), inputs.UpdateSession({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}))
    assert not call.input_audio.audio
    assert call.heard_ms == 600


def test_turning_detection_off_leaves_the_utterance_to_the_client() -> None:
    """Half an utterance can be committed by hand, and nobody waits for its end any more."""
    call = new_call()
    feed(call, inputs.AppendAudio(FRAME * 10, None, (inputs.VoiceBoundary(True, 0),)))
    feed(call, inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}}))
    assert not call.input_audio.speaking
    feed(call, inputs.CommitAudio())
    assert call.clips.latest is not None
    assert call.clips.latest.audio == FRAME * 10


def test_a_turn_that_grew_too_long_is_answered_while_the_caller_goes_on() -> None:
    """The agent is told; what goes on is the next turn, and no barge-in on the answer to the first."""
    call = new_call()
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), *append(10))
    here = call.input_audio.position
    stop = inputs.VoiceBoundary(False, here, goes_on=True)
    effects = feed(call, inputs.AppendAudio(FRAME, None, (stop,)))
    assert CountLimit("turn_length") in effects
    assert call.response is not None and call.response.asked.cut
    effects = feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, here, goes_on=True),)))
    assert call.response is not None
    assert call.input_audio.speaking and effects == [SpeechStarted(item_id(2))]
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, call.input_audio.position),)))
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))
    assert call.response is None


def test_an_utterance_whose_audio_stops_is_complete() -> None:
    """The client was muted within it, or sends no silence; what comes then is heard afresh."""
    call = new_call()
    assert feed(call, inputs.AudioStopped()) == []
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), *append(10))
    effects = feed(call, inputs.AudioStopped())
    assert beside_speech(effects) == [
        Transcribe(item_id(1), FRAME * 11),
        ResetEndpointing(),
    ]
    assert not call.input_audio.speaking
    assert call.response is not None
    assert not call.response.asked.cut


def test_ids_of_audio_become_durable_with_the_audio_and_once() -> None:
    """What was taken back is not remembered in the store; what comes again is, when it is kept."""
    call = new_call()
    frames = [inputs.AppendAudio(FRAME, f"frame_{n}") for n in range(20)]
    feed(call, *frames)
    attach(call, call.outbox.visible_seq, 0, resumable=True)
    kept = call.heard_bytes // len(FRAME)
    written = [value for name, value in take_write(call, 0).fields.items() if name.startswith("seen:")]
    assert len(written) == kept
    call.client_events.resent_to = None
    feed(call, *frames[kept:])
    spoken_turn(call)
    written = [value for name, value in take_write(call, 0).fields.items() if name.startswith("seen:")]
    assert len(written) == 20 - kept


def detecting_call(**detection: Any) -> CallRecord:
    """A call with server turn detection."""
    return new_call(audio={"input": {"turn_detection": {"type": "server_vad", **detection}}})


def numbered(first: int, count: int) -> bytes:
    """Audio of which no frame is like another."""
    return b"".join(bytes([number, 1]) * (len(FRAME) // 2) for number in range(first, first + count))


def begin(call: CallRecord, audio: bytes = FRAME) -> list[Effect]:
    """The caller begins to speak with the first byte of `audio`."""
    return feed(call, inputs.AppendAudio(audio, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))


def stop(call: CallRecord, at_bytes: int, audio: bytes) -> list[Effect]:
    """The caller was heard to stop."""
    return feed(call, inputs.AppendAudio(audio, None, (inputs.VoiceBoundary(False, at_bytes),)))


# --- where a turn begins and ends -------------------------------------------


def test_a_turn_ends_where_its_end_was_heard() -> None:
    """What came behind that, in the same piece, stays in the buffer."""
    call = new_call()
    call.speech.checkpoint_ms = 0
    feed(call, inputs.AppendAudio(numbered(0, 20)))
    begin(call, numbered(20, 4))
    stop(call, 24 * len(FRAME), numbered(24, 3))
    assert call.clips.latest is not None
    assert call.clips.latest.audio == numbered(20 - 15, 19)
    assert emitted(call)[1]["audio_end_ms"] == 480
    assert bytes(call.input_audio.audio) == numbered(24, 3)


def test_a_turn_ends_no_sooner_than_what_is_stored_of_it() -> None:
    """Whatever is stored under an item's id belongs to it."""
    call = new_call()
    begin(call, numbered(0, 10))
    stop(call, len(FRAME), numbered(10, 2))
    assert call.clips.latest is not None
    assert call.clips.latest.audio == numbered(0, 10)
    assert emitted(call)[1]["audio_end_ms"] == 200


def test_a_turn_ends_no_later_than_its_audio() -> None:
    """What has not come is in no turn."""
    call = new_call()
    begin(call, numbered(0, 10))
    stop(call, 10**6, numbered(10, 2))
    assert call.clips.latest is not None
    assert call.clips.latest.audio == numbered(0, 12)
    assert emitted(call)[1]["audio_end_ms"] == 240


@pytest.mark.parametrize(
    ("began_at", "known_at", "start_ms"),
    [(50, 0, 700), (50, 51, 720), (45, 51, 720), (45, 0, 700)],
    ids=["at once", "a frame later", "long after it began", "further back than is held"],
)
def test_padding_is_counted_back_from_where_speech_was_certain(began_at: int, known_at: int, start_ms: int) -> None:
    """As if a piece had ended there: a turn begins at the same place however its audio was cut."""
    call = new_call()
    feed(call, *append(50))
    boundary = inputs.VoiceBoundary(True, began_at * len(FRAME), known_at * len(FRAME))
    feed(call, inputs.AppendAudio(FRAME, None, (boundary,)))
    assert emitted(call)[0]["audio_start_ms"] == start_ms
    assert len(call.input_audio.audio) == (51 - start_ms // 20) * len(FRAME)


def test_times_go_on_after_a_change_of_format() -> None:
    """They count all the audio of the call."""
    call = new_call()
    feed(call, *append(50), inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    feed(call, inputs.AppendAudio(bytes(160 * 20)))
    begin(call, bytes(160))
    assert emitted(call)[-1]["audio_start_ms"] == 1000 + 400 - 300


def test_speech_that_goes_on_does_not_begin_again() -> None:
    """A second start within an utterance is none."""
    call = new_call()
    begin(call)
    assert begin(call) == []
    assert types(call) == ["input_audio_buffer.speech_started"]


def test_what_is_heard_after_detection_was_turned_off_means_nothing() -> None:
    """The client commits its turns itself then."""
    call = manual_call()
    boundaries = (inputs.VoiceBoundary(True, 0), inputs.VoiceBoundary(False, len(FRAME)))
    assert feed(call, inputs.AppendAudio(FRAME, None, boundaries), inputs.AudioStopped()) == [SpeechStarted(None)]
    assert types(call) == []
    assert bytes(call.input_audio.audio) == FRAME


def test_a_client_may_commit_what_is_being_said() -> None:
    """The utterance ends there, unanswered until asked for, and what goes on is listened to afresh."""
    call = new_call()
    begin(call)
    assert feed(call, *append(9), inputs.CommitAudio()) == [
        SpeechStopped(item_id(1)),
        Transcribe(item_id(1), FRAME * 10),
        ResetEndpointing(),
    ]
    assert not call.input_audio.speaking
    assert call.response is None


def test_a_turn_is_answered_only_if_that_is_wanted() -> None:
    """`create_response: false` leaves it to the client."""
    call = detecting_call(create_response=False)
    assert beside_speech(spoken_turn(call)) == [Transcribe(item_id(1), FRAME * 25)]
    assert call.response is None


def test_what_is_said_beside_a_reply_is_a_turn_without_one() -> None:
    """There is one reply at a time: the one that goes on is not replaced."""
    call = detecting_call(interrupt_response=False)
    spoken_turn(call)
    assert beside_speech(spoken_turn(call)) == [Transcribe(item_id(2), FRAME * 25)]
    assert call.response is not None
    assert call.response.response_id == response_id(1)


# --- silence ----------------------------------------------------------------


def test_silence_before_any_reply_is_not_answered() -> None:
    """Nobody waits for the caller yet."""
    assert feed(detecting_call(idle_timeout_ms=2000), *append(300)) == []


def test_silence_is_answered_only_if_that_was_asked_for() -> None:
    """Without `idle_timeout_ms` a caller may be silent for as long as they like."""
    call = new_call()
    spoken_turn(call)
    feed(call, finish)
    assert feed(call, *append(300)) == []


def test_silence_after_the_caller_has_spoken_is_not_answered() -> None:
    """It is the client's turn then."""
    call = detecting_call(idle_timeout_ms=2000, create_response=False)
    feed(call, inputs.CreateResponse({}), finish)
    spoken_turn(call)
    assert feed(call, *append(300)) == []


def test_silence_becomes_no_turn_in_a_full_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed over without a word."""
    call = detecting_call(idle_timeout_ms=2000)
    feed(call, inputs.CreateResponse({}), finish)
    monkeypatch.setattr(conversation, "MAX_BYTES", 0)
    emitted_before = call.outbox.seq
    assert feed(call, *append(300)) == []
    assert call.outbox.seq == emitted_before
