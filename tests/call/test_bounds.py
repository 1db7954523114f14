"""What one call may keep."""

from __future__ import annotations

from typing import Any

import pytest

from tests.call.calls import (
    FRAME,
    append,
    beside_speech,
    emitted,
    feed,
    item_id,
    manual_call,
    new_call,
    spoken_turn,
    types,
)
from voice_agent.call import conversation, inputs
from voice_agent.call.audio import PCM
from voice_agent.call.bounds import (
    MAX_AUDIO_BYTES,
    MAX_PACKED_ITEM_BYTES,
    MAX_RETRIEVED_BYTES,
    MAX_UNTRANSCRIBED,
    kept_audio_bytes,
)
from voice_agent.call.changes import SpeechEntry
from voice_agent.call.clips import HeardClip, PendingItemAudio
from voice_agent.call.effects import CountLimit, ResetEndpointing, StopTranscribing, Transcribe
from voice_agent.call.input_audio import MAX_BUFFER_BYTES, MAX_PIECE_BYTES
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import skip_write, take_write

SPOKEN = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
HALF = bytes(MAX_AUDIO_BYTES // 2 + 2)


def refusal(call: CallRecord) -> dict[str, Any]:
    """The error that was emitted last."""
    error: dict[str, Any] = emitted(call)[-1]["error"]
    return error


def test_audio_that_is_shown_is_bounded() -> None:
    """A minute of audio is not sent back for a message of sixty bytes; the error names size and limit."""
    call = manual_call()
    feed(call, inputs.AppendAudio(bytes(MAX_RETRIEVED_BYTES + 2)), inputs.CommitAudio())
    effects = feed(call, inputs.RetrieveItem(item_id(1)))
    assert refusal(call)["code"] == "audio_too_large"
    assert str(MAX_RETRIEVED_BYTES + 2) in refusal(call)["message"]
    assert str(MAX_RETRIEVED_BYTES) in refusal(call)["message"]
    assert effects == [CountLimit("retrieved_audio")]


def test_audio_up_to_the_bound_is_shown() -> None:
    """Twenty seconds are."""
    call = manual_call()
    feed(call, inputs.AppendAudio(bytes(MAX_RETRIEVED_BYTES)), inputs.CommitAudio(), inputs.RetrieveItem(item_id(1)))
    assert types(call)[-1] == "conversation.item.retrieved"
    assert len(call.outbox.unsaved[-1].audio) == MAX_RETRIEVED_BYTES


def test_turns_that_nobody_has_understood_count() -> None:
    """What is committed stays until it is understood; there is no room for as much again."""
    call = manual_call()
    feed(call, inputs.AppendAudio(HALF), inputs.CommitAudio())
    effects = feed(call, inputs.AppendAudio(HALF))
    assert refusal(call)["code"] == "audio_full"
    assert str(MAX_AUDIO_BYTES) in refusal(call)["message"]
    assert effects == [CountLimit("call_audio_bytes")]
    assert kept_audio_bytes(call) == len(HALF)


def test_a_turn_that_was_understood_makes_room_for_an_item() -> None:
    """Only the latest turn is kept then, and the new item takes its place; a second one that waits does not fit."""
    call = manual_call()
    feed(call, inputs.AppendAudio(HALF), inputs.CommitAudio(), inputs.Transcribed(item_id(1), "one"))
    feed(call, inputs.CreateItem(dict(SPOKEN), HALF))
    assert types(call)[-1] == "conversation.item.done"
    feed(call, inputs.CreateItem(dict(SPOKEN), HALF))
    assert refusal(call)["code"] == "audio_full"


def test_endless_speech_never_fills_the_memory() -> None:
    """Whatever is said and however little of it is answered, a call holds so much audio at most and says so."""
    call = new_call()
    minute = bytes(48 * 60_000)
    most = 0
    for _ in range(40):
        at = call.input_audio.position
        feed(call, inputs.AppendAudio(minute, None, (inputs.VoiceBoundary(True, at),)))
        most = max(most, kept_audio_bytes(call))
        take_write(call, 0)
    assert most <= MAX_AUDIO_BYTES + len(minute)
    feed(call, inputs.AppendAudio(minute, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))
    feed(call, inputs.AppendAudio(minute, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))
    assert "audio_full" in [event["error"]["code"] for event in emitted(call) if event["type"] == "error"]


def test_speech_beside_turns_that_wait_is_cut_at_the_bound() -> None:
    """The utterance under way ends where all audio together reaches the bound, long before its own."""
    call = new_call()
    piece = bytes(MAX_AUDIO_BYTES // 16)
    for _ in range(6):
        at = call.input_audio.position
        boundaries = (inputs.VoiceBoundary(True, at), inputs.VoiceBoundary(False, at + len(piece)))
        feed(call, inputs.AppendAudio(piece, None, boundaries))
    effects = feed(call, inputs.AppendAudio(piece, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))
    for _ in range(10):
        effects += feed(call, inputs.AppendAudio(piece))
        assert kept_audio_bytes(call) <= MAX_AUDIO_BYTES + PCM.size(300), "and the padding of what comes next"
    assert CountLimit("call_audio_bytes") in effects
    assert ResetEndpointing() in effects
    assert not call.input_audio.speaking


def test_so_many_turns_at_once_wait_to_be_understood() -> None:
    """A burst of commits starts so many transcriptions; the others stay in the conversation, not understood."""
    call = new_call(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    effects = []
    for _ in range(MAX_UNTRANSCRIBED + 3):
        effects += feed(call, *append(5), inputs.CommitAudio())
    assert sum(isinstance(effect, Transcribe) for effect in effects) == MAX_UNTRANSCRIBED
    assert effects.count(CountLimit("untranscribed_items")) == 3
    assert len(call.conversation) == MAX_UNTRANSCRIBED + 3
    assert types(call).count("conversation.item.input_audio_transcription.failed") == 3


def test_a_full_conversation_takes_no_turn_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an item, nor a commit, nor a response, nor an utterance; each says so, and nothing is left over."""
    monkeypatch.setattr(conversation, "MAX_BYTES", 1000)
    call = new_call()
    feed(call, inputs.CreateItem({"type": "function_call_output", "call_id": "c", "output": "x" * 850}))
    feed(call, inputs.CreateItem({"type": "function_call_output", "call_id": "c", "output": "x" * 850}))
    assert refusal(call)["code"] == "conversation_full"
    monkeypatch.setattr(conversation, "MAX_BYTES", call.conversation.packed_bytes)
    items = len(call.conversation)
    effects = spoken_turn(call)
    assert call.response is None
    assert refusal(call)["code"] == "conversation_full"
    assert CountLimit("conversation") in effects
    feed(call, inputs.CreateResponse({}))
    assert refusal(call)["code"] == "conversation_full"
    feed(call, inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}}))
    feed(call, *append(10), inputs.CommitAudio())
    assert refusal(call)["code"] == "conversation_full"
    assert len(call.conversation) == items


def test_an_item_is_bounded_as_it_is_stored() -> None:
    """Characters that JSON writes as six bytes count as six."""
    call = new_call()
    content = [{"type": "input_text", "text": "\x01" * 200_000}]
    feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}))
    assert refusal(call)["code"] == "item_too_large"
    assert str(MAX_PACKED_ITEM_BYTES) in refusal(call)["message"]


@pytest.mark.parametrize("checkpoint_ms", [0, 200, 60_000])
def test_no_piece_of_speech_is_large(checkpoint_ms: int) -> None:
    """Whatever the checkpoint interval, speech is stored as it grows, in pieces of a bounded size."""
    call = manual_call()
    call.speech.checkpoint_ms = checkpoint_ms
    feed(call, inputs.AppendAudio(bytes(3 * MAX_PIECE_BYTES + 2)))
    assert sum(len(piece.audio) for piece in call.speech.unsaved) == 3 * MAX_PIECE_BYTES + 2
    assert max(len(piece.audio) for piece in call.speech.unsaved) == MAX_PIECE_BYTES


def test_what_the_next_write_carries_is_counted() -> None:
    """Events, speech, items and the session: the count is about the write, and 0 after it."""
    call = manual_call()
    feed(call, *append(100, audio=FRAME * 5), inputs.UpdateSession({"instructions": "x" * 20_000}))
    for _ in range(5):
        content = [{"type": "input_text", "text": "x" * 10_000}]
        feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}))
    counted = call.unsaved_bytes + call.conversation.unsaved_bytes
    write = take_write(call, 0)
    weight = write.size_bytes
    assert weight <= counted <= 1.1 * weight
    assert call.unsaved_bytes == call.conversation.unsaved_bytes == 0


def test_events_of_a_write_that_was_lost_count_again() -> None:
    """They wait for the next one."""
    call = manual_call()
    feed(call, inputs.ClearAudio(), inputs.ClearAudio())
    waiting, counted = call.outbox.unsaved, call.unsaved_bytes
    take_write(call, 0)
    call.outbox.requeue(waiting)
    assert call.unsaved_bytes == counted


def test_a_buffer_that_is_refused_says_what_it_holds() -> None:
    """The error names the limit."""
    call = manual_call()
    feed(call, inputs.AppendAudio(bytes(MAX_BUFFER_BYTES)), inputs.AppendAudio(FRAME))
    assert refusal(call)["code"] == "input_audio_buffer_full"
    assert str(MAX_BUFFER_BYTES) in refusal(call)["message"]


def test_a_deleted_item_lets_its_audio_go() -> None:
    """Nobody is asked any more what was said in it: else created and deleted items would pile up unseen."""
    call = manual_call()
    feed(call, inputs.CreateItem({**SPOKEN, "id": "mine"}, HALF))
    assert feed(call, inputs.DeleteItem("mine")) == [StopTranscribing("mine")]
    assert not call.clips.untranscribed


def test_what_no_store_took_holds_nobody_back() -> None:
    """The store is given up for now: all of the call is written when it is back, and until then nothing is unsaved."""
    call = manual_call()
    for _ in range(5):
        feed(call, inputs.CreateItem({"type": "function_call_output", "call_id": "c", "output": "x" * 10_000}))
    skip_write(call)
    assert call.unsaved_bytes == call.conversation.unsaved_bytes == 0
    assert len(take_write(call, 0).items) == 5


@pytest.mark.parametrize("over_bytes", [0, 2])
def test_an_utterance_is_cut_where_a_buffer_is_full(over_bytes: int) -> None:
    """Not sooner: to the byte it may be as long as a turn that is committed by hand."""
    call = new_call()
    half = bytes(MAX_BUFFER_BYTES // 2)
    effects = feed(call, inputs.AppendAudio(half, None, (inputs.VoiceBoundary(True, 0),)), inputs.AppendAudio(half))
    assert call.input_audio.speaking
    assert beside_speech(effects) == []
    effects = feed(call, inputs.AppendAudio(bytes(over_bytes)))
    assert call.input_audio.speaking is not bool(over_bytes)
    assert (CountLimit("turn_bytes") in effects) is bool(over_bytes)
    assert (ResetEndpointing() in effects) is bool(over_bytes)
    if call.clips.latest is not None:
        assert call.clips.latest.said_bytes == 0, "it is not known where the caller paused"


def test_what_a_full_conversation_did_not_take_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The utterance is over, its audio is gone, and the next one begins as if nothing had been said."""
    call = new_call()
    feed(call, *append(5))
    position = call.input_audio.position
    monkeypatch.setattr(conversation, "MAX_BYTES", 0)
    spoken_turn(call, frames=10)
    assert refusal(call)["code"] == "conversation_full"
    assert not call.input_audio.speaking
    assert call.input_audio.position == position + 10 * len(FRAME)
    assert len(call.input_audio.audio) <= PCM.size(300)
    monkeypatch.undo()
    spoken_turn(call)
    assert call.response is not None


def test_one_piece_alone_may_be_too_much() -> None:
    """However little is there before it; nothing of it is taken."""
    call = manual_call()
    feed(call, inputs.AppendAudio(bytes(MAX_BUFFER_BYTES + 2)))
    assert refusal(call)["code"] == "input_audio_buffer_full"
    assert call.input_audio.position == len(call.input_audio.audio) == 0


def test_audio_is_counted_once_whoever_still_needs_it() -> None:
    """The buffer, what is staged, and each turn that is the latest, is answered, or is not understood yet."""
    call = manual_call()
    assert kept_audio_bytes(call) == 0
    call.input_audio.audio += bytes(1)
    call.clips.pending = PendingItemAudio("staged", [SpeechEntry(1, "staged", bytes(10))])
    call.clips.latest = HeardClip("latest", bytes(100), 2)
    assert (kept_audio_bytes(call), kept_audio_bytes(call, without_latest=True)) == (111, 11)
    call.clips.answered = HeardClip("answered", bytes(1000), 3)
    call.clips.untranscribed = {"waits": HeardClip("waits", bytes(10_000), 4)}
    assert (kept_audio_bytes(call), kept_audio_bytes(call, without_latest=True)) == (11_111, 11_011)
    call.clips.answered = call.clips.untranscribed["latest"] = call.clips.latest
    assert kept_audio_bytes(call) == kept_audio_bytes(call, without_latest=True) == 10_111
