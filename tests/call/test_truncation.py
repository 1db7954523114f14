"""What was not heard is forgotten, word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import FRAME, FRAME_MS, emitted, feed, item_id, moved, new_call, response_id, spoken_turn
from tests.call.engine import call_tool, finish
from voice_agent.call import inputs
from voice_agent.call.alignment import Alignment, cut, heard_text
from voice_agent.call.effects import DeliverEvents
from voice_agent.call.record import CallRecord

TEXT = "One two three. Four five six."
ALIGNMENT = [[0, 0], [1000, 15], [2000, 29]]


@pytest.mark.parametrize(
    ("heard_ms", "expected"),
    [
        (0, ""),
        (400, "One"),
        (500, "One two"),
        (900, "One two"),
        (1000, "One two three."),
        (1500, "One two three. Four"),
        (2000, TEXT),
    ],
)
def test_only_whole_words_that_were_heard_stay(heard_ms: int, expected: str) -> None:
    """A word half spoken is left out; a finished sentence stays whole."""
    assert heard_text(TEXT, ALIGNMENT, heard_ms) == expected


@given(st.text(max_size=60), st.lists(st.integers(0, 1500), min_size=2, max_size=4), st.integers(1, 1000))
def test_what_was_heard_is_a_beginning_of_what_was_said(text: str, cuts_ms: list[int], total_ms: int) -> None:
    """Truncation never invents text; at a place where it was cut, or behind that, nothing more is taken away."""
    alignment = [[0, 0], [total_ms, len(text)]]
    for cut_ms in cuts_ms:
        heard = heard_text(text, alignment, cut_ms)
        assert text.startswith(heard)
        if cut_ms >= alignment[-1][0]:
            assert heard == text
        else:
            alignment = cut(alignment, cut_ms, len(heard))
            assert heard_text(heard, alignment, cut_ms) == heard
            text = heard


def test_a_script_without_blanks_is_cut_between_its_characters() -> None:
    """No word is looked for where there are none."""
    assert heard_text("本日は晴天なり", [[0, 0], [700, 7]], 350) == "本日は"


def test_barge_in_cuts_the_item_at_what_was_played() -> None:
    """400 ms after the first chunk the caller speaks: 400 ms of the reply stay."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "one two three four five six"),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
        now_ms=1000,
    )
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)), now_ms=1400)
    done, truncated = emitted(call)[-2:]
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert truncated["audio_end_ms"] == 400
    item = call.conversation.get(truncated["item_id"])
    assert item is not None
    assert item.item["content"][0]["transcript"] == "one two"


def test_barge_in_after_the_reply_was_sent_still_cuts_what_is_playing() -> None:
    """The reply is done but the caller is still listening to it."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "one two three four"),
        inputs.ResponseAudio(response_id(1), FRAME * 100),
        finish,
        now_ms=1000,
    )
    spoken_turn(call, now_ms=2000)
    assert [event["audio_end_ms"] for event in emitted(call) if event["type"].endswith("truncated")] == [1000]


def test_the_client_knows_best_how_much_was_heard() -> None:
    """After the server's own cut, the client may name another point within what was sent, not beyond."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "one two three four"),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
        now_ms=0,
    )
    spoken_turn(call, now_ms=500)
    feed(call, inputs.TruncateItem(item_id(2), 0, 750), inputs.TruncateItem(item_id(2), 0, 1001))
    truncated, error = emitted(call)[-2:]
    assert truncated["audio_end_ms"] == 750
    assert error["error"]["param"] == "audio_end_ms"
    assert "1000ms" in error["error"]["message"]


