"""What a client does to the conversation's items."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest

from tests.call.calls import FRAME, Happening, append, emitted, feed, item_id, manual_call, moved, new_call, types
from tests.call.engine import fail, finish
from voice_agent.call import inputs, items, machine
from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.completeness import KEPT
from voice_agent.call.effects import CountLimit, Transcribe
from voice_agent.call.record import CallRecord
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.call.writes import take_write

SPOKEN: dict[str, Any] = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "listen"}, {"type": "input_audio", "transcript": None}],
}
TYPED: dict[str, Any] = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
RULE: dict[str, Any] = {**TYPED, "role": "system"}
RESULT: dict[str, Any] = {"type": "function_call_output", "call_id": "c", "output": "x"}


def begin(call: CallRecord) -> None:
    """The caller begins to speak."""
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))


def test_half_a_sample_in_an_item_is_refused() -> None:
    """Its audio is whole samples, or it is not taken."""
    call = new_call()
    assert feed(call, inputs.CreateItem(dict(SPOKEN), bytes(3))) == []
    assert emitted(call)[-1]["error"]["param"] == "item.content"
    assert len(call.conversation) == 0


def test_the_id_of_what_is_being_said_is_taken() -> None:
    """The client has heard of it with the start of the speech."""
    call = new_call()
    begin(call)
    feed(call, inputs.CreateItem({**TYPED, "id": emitted(call)[0]["item_id"]}))
    assert emitted(call)[-1]["error"]["code"] == "item_create_duplicate_item_id"


@pytest.mark.parametrize("less", [0, 1])
def test_an_item_may_be_as_large_as_its_bound(monkeypatch: pytest.MonkeyPatch, less: int) -> None:
    """To the byte of its JSON."""
    monkeypatch.setattr(items, "MAX_PACKED_ITEM_BYTES", len(orjson.dumps(TYPED)) - less)
    call = new_call()
    effects = feed(call, inputs.CreateItem(dict(TYPED)))
    assert effects == ([CountLimit("item_bytes")] if less else [])
    assert len(call.conversation) == 1 - less


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize("staged", [False, True])
def test_an_item_may_have_as_much_audio_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, staged: bool, less: int
) -> None:
    """To the byte, in pieces or at once; what comes with the item is counted once."""
    call = manual_call()
    feed(call, *append(3))
    monkeypatch.setattr(items, "MAX_AUDIO_BYTES", 13 * len(FRAME) - less)
    if staged:
        feed(call, *(inputs.AppendItemAudio(None, FRAME * 5) for _ in range(2)))
    effects = feed(call, inputs.CreateItem(dict(SPOKEN), b"" if staged else FRAME * 10, audio_appended=staged))
    assert effects == ([CountLimit("call_audio_bytes")] if less else [Transcribe(item_id(1), FRAME * 10)])


def test_where_there_is_no_room_for_audio_there_is_for_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes none."""
    call = manual_call()
    feed(call, *append(3))
    monkeypatch.setattr(items, "MAX_AUDIO_BYTES", 0)
    feed(call, inputs.CreateItem(dict(TYPED)))
    assert types(call)[-1] == "conversation.item.done"


@pytest.mark.parametrize("staged", [False, True])
def test_the_audio_of_an_item_without_an_id_is_stored_under_the_one_it_gets(
    monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    """All of it, in pieces of a bounded size, and whoever takes the call over finds it by the first one's number."""
    monkeypatch.setattr(items, "MAX_PIECE_BYTES", 5 * len(FRAME))
    call = manual_call()
    feed(call, inputs.CreateItem(dict(SPOKEN), FRAME))
    audio = bytes(range(1, 245)) * 48
    if staged:
        feed(call, inputs.AppendItemAudio(None, audio[:4800]), inputs.AppendItemAudio(None, audio[4800:]))
    feed(call, inputs.CreateItem(dict(SPOKEN), b"" if staged else audio, audio_appended=staged))
    pieces = call.speech.unsaved[1:]
    assert {entry.item_id for entry in pieces} == {call.conversation.last_id} == {item_id(2)}
    assert b"".join(entry.audio for entry in pieces) == audio
    assert staged or max(len(entry.audio) for entry in pieces) == 4800
    latest = call.clips.latest
    assert latest is not None
    assert (latest.item_id, latest.audio, latest.first_n) == (item_id(2), audio, pieces[0].n)


def test_an_item_that_comes_between_pieces_is_not_the_one_they_are_for() -> None:
    """It is the typed item it would have been, and the pieces are forgotten."""
    call = manual_call()
    assert feed(call, inputs.AppendItemAudio(None, FRAME), inputs.CreateItem(dict(TYPED))) == []
    assert call.clips.latest is None
    assert call.clips.pending is None


@pytest.mark.parametrize(
    ("item", "where", "clip_stays", "turns"),
    [
        (TYPED, None, False, 2),
        (TYPED, "root", True, 2),
        (RULE, None, True, 1),
        (RESULT, None, True, 1),
    ],
    ids=["typed last", "typed first", "a rule", "a result"],
)
def test_what_the_caller_said_last_is_what_they_typed_last(
    item: dict[str, Any], where: str | None, clip_stays: bool, turns: int
) -> None:
    """A reply is to the newest turn, spoken or not; what is no turn changes nothing about that."""
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio(), inputs.CreateItem(dict(item), previous_item_id=where))
    assert (call.clips.latest is not None) is clip_stays
    assert call.dialogue.turns == turns


