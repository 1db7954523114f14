"""What an item of a reply keeps: its text, and when each part of it is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.call.calls import FRAME, FRAME_MS, feed, item_id, new_call, response_id
from tests.call.engine import call_tool, finish
from voice_agent.call import inputs
from voice_agent.call.alignment import Alignment
from voice_agent.call.changes import Snapshot
from voice_agent.call.item_order import Entry
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write

Said = str | tuple[int, int, Alignment]
"""Text, or audio: so many milliseconds of it, of so many that were made, and where words begin."""


def say(call: CallRecord, *said: Said) -> None:
    """Let the reply under way go on."""
    assert call.response is not None
    response_id = call.response.response_id
    for part in said:
        if isinstance(part, str):
            feed(call, inputs.ResponseText(response_id, part))
        else:
            ms, made_ms, words = part
            made_bytes = made_ms // FRAME_MS * len(FRAME)
            feed(call, inputs.ResponseAudio(response_id, FRAME * (ms // FRAME_MS), made_bytes, words))


def audio(ms: int, made_ms: int = 0, words: Alignment | None = None) -> tuple[int, int, Alignment]:
    return ms, made_ms, words or []


def last_of(call: CallRecord) -> Entry:
    """The newest item."""
    entry = call.conversation.get(call.conversation.last_id or "")
    assert entry is not None
    return entry


ONE_PIECE: list[Said] = ["one ", "two", audio(400), audio(600)]
TWO_PIECES: list[Said] = ["one two. ", audio(1000), "three.", audio(500)]
WITH_WORDS: list[Said] = ["one two. ", audio(500, 1000, [[400, 4]]), audio(500), "three.", audio(500)]
TOO_SHORT: list[Said] = ["one two " * 50, audio(1000)]


@pytest.mark.parametrize("is_second", [False, True])
@pytest.mark.parametrize(
    ("said", "alignment"),
    [
        (ONE_PIECE, [[0, 0], [1000, 7]]),
        (TWO_PIECES, [[0, 0], [1000, 9], [1500, 15]]),
        (WITH_WORDS, [[0, 0], [400, 4], [1000, 9], [1500, 15]]),
        (TOO_SHORT, [[0, 0], [1000, 400]]),
        (["one two."], None),
    ],
)
def test_an_item_knows_when_each_piece_was_said(said: list[Said], alignment: Alignment | None, is_second: bool) -> None:
    """Counted from its own beginning, whatever its reply said before; what was not spoken has no alignment."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    if is_second:
        say(call, "Hi. ", audio(300))
        feed(call, call_tool("look_up", "{}"))
    say(call, *said)
    feed(call, finish)
    entry = last_of(call)
    assert entry.item["content"][0]["transcript"] == "".join(part for part in said if isinstance(part, str))
    assert entry.alignment == alignment
    assert entry.audio_ms == (0 if alignment is None else alignment[-1][0])


def test_text_that_joins_a_piece_is_said_by_its_audio() -> None:
    """Though some of that came before: where the piece ends is where its audio does."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    say(call, "one ", audio(200))
    feed(call, inputs.ResponseText(response_id(1), "two", joins=True))
    say(call, audio(800))
    feed(call, finish)
    assert last_of(call).alignment == [[0, 0], [1000, 7]]


@pytest.mark.parametrize("is_second", [False, True])
def test_an_item_that_is_cut_short_ends_with_what_was_sent(is_second: bool) -> None:
    """The text of the piece under way is taken to last as long as so many characters usually do."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    if is_second:
        say(call, "Hi. ", audio(300))
        feed(call, call_tool("look_up", "{}"))
    say(call, "one two. ", audio(1000), "three four five six seven eight.", audio(800))
    feed(call, inputs.CancelResponse())
    entry = last_of(call)
    assert entry.item["content"][0]["transcript"] == "one two. three four"
    assert entry.alignment == [[0, 0], [1000, 9], [1667, 19], [1800, 19]]


@pytest.mark.parametrize(
    ("has_spoken", "modality", "ends", "kept"),
    [
        (False, "audio", inputs.CancelResponse(), "one two."),
        (True, "audio", inputs.CancelResponse(), ""),
        (True, "audio", finish, "one two."),
        (True, "text", inputs.CancelResponse(), "one two."),
        (True, "text", finish, "one two."),
    ],
)
def test_text_without_audio_was_heard_only_where_nothing_is_spoken(
    has_spoken: bool, modality: str, ends: inputs.Input, kept: str
) -> None:
    """What an agent with a voice was about to say when it was stopped is not kept; what is written is read."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    say(call, *([audio(100)] if has_spoken else []))
    feed(call, finish)
    feed(call, inputs.CreateResponse({"output_modalities": [modality]}))
    say(call, "one two.")
    feed(call, ends)
    entry = last_of(call)
    part: dict[str, Any] = entry.item["content"][0]
    assert part.get("transcript", part.get("text")) == kept
    assert entry.alignment == (None if kept else [[0, 0]])


@pytest.mark.parametrize("out_of_band", [False, True])
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("is_lost", [False, True])
def test_the_next_owner_has_the_open_item_once(out_of_band: bool, is_open: bool, is_lost: bool) -> None:
    """Whether the store has it still, or has lost it; one out of band is none of the conversation."""
    call = new_call()
    feed(call, inputs.CreateResponse({"conversation": "none"} if out_of_band else {}))
    say(call, *(["one two. "] if is_open else []))
    call.record.write_whole = True
    write = take_write(call, 0)
    found = restore(
        Snapshot(write.fields, {} if is_lost else write.items, [], []), epoch=2, outbox_bytes=0, checkpoint_ms=0
    )
    expected = [item_id(1)] if is_open and not out_of_band else []
    assert [item["id"] for item in found.conversation.items()] == expected
    assert len(found.conversation) == len(expected)