def test_an_item_that_is_being_spoken_stops_where_it_is_truncated() -> None:
    """Clients that interrupt truncate first: the response ends as cancelled, and the cut is told after it."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "one two three four"),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
        now_ms=0,
    )
    effects = feed(call, inputs.TruncateItem(item_id(2), 0, 500), now_ms=600)
    assert effects == [DeliverEvents()]
    done, truncated = emitted(call)[-2:]
    assert done["type"] == "response.done"
    assert (done["response"]["status"], done["response"]["output"][0]["status"]) == ("cancelled", "incomplete")
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert (truncated["type"], truncated["audio_end_ms"]) == ("conversation.item.truncated", 500)
    item = call.conversation.get(item_id(2))
    assert item is not None
    assert item.item["content"][0]["transcript"] == "one two"
    feed(call, inputs.ResponseAudio(response_id(1), FRAME))
    assert emitted(call)[-1] == truncated


def test_a_client_that_interrupts_may_name_more_than_was_spoken_and_cancel_too() -> None:
    """It does not know how far the server is: one cancel may follow, and a second one is the error it was."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "one two"), inputs.ResponseAudio(response_id(1), FRAME * 50))
    feed(call, inputs.TruncateItem(item_id(2), 0, 5000), inputs.CancelResponse(response_id(1)))
    assert emitted(call)[-1] == {
        "type": "conversation.item.truncated",
        "item_id": item_id(2),
        "content_index": 0,
        "audio_end_ms": 1000,
    }
    feed(call, inputs.CancelResponse())
    assert emitted(call)[-1]["error"]["code"] == "response_cancel_not_active"


def test_after_an_interruption_the_next_response_is_cancelled_like_any_other() -> None:
    """The cancel that was expected never came; one that comes later is for the new response."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseAudio(response_id(1), FRAME * 50), inputs.TruncateItem(item_id(2), 0, 100))
    feed(call, inputs.CreateResponse({}))
    feed(call, inputs.CancelResponse())
    assert emitted(call)[-1]["response"]["id"] == response_id(2)
    feed(call, inputs.CancelResponse())
    assert emitted(call)[-1]["error"]["code"] == "response_cancel_not_active"


@pytest.mark.parametrize("truncation", [inputs.TruncateItem(item_id(2), 1, 0), inputs.TruncateItem(item_id(9), 0, 0)])
def test_a_wrong_truncation_stops_nothing(truncation: inputs.TruncateItem) -> None:
    """Another part, or an item that is not there: an error, and the response goes on."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseAudio(response_id(1), FRAME * 50))
    assert feed(call, truncation) == []
    assert emitted(call)[-1]["type"] == "error"
    assert call.response is not None


def test_what_is_being_written_is_not_truncated() -> None:
    """Only speech has milliseconds."""
    call = new_call(output_modalities=["text"])
    feed(
        call,
        inputs.CreateResponse({}),
        inputs.ResponseText(response_id(1), "one"),
        inputs.TruncateItem(item_id(1), 0, 0),
    )
    assert emitted(call)[-1]["error"]["param"] == "item_id"
    assert call.response is not None


def kept(call: CallRecord) -> str:
    """What the conversation holds of the reply."""
    return next(str(i["content"][0]["transcript"]) for i in call.conversation.items() if i.get("role") == "assistant")


def barge_in(call: CallRecord, now_ms: int) -> None:
    """The caller begins to speak."""
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)), now_ms=now_ms)


def test_a_piece_lasts_as_long_as_the_audio_made_of_it() -> None:
    """One of four seconds has been sent when the reply is cut: the text was not said four times as fast."""
    call = new_call()
    spoken_turn(call)
    audio = FRAME * 50
    feed(
        call,
        inputs.ResponseText(response_id(1), "a b c d e f g h i j"),
        inputs.ResponseAudio(response_id(1), audio, 4 * len(audio)),
    )
    feed(call, inputs.CancelResponse())
    assert kept(call) == "a b"
    assert emitted(call)[-1]["response"]["output"][0]["content"][0]["transcript"] == "a b"


def test_a_piece_of_which_little_audio_is_made_yet_is_said_at_the_usual_pace() -> None:
    """A voice that speaks while it makes: a second of audio for a hundred words is not all of it."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "one two " * 50), inputs.ResponseAudio(response_id(1), FRAME * 50))
    feed(call, inputs.CancelResponse())
    assert kept(call) == "one two one two"


def test_a_sentence_that_was_not_begun_is_not_kept() -> None:
    """Its text had come, its audio not: a cancelled reply leaves what was sent of it."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "One. "),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
        inputs.ResponseText(response_id(1), "And two."),
        inputs.CancelResponse(),
    )
    assert kept(call) == "One."