def test_an_item_with_audio_is_what_the_caller_said_last() -> None:
    """With its length, and the words in the part they belong to."""
    call = new_call(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    feed(call, *append(10), inputs.CommitAudio(), inputs.CreateItem(deepcopy(SPOKEN), FRAME * 5))
    assert call.clips.latest is not None
    assert (call.clips.latest.item_id, call.dialogue.turns) == (item_id(2), 2)
    feed(call, inputs.Transcribed(item_id(2), "hello"))
    completed = emitted(call)[-1]
    assert (completed["content_index"], completed["transcript"], completed["usage"]["seconds"]) == (1, "hello", 0.1)
    entry = call.conversation.get(item_id(2))
    assert entry is not None
    assert entry.item["content"][1] == {"type": "input_audio", "transcript": "hello"}


def test_an_item_is_shown_with_no_other_items_audio() -> None:
    """What the caller said last belongs to one item."""
    call = manual_call()
    feed(call, inputs.CreateItem({**SPOKEN, "id": "other"}), *append(10), inputs.CommitAudio())
    feed(call, inputs.RetrieveItem("other"))
    assert "audio" not in emitted(call)[-1]["item"]["content"][1]
    assert call.outbox.unsaved[-1].audio == b""


def spoken_response(call: CallRecord) -> str:
    """A reply of a second; the id of its item."""
    feed(call, inputs.CreateResponse({}))
    assert call.response is not None
    said = call.response.response_id
    feed(
        call,
        inputs.ResponseText(said, "one two"),
        inputs.ResponseAudio(said, FRAME * 50),
        finish,
    )
    assert call.dialogue.playback is not None
    return call.dialogue.playback.item_id


def test_what_was_deleted_is_not_answered() -> None:
    """No reply is told of its audio; a reply to something else is."""
    call = manual_call()
    feed(call, *append(10), inputs.CommitAudio(), inputs.Transcribed(item_id(1), "hello"))
    feed(call, inputs.CreateItem({**RULE, "id": "rule"}), inputs.DeleteItem("rule"))
    assert kept_audio_bytes(call) == 10 * len(FRAME)
    feed(call, inputs.DeleteItem(item_id(1)), inputs.CreateResponse({}))
    assert kept_audio_bytes(call) == 0
    assert call.response is not None
    assert (call.response.asked.clip_id, call.response.asked.heard_ms) == ("", 0)


@pytest.mark.parametrize("fails_first", [False, True])
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("front", [[], ["earlier"]])
def test_what_is_asked_again_under_the_same_id_is_answered(front: list[str], moves: bool, fails_first: bool) -> None:
    """The agent failed on an item, the client deletes it and makes it anew; what was in front of it is not asked."""
    call = new_call()
    for each in front:
        feed(call, inputs.CreateItem({**TYPED, "id": each}))
    feed(call, inputs.CreateItem({**TYPED, "id": "mine"}), inputs.CreateResponse({}))
    take_write(call, 0)
    steps: list[Happening] = [fail("broken"), inputs.DeleteItem("mine")]
    feed(call, *(steps if fails_first else reversed(steps)))
    feed(call, inputs.CreateItem({**TYPED, "id": "mine"}))
    again = moved(call) if moves else call
    assert said_since_last_reply(again.conversation.items(), failed_to=again.dialogue.failed_up_to).items == 1


def test_what_the_agent_is_asked_about_is_stored_as_it_is_deleted() -> None:
    """Whoever goes on with the reply knows to which item it failed; another one's deletion is nothing to it."""
    call = new_call()
    for each in ("earlier", "other", "mine"):
        feed(call, inputs.CreateItem({**TYPED, "id": each}))
    feed(call, inputs.CreateResponse({}), inputs.DeleteItem("earlier"))
    for asked_up_to in ("mine", "other"):
        assert call.response is not None
        assert call.response.asked.up_to == asked_up_to
        take_write(call, 0)
        feed(call, inputs.DeleteItem(asked_up_to))
    assert orjson.loads(take_write(call, 0).fields["response"])["asked_up_to"] == ""


@pytest.mark.parametrize("item", [TYPED, RULE, RESULT, SPOKEN])
def test_an_id_may_be_used_again_once_its_item_is_deleted(item: dict[str, Any]) -> None:
    """For an item of any kind: it has none of the audio that the one before it had, and is not what is being played."""
    call = new_call()
    feed(call, inputs.CreateItem({**SPOKEN, "id": "again"}, FRAME), inputs.DeleteItem("again"))
    feed(call, inputs.CreateItem({**item, "id": "again"}), inputs.RetrieveItem("again"))
    assert emitted(call)[-1]["item"]["content" if "content" in item else "output"] == item.get("content", "x")
    spoken = spoken_response(call)
    feed(call, inputs.DeleteItem("again"))
    assert call.dialogue.playback is not None
    feed(call, inputs.DeleteItem(spoken))
    feed(call, inputs.CreateItem({**item, "id": spoken}, FRAME * 50 if item is SPOKEN else b""))
    begin(call)
    assert types(call)[-1] == "input_audio_buffer.speech_started"


@pytest.mark.parametrize(
    "event",
    [
        [inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),))],
        [
            inputs.AppendAudio(FRAME * 10, None, (inputs.VoiceBoundary(True, 0),)),
            inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, 10 * len(FRAME)),)),
        ],
        [inputs.AppendAudio(FRAME * 10), inputs.CommitAudio()],
        [inputs.CreateItem(dict(TYPED))],
        [inputs.CreateItem({**TYPED, "id": "mine"})],
        [inputs.CreateItem(dict(SPOKEN), FRAME)],
        [inputs.AppendItemAudio(None, FRAME), inputs.CreateItem(dict(SPOKEN), audio_appended=True)],
        [inputs.AppendItemAudio(None, FRAME), inputs.CreateItem(dict(SPOKEN), bytes(3))],
        [inputs.CreateItem(dict(RESULT))],
        [inputs.DeleteItem("spoken")],
        [inputs.DeleteItem(item_id(1))],
        [inputs.UpdateSession({"instructions": "Be brief."})],
        [inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}})],
        [inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}})],
        [inputs.ClearAudio()],
    ],
    ids=lambda event: "-".join(type(each).__name__ for each in event),
)
def test_a_write_of_what_changed_tells_as_much_as_one_of_everything(event: list[inputs.Input]) -> None:
    """Whatever a client does, the next owner knows all that has come of it, and has no id to give twice."""
    call = new_call()
    call.speech.checkpoint_ms = 0
    spoken_response(call)
    feed(call, inputs.CreateItem({**SPOKEN, "id": "spoken"}, FRAME))
    call.record.write_whole = True
    stored = dict(take_write(call, 0).fields)
    feed(call, *event)
    assert call.has_changes
    stored.update(take_write(call, 0).fields)
    call.record.write_whole = True
    whole = dict(take_write(call, 0).fields)
    for fields in (stored, whole):
        fields.pop(KEPT)  # Pieces that are written again are written in one.
    assert {name: value for name, value in stored.items() if value} == {
        name: value for name, value in whole.items() if value
    }


def test_whether_an_item_is_taken_is_known_before_its_audio_comes() -> None:
    """By the same rules as when it has come."""
    call = new_call()
    assert machine.refusal(call, inputs.CreateItem(dict(SPOKEN)), 4) is None
    refused = machine.refusal(call, inputs.CreateItem(dict(SPOKEN)), 3)
    assert refused is not None
    assert refused.param == "item.content"
    assert call.outbox.seq == 0
