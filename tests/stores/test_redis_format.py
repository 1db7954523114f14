"""Calls as scripts are given them, in parts, and as they are read, in pages."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.errors import RecordUnreadable
from voice_agent.stores import redis_format
from voice_agent.stores.redis_format import PART_BYTES, STAGED_FOR_S, Reading, commit_arguments, parts_of

EVENT = OutboxEntry(1, b"h", b"a")
SPEECH = SpeechEntry(1, "i", b"s")
LISTS: dict[str, Any] = {"items": {"i": b"1"}, "dropped_items": ["j"], "events": [EVENT], "speech": [SPEECH]}
NO_PAGE = [[], [], 0, [], 0]


@pytest.mark.parametrize(
    ("ends", "retention_s", "lists"),
    [
        (False, 0, [1, "i", b"1", 1, "j", 1, 1, b"h", b"a", 1, 1, "i", b"s"]),
        (False, 5, [1, "i", b"1", 1, "j", 1, 1, b"h", b"a", 1, 1, "i", b"s"]),
        (True, 5, [1, "i", b"1", 1, "j", 0, 0]),
        (True, 0, [0, 1, "j", 0, 0]),
    ],
)
def test_a_write_that_ends_a_call_brings_only_what_is_kept(ends: bool, retention_s: int, lists: list[Any]) -> None:
    """Its conversation as long as conversations are kept; no events and no speech, which nobody reads any more."""
    write = CallWrite("call_a", 2, 3, "made", fields={"f": b"v"}, ends=ends, doubted="d", **LISTS)
    write.keep_events_from, write.keep_speech_from = 4, 5
    head = [2, 100, 0, 4, 5, 3, "made", "d", int(ends), retention_s, 1, "f", b"v"]
    assert commit_arguments(write, 100, retention_s) == [*head, *lists]


def sizes_of(parts: list[list[Any]]) -> list[list[int]]:
    """How many bytes each item of each part has."""
    return [[len(word) for word in part if isinstance(word, bytes)] for part in parts]


def test_a_part_is_full_when_it_has_so_many_bytes_and_no_sooner() -> None:
    """The next begins as empty as the first; what is left over is one more."""
    almost = PART_BYTES - 1
    sizes = [almost, 1, PART_BYTES, almost, 1, 5]
    write = CallWrite("call_a", 1, items={f"i{n}": bytes(size) for n, size in enumerate(sizes)})
    parts = list(parts_of(write))
    assert sizes_of(parts) == [[almost, 1], [PART_BYTES], [almost, 1], [5]]
    assert parts[1] == [STAGED_FOR_S, 1, "i2", bytes(PART_BYTES), 0, 0]
    assert sizes_of(list(parts_of(CallWrite("call_a", 1, items={"i": bytes(PART_BYTES)})))) == [[PART_BYTES]]


def test_parts_bring_items_events_and_speech_in_this_order() -> None:
    """As many lists in each part, some of them empty; bytes of all of them count."""
    half = bytes(PART_BYTES // 2)
    write = CallWrite("call_a", 1, items={"i": half}, events=[OutboxEntry(7, half, b"")], speech=[SPEECH])
    assert list(parts_of(write)) == [
        [STAGED_FOR_S, 1, "i", half, 1, 7, half, b"", 0],
        [STAGED_FOR_S, 0, 0, 1, 1, "i", b"s"],
    ]
    assert list(parts_of(CallWrite("call_a", 1))) == []


@pytest.mark.parametrize("is_map", [False, True], ids=["RESP2", "RESP3"])
def test_a_call_is_read_page_by_page(is_map: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where the page before ended, with so many items at most, until nothing is left; what is gone is left out."""
    monkeypatch.setattr(redis_format, "ITEMS_ASKED", 2)

    def fields(*words: bytes) -> Any:
        return dict(zip(words[::2], words[1::2], strict=True)) if is_map else list(words)

    first = [[b"A"], [[b"1-0", fields(b"h", b"1")], [b"2-0", fields(b"h", b"2", b"a", b"x")]], 1, [], 1]
    reading = Reading(fields(b"f", b"v", b"g", b"w"), [b"a", b"b", b"c", b"d"], first)
    assert reading.rest == [b"(2-0", b"-", b"b", b"c"]
    reading.add([[None, b"C"], [[b"3-0", fields(b"h", b"3")]], 0, [], 1])
    assert reading.rest == [b"(3-0", b"-", b"d"]
    reading.add([[b"D"], [], 0, [[b"5-0", fields(b"i", b"a", b"a", b"s")]], 0])
    assert reading.rest is None
    held = reading.snapshot()
    assert held.fields == {"f": b"v", "g": b"w"}
    assert held.items == {"a": b"A", "c": b"C", "d": b"D"}
    assert held.outbox == [OutboxEntry(1, b"1", b""), OutboxEntry(2, b"2", b"x"), OutboxEntry(3, b"3", b"")]
    assert held.speech == [SpeechEntry(5, "a", b"s")]


@pytest.mark.parametrize("items", [[b"a", b"A", b"b", b"B"], {b"a": b"A", b"b": b"B"}], ids=["RESP2", "RESP3"])
def test_items_that_are_read_beside_pages_are_all(items: Any) -> None:
    """None of them is asked for again; what is left of a stream is."""
    reading = Reading([], [], [[], [[b"1-0", [b"h", b"1"]]], 1, [], 0])
    reading.add_items(items)
    assert reading.rest == [b"(1-0", b"-"]
    reading.add([[], [], 0, [], 0])
    assert reading.rest is None
    assert reading.snapshot().items == {"a": b"A", "b": b"B"}


@pytest.mark.parametrize(
    ("ids", "page", "rest"),
    [
        ([], NO_PAGE, None),
        ([b"a"], NO_PAGE, [b"-", b"-", b"a"]),
        ([], [[], [], 1, [], 0], [b"-", b"-"]),
        ([], [[], [], 0, [], 1], [b"-", b"-"]),
        ([b"a"], [[b"A"], [], 0, [], 0], None),
    ],
)
def test_a_page_is_asked_for_while_anything_is_left(
    ids: list[bytes], page: list[Any], rest: list[bytes] | None
) -> None:
    """Items or either of the streams."""
    assert Reading([], ids, page).rest == rest


@pytest.mark.parametrize(
    "entry", [[b"1-0", [b"a", b"x"]], [b"one-0", [b"h", b"x"]], [b"1-0", [b"\xff", b"x"]]], ids=["lacks", "n", "name"]
)
def test_what_is_no_entry_of_ours_makes_a_call_unreadable(entry: list[Any]) -> None:
    """Its schema is named."""
    with pytest.raises(RecordUnreadable) as failure:
        Reading([b"schema", b"7"], [], [[], [entry], 0, [], 0]).snapshot()
    assert "7" in str(failure.value)