@pytest.mark.parametrize("moves", [False, True])
def test_a_pause_of_the_agent_is_not_heard_as_speech(moves: bool) -> None:
    """Two seconds without audio, because the agent thinks or because its pod died, play nothing of the reply."""
    call = new_call()
    spoken_turn(call)
    say: list[inputs.Input] = [
        inputs.ResponseText(response_id(1), "one two three four "),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
    ]
    feed(call, *say, now_ms=0)
    if moves:
        call = moved(call)
    feed(call, *say, now_ms=3000)
    barge_in(call, 3500)
    assert emitted(call)[-1]["audio_end_ms"] == 1500
    assert kept(call) == "one two three four one two"


def test_a_change_of_format_does_not_change_what_was_said_when() -> None:
    """An item is cut by its own audio's format, whatever the session's is by then."""
    call = new_call()
    spoken_turn(call)
    feed(
        call,
        inputs.ResponseText(response_id(1), "one two three four"),
        inputs.ResponseAudio(response_id(1), FRAME * 50),
    )
    feed(call, finish)
    feed(call, inputs.UpdateSession({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}))
    feed(call, inputs.TruncateItem(item_id(2), 0, 500))
    assert kept(call) == "one two"


def test_an_item_that_is_deleted_while_it_is_spoken_stops() -> None:
    """Clients that interrupt before anything was heard delete the item, and may cancel its response, too."""
    call = new_call()
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "one two"), inputs.ResponseAudio(response_id(1), FRAME * 50))
    effects = feed(call, inputs.DeleteItem(item_id(2)), inputs.CancelResponse(response_id(1)))
    assert effects == [DeliverEvents()]
    assert [event["type"] for event in emitted(call)[-2:]] == ["response.done", "conversation.item.deleted"]
    assert item_id(2) not in call.conversation
    spoken_turn(call)
    assert "error" not in [event["type"] for event in emitted(call)]


