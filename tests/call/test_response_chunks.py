"""A reply under way in the record: nothing of it is lost, however it grows and is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.call.calls import FRAME, Happening, feed, item_id, new_call, response_id, types
from tests.call.engine import call_tool, fail, finish
from tests.call.test_responses import HELLO
from voice_agent.call import inputs
from voice_agent.call.apology import Apology
from voice_agent.call.changes import Snapshot
from voice_agent.call.record import CallRecord
from voice_agent.call.response import OpenItem, Response, ResponseRequest
from voice_agent.call.response_chunks import (
    ALIGNMENT,
    CHUNK_CHARS,
    CHUNK_ENTRIES,
    SIZES,
    changed_from,
    chunks_of,
    restore_chunks,
    take_chunks,
)
from voice_agent.call.restoring import restore
from voice_agent.call.writes import take_write

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.integers(1, 900)),
        st.tuples(st.just("audio"), st.integers(1, 40)),
        st.tuples(st.just("words"), st.integers(1, 40)),
        st.sampled_from(["write", "function", "end", "whole", "differs"]).map(lambda step: (step, 0)),
    ),
    max_size=60,
)


class Record:
    """What a store makes of writes."""

    def __init__(self, call: CallRecord) -> None:
        self.call = call
        self.fields: dict[str, bytes] = {}
        self.items: dict[str, bytes] = {}
        call.record.write_whole = True
        self.write()

    def write(self) -> int:
        """Take a write; how many bytes of fields it carries."""
        write = take_write(self.call, 0)
        if write.whole:
            self.fields, self.items = {}, {}
        self.fields.update(write.fields)
        self.items.update(write.items)
        for dropped in write.dropped_items:
            del self.items[dropped]
        return sum(map(len, write.fields.values()))

    def restored(self) -> CallRecord:
        return restore(Snapshot(self.fields, self.items, [], []), epoch=2, outbox_bytes=0, checkpoint_ms=0)


@settings(max_examples=300)
@given(STEPS)
@example([("audio", 1), ("write", 0), ("end", 0), ("write", 0)])
@example([("text", 1), ("differs", 0), ("write", 0), ("function", 0)])
def test_what_is_restored_is_what_was_said(steps: list[tuple[str, int]]) -> None:
    """After any parts and any writes, whatever replies and items there were before."""
    call = new_call(outbox_bytes=0)
    record = Record(call)
    for number, (what, size) in enumerate(steps):
        if call.response is None:
            feed(call, HELLO, inputs.CreateResponse({"conversation": "none"} if number % 2 else {}))
        assert call.response is not None
        response_id = call.response.response_id
        if what == "text":
            feed(call, inputs.ResponseText(response_id, f"{number} " * size))
        elif what == "audio":
            words = [[ms, ms // 20] for ms in range(20, 20 * size, 20)]
            feed(call, inputs.ResponseAudio(response_id, FRAME * size, len(FRAME) * size + number, words))
        elif what == "words":
            known = len(call.response.said.piece.words)
            more = [[known + at, number] for at in range(size)]
            feed(call, inputs.ResponseAudio(response_id, FRAME, len(FRAME) * (number + 1), more, known))
        elif what == "function":
            feed(call, call_tool("look_up", "{}"))
        elif what == "differs":
            feed(call, inputs.ResponseDiverged(response_id, len(call.response.said.text) // 2))
        elif what == "end":
            feed(call, finish)
        elif what in ("write", "whole"):
            call.record.write_whole = call.record.write_whole or what == "whole"
            record.write()
    record.write()
    found = record.restored()
    assert found.response == call.response
    assert found.response is not None or not [
        name for name, value in record.fields.items() if name[:5] == "text:" and value
    ]


def test_an_item_that_ends_does_not_have_its_text_written_again() -> None:
    """What comes after it is all that a write carries of the text."""
    call = new_call(outbox_bytes=0)
    feed(call, HELLO, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "x" * (2 * CHUNK_CHARS + 10)))
    take_write(call, 0)
    feed(call, call_tool("look_up", "{}"), inputs.ResponseText(response_id(1), "y"))
    assert [name for name in take_write(call, 0).fields if name.startswith("text:")] == ["text:2"]


def a_response(number: int, chars: int, entries: int) -> Response:
    """One that has said so much."""
    response = Response(f"resp_{number}", ResponseRequest({}, 0), open_item=OpenItem(f"item_{number}"))
    response.said.text = "".join(chr(ord("a") + at % 26) for at in range(chars))
    response.said.alignment = [[at, at] for at in range(entries)]
    return response


def stored(response: Response) -> dict[str, bytes]:
    """Its fields after a write of everything."""
    fields: dict[str, bytes] = {}
    take_chunks(response, fields, whole=True)
    return fields


def restored(fields: dict[str, bytes]) -> Response:
    """What another pod reads."""
    again = a_response(1, 0, 0)
    restore_chunks(again, fields)
    return again


@pytest.mark.parametrize("chars", [0, 1, CHUNK_CHARS, CHUNK_CHARS + 1, 3 * CHUNK_CHARS - 1])
@pytest.mark.parametrize("entries", [0, 1, CHUNK_ENTRIES, CHUNK_ENTRIES + 1, 3 * CHUNK_ENTRIES - 1])
def test_a_reply_of_any_length_is_cut_and_put_together(chars: int, entries: int) -> None:
    """Its fields are those that will be emptied; who reads it writes none of them again, then only the last ones."""
    response = a_response(1, chars, entries)
    fields: dict[str, bytes] = {}
    take_chunks(response, fields, whole=False)
    assert sorted(fields) == sorted([*chunks_of(response), SIZES])
    assert stored(a_response(1, chars, entries)) == fields
    again = restored(fields)
    assert again == response
    more: dict[str, bytes] = {}
    take_chunks(again, more, whole=False)
    assert list(more) == [SIZES]
    again.said.text += "!"
    again.said.alignment.append([entries, chars])
    more.clear()
    take_chunks(again, more, whole=False)
    assert list(more) == [f"text:{chars // CHUNK_CHARS}", f"alignment:{entries // CHUNK_ENTRIES}", SIZES]
    assert restored(fields | more) == again


@pytest.mark.parametrize("entries", range(0, 4 * CHUNK_ENTRIES, CHUNK_ENTRIES // 2))
def test_a_list_that_begins_anew_is_read_as_it_is(entries: int) -> None:
    """However many entries it has by the next write: none of the old ones is left, nor a field that held only these."""
    response = a_response(1, 0, 2 * CHUNK_ENTRIES)
    fields = stored(response)
    response.said.alignment = [[1000 + at, at] for at in range(entries)]
    changed_from(response, ALIGNMENT, 0)
    take_chunks(response, fields, whole=False)
    assert restored(fields) == response
    assert sorted(name for name, value in fields.items() if value) == sorted([*chunks_of(response), SIZES])


@pytest.mark.parametrize("left", [0, 1, 3])
def test_what_became_shorter_is_read_as_it_is(left: int) -> None:
    """Its last chunk is not written again, and holds more than belongs to it."""
    response = a_response(1, 7, 5)
    fields = stored(response)
    response.said.text, response.said.alignment = response.said.text[:left], response.said.alignment[:left]
    take_chunks(response, fields, whole=False)
    assert restored(fields) == response


def test_what_an_earlier_reply_has_left_is_not_read() -> None:
    """Wherever the next one ends."""
    for chunks in range(3):
        fields = stored(a_response(1, 3 * CHUNK_CHARS, 3 * CHUNK_ENTRIES))
        response = a_response(1, chunks * CHUNK_CHARS, chunks * CHUNK_ENTRIES)
        take_chunks(response, fields, whole=False)
        assert restored(fields) == response


def test_a_chunk_that_is_gone_is_not_passed_over() -> None:
    """A reply with a hole in it is none that could go on."""
    fields = stored(a_response(1, 3 * CHUNK_CHARS, 0))
    del fields["text:1"]
    with pytest.raises(LookupError):
        restored(fields)


def life_of_responses() -> list[tuple[list[Happening], int]]:
    """All that can happen to replies, one thing at a time, each with its moment."""
    first, second, third, fourth = map(response_id, range(1, 5))
    made = 100 * len(FRAME)
    return [
        ([HELLO, inputs.CreateResponse({})], 0),
        ([inputs.ResponseText(first, "One two. ")], 0),
        ([inputs.ResponseAudio(first, FRAME, made, [[10, 4]])], 0),
        ([inputs.ResponseAudio(first, FRAME)], 20),
        ([inputs.ResponseAudio(first, FRAME, made, [[10, 4], [30, 9]])], 5000),
        ([inputs.ResponseText(first, "Three. ")], 5000),
        ([inputs.ResponseAudio(first, FRAME * 3)], 5000),
        ([inputs.ResponseDiverged(first, 12)], 5000),
        ([inputs.ResponseAudio(first, FRAME)], 5000),
        ([inputs.ResponseDiverged(first)], 5000),
        ([inputs.ResponseText(first, "Four. ")], 5000),
        ([call_tool("look_up", '{"order":7}')], 5000),
        ([inputs.ResponseAudio(first, FRAME)], 5000),
        (
            [
                inputs.ResponseText(first, "Five. "),
                inputs.ResponseAudio(first, FRAME),
                inputs.ResponseText(first, "Six. "),
            ],
            5000,
        ),
        ([fail("broken", Apology("Sorry.", FRAME))], 5000),
        (
            [
                inputs.CreateResponse({}),
                inputs.ResponseText(second, "Seven. "),
                inputs.ResponseAudio(second, FRAME * 9),
            ],
            6000,
        ),
        ([inputs.CancelResponse()], 6000),
        ([inputs.TruncateItem(item_id(7), 0, 60)], 6000),
        (
            [inputs.CreateResponse({}), inputs.ResponseText(third, "Eight. "), inputs.ResponseAudio(third, FRAME * 9)],
            7000,
        ),
        ([finish], 7000),
        ([inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),))], 7040),
        ([inputs.CreateResponse({"conversation": "none"}), inputs.ResponseText(fourth, "Out of band.")], 8000),
        ([call_tool("look_up", '{"order":8}')], 8000),
        ([finish], 8000),
    ]


def known_of(call: CallRecord) -> dict[str, Any]:
    """All that a call knows of its replies."""
    entries = [call.conversation.get(str(item["id"])) for item in call.conversation.items()]
    said = [(entry.item, entry.audio_ms, entry.alignment) for entry in entries if entry is not None]
    dialogue = replace(call.dialogue, turns=0, cut_off="")
    return {
        "said": said,
        "voice": call.session.voice_locked,
        "response": call.response,
        "at": dialogue,
        "ids": call.ids,
    }


def test_what_changes_in_a_reply_is_in_the_next_write() -> None:
    """After each single thing that happens another pod knows as much; and the conversation knows its own size."""
    call = new_call(outbox_bytes=0)
    record = Record(call)
    for number, (event, now_ms) in enumerate(life_of_responses()):
        feed(call, *event, now_ms=now_ms)
        assert "error" not in types(call), number
        entries = [call.conversation.get(str(item["id"])) for item in call.conversation.items()]
        assert call.conversation.packed_bytes == sum(len(entry.pack()) for entry in entries if entry), number
        record.write()
        assert known_of(record.restored()) == known_of(call), (number, event[-1])
    assert call.ids.responses_made == 4
    assert call.dialogue.playback is None