def spoken(call: CallRecord, text: str, *, ms: int = 1000, now_ms: int = 0, ends: bool = True) -> str:
    """The agent says something; the item's id."""
    feed(call, inputs.CreateResponse({}), now_ms=now_ms)
    assert call.response is not None
    response_id = call.response.response_id
    feed(
        call,
        inputs.ResponseText(response_id, text),
        inputs.ResponseAudio(response_id, FRAME * (ms // FRAME_MS)),
        now_ms=now_ms,
    )
    assert call.response.open_item.item_id is not None
    said = call.response.open_item.item_id
    if ends:
        feed(call, finish, now_ms=now_ms)
    return said


def cuts(call: CallRecord) -> list[tuple[str, int]]:
    """What the client was told of truncations: the item, and how much of it is left."""
    events = [event for event in emitted(call) if event["type"] == "conversation.item.truncated"]
    return [(event["item_id"], event["audio_end_ms"]) for event in events]


@pytest.mark.parametrize(("heard_ms", "told"), [(999, [999]), (1000, []), (5000, [])])
def test_what_was_heard_to_its_end_is_not_cut(heard_ms: int, told: list[int]) -> None:
    """The caller speaks when the reply was over: nothing of it is forgotten."""
    call = new_call()
    spoken(call, "one two three four", now_ms=100)
    barge_in(call, 100 + heard_ms)
    assert [ms for _, ms in cuts(call)] == told


def test_what_waited_behind_another_item_was_not_heard() -> None:
    """An item is played when the one before it has been; until then nothing of it stays."""
    call = new_call()
    spoken(call, "one two", ms=2000)
    second = spoken(call, "three", now_ms=100)
    assert call.dialogue.playback is not None
    assert call.dialogue.playback.started_at_ms == 2000
    barge_in(call, 500)
    assert cuts(call) == [(second, 0)]
    entry = call.conversation.get(second)
    assert entry is not None
    assert entry.item["content"] == [{"type": "output_audio", "transcript": ""}]


@pytest.mark.parametrize("by_client", [False, True])
def test_what_was_cut_once_is_not_cut_again_by_a_voice(by_client: bool) -> None:
    """It is not played any more, whoever stopped it."""
    call = new_call()
    said = spoken(call, "one two three four")
    if by_client:
        feed(call, inputs.TruncateItem(said, 0, 300), now_ms=400)
    else:
        spoken_turn(call, now_ms=300)
    spoken_turn(call, now_ms=600)
    assert cuts(call) == [(said, 300)]


@pytest.mark.parametrize("ends", [False, True])
def test_an_item_that_was_said_before_is_cut_alone(ends: bool) -> None:
    """What is said now goes on, and is cut where the caller interrupts it."""
    call = new_call()
    first = spoken(call, "one two three four")
    second = spoken(call, "five six seven eight", now_ms=1000, ends=ends)
    assert feed(call, inputs.TruncateItem(first, 0, 200), now_ms=1200) == ([DeliverEvents()] if ends else [])
    assert (call.response is None) == ends
    barge_in(call, 1300)
    assert cuts(call) == [(first, 200), (second, 300)]


def test_all_of_an_item_may_be_named() -> None:
    """A client that played it to its end takes nothing away."""
    call = new_call()
    said = spoken(call, "one two three four")
    feed(call, inputs.TruncateItem(said, 0, 1000))
    assert cuts(call) == [(said, 1000)]
    assert kept(call) == "one two three four"


@pytest.mark.parametrize(
    ("alignment", "left", "ends"),
    [
        (None, "one two", [[389, 7]]),
        ([[0, 0], [800, 4], [1000, 18]], "", []),
        ([[0, 0], [400, 4], [1000, 18]], "one", [[300, 3]]),
    ],
)
def test_what_is_left_is_aligned_as_it_was_said(alignment: Alignment | None, left: str, ends: Alignment) -> None:
    """A cut item ends where it was cut; one of a record without alignment was said at an even pace."""
    call = new_call()
    said = spoken(call, "one two three four")
    entry = call.conversation.get(said)
    assert entry is not None
    entry.alignment = alignment
    feed(call, inputs.TruncateItem(said, 0, 500))
    assert kept(call) == left
    assert entry.alignment == [[0, 0], *ends, [500, len(left)]]
    assert call.conversation.packed_bytes == len(entry.pack())


TYPED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
NOTHING_SAID = {"type": "message", "role": "assistant", "status": "incomplete", "content": []}


@pytest.mark.parametrize(
    ("said", "content_index", "audio_end_ms", "param"),
    [
        ("unknown", 0, 0, "item_id"),
        ("typed by the user", 0, 0, "item_id"),
        ("a tool's call", 0, 0, "item_id"),
        ("written", 0, 0, "content_index"),
        ("nothing", 0, 0, "content_index"),
        ("spoken", 1, 0, "content_index"),
        ("spoken", 0, 1001, "audio_end_ms"),
    ],
)
def test_only_audio_that_was_sent_is_truncated(said: str, content_index: int, audio_end_ms: int, param: str) -> None:
    """The error says what is wrong, and nothing changes."""
    call = new_call()
    feed(call, inputs.CreateItem({**TYPED, "id": "typed"}))
    ids = {"unknown": "unknown", "typed by the user": "typed", "nothing": "nothing", "spoken": spoken(call, "one two")}
    feed(call, inputs.CreateResponse({"output_modalities": ["text"]}))
    feed(call, inputs.ResponseText(response_id(2), "three"), call_tool("look_up", "{}"))
    assert call.response is not None
    ids["written"], ids["a tool's call"] = call.response.output_ids
    feed(call, finish)
    call.conversation.add({"id": "nothing", **NOTHING_SAID})
    feed(call, inputs.TruncateItem(ids[said], content_index, audio_end_ms))
    assert emitted(call)[-1]["error"]["param"] == param
    assert (emitted(call)[-1]["error"]["code"] == "item_truncate_invalid_item_id") == (said == "unknown")
    assert cuts(call) == []
    assert kept(call) == "one two"
    assert call.dialogue.playback is not None


def test_what_is_said_out_of_band_is_not_truncated() -> None:
    """It is no item of the conversation, and goes on."""
    call = new_call()
    feed(call, inputs.CreateResponse({"conversation": "none"}))
    feed(call, inputs.ResponseText(response_id(1), "one two"), inputs.ResponseAudio(response_id(1), FRAME * 50))
    assert feed(call, inputs.TruncateItem(item_id(1), 0, 500)) == []
    assert emitted(call)[-1]["error"]["code"] == "item_truncate_invalid_item_id"
    assert call.response is not None
