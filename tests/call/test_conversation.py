"""The order of a conversation's items: `item_order` and what is stored of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import emitted, feed, item_id, new_call
from voice_agent.call import conversation as bounds
from voice_agent.call import inputs
from voice_agent.call.conversation import ITEM_OVERHEAD_BYTES, MAX_BYTES, PART_OVERHEAD_BYTES, Conversation
from voice_agent.call.item_order import Entry

ACTIONS = st.lists(st.tuples(st.sampled_from(["end", "first", "after", "drop"]), st.integers(0, 10**6)), max_size=80)


@given(ACTIONS)
def test_order_survives_the_store(actions: list[tuple[str, int]]) -> None:
    """Whatever is added and dropped where, reading the entries back gives the same order."""
    conversation = Conversation()
    stored: dict[str, bytes] = {}
    model: list[str] = []
    for number, (action, pick) in enumerate(actions):
        item = {"id": f"i{number}"}
        if action == "end" or (action in ("after", "drop") and not model):
            conversation.add(item)
            model.append(item["id"])
        elif action == "first":
            conversation.add(item, first=True)
            model.insert(0, item["id"])
        elif action == "after":
            at = pick % len(model)
            conversation.add(item, after=model[at])
            model.insert(at + 1, item["id"])
        else:
            conversation.drop(model.pop(pick % len(model)))
        put, dropped = conversation.take_changes()
        stored.update(put)
        for each in dropped:
            del stored[each]
    assert [item["id"] for item in conversation.items()] == model
    assert [item["id"] for item in Conversation(stored).items()] == model


@given(ACTIONS, ACTIONS)
def test_what_is_shown_stays_as_it_was(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Items that somebody reads are those that were there when he asked for them."""
    conversation = Conversation()
    held: list[str] = []
    shown: list[tuple[list[str], Sequence[Mapping[str, Any]]]] = []
    for number, (action, pick) in enumerate([*before, ("show", 0), *after]):
        if action == "show" or pick % 5 == 0:
            shown.append((held.copy(), conversation.items()))
        if action == "drop" and held:
            conversation.drop(held.pop(pick % len(held)))
        elif action == "after" and held:
            at = pick % len(held)
            conversation.add({"id": f"i{number}"}, after=held[at])
            held.insert(at + 1, f"i{number}")
        else:
            conversation.add({"id": f"i{number}"}, first=action == "first")
            held.insert(0 if action == "first" else len(held), f"i{number}")
        for ids, items in shown:
            assert [item["id"] for item in items] == [items[at]["id"] for at in range(len(items))] == ids
            assert [item["id"] for item in items[1:]] == ids[1:]


def test_items_at_one_place_keep_their_order_and_leave_the_others_alone() -> None:
    """A write carries the item that was put in the middle and no other, however many stand around it."""
    conversation = Conversation()
    conversation.add({"id": "a"})
    conversation.add({"id": "z"})
    stored, _ = conversation.take_changes()
    for number in range(200):
        conversation.add({"id": f"n{number}"}, after="a")
        put, _ = conversation.take_changes()
        assert list(put) == [f"n{number}"]
        stored |= put
    expected = ["a", *(f"n{number}" for number in reversed(range(200))), "z"]
    assert [item["id"] for item in Conversation(stored).items()] == expected


def test_what_was_read_need_not_be_written() -> None:
    """A take-over of a long call writes none of its items again."""
    conversation = Conversation()
    for number in range(3):
        conversation.add({"id": f"i{number}"})
    again = Conversation(conversation.pack_all())
    assert again.unsaved_bytes == 0
    assert again.take_changes() == ({}, [])


SIZES = st.lists(
    st.tuples(st.sampled_from(["add", "touch", "drop", "write", "whole"]), st.integers(0, 300)), max_size=60
)


@given(SIZES)
def test_bytes_are_counted_exactly(actions: list[tuple[str, int]]) -> None:
    """Written or not, changed or taken out: the conversation knows what its entries take, and the next write."""
    conversation = Conversation()
    assert conversation.held_bytes == conversation.unsaved_bytes == 0
    held: list[str] = []
    for number, (action, size) in enumerate(actions):
        if action == "add":
            conversation.add({"id": f"i{number}", "text": "x" * size, "content": [{}]}, first=size % 2 == 0)
            held.append(f"i{number}")
        elif action == "touch" and held:
            entry = conversation.get(held[size % len(held)])
            assert entry is not None
            entry.item["text"] = "y" * size
            conversation.touch(entry.item["id"])
        elif action == "drop" and held:
            conversation.drop(held.pop(size % len(held)))
        elif action == "write":
            unsaved_bytes = conversation.unsaved_bytes
            assert unsaved_bytes == sum(map(len, conversation.take_changes()[0].values()))
        elif action == "whole":
            assert conversation.packed_bytes == sum(map(len, conversation.pack_all().values()))
            assert not conversation.unsaved_bytes
    assert conversation.packed_bytes == sum(map(len, conversation.pack_all().values()))
    for each in held:
        conversation.drop(each)
    assert conversation.held_bytes == conversation.packed_bytes == 0


def test_an_item_that_changes_often_counts_once_for_the_next_write() -> None:
    """As it is then, however it grew and shrank before."""
    conversation = Conversation()
    entry = conversation.add({"id": "a", "text": "", "content": []})
    for size in (10, 3000, 20):
        entry.item["text"] = "x" * size
        conversation.touch("a")
    conversation.add({"id": "b", "content": [{}, {}]})
    assert conversation.held_bytes == conversation.packed_bytes + 2 * ITEM_OVERHEAD_BYTES + 2 * PART_OVERHEAD_BYTES
    counted = conversation.unsaved_bytes
    assert counted == conversation.packed_bytes == sum(map(len, conversation.take_changes()[0].values()))


def test_items_count_before_they_are_written() -> None:
    """A burst of large items meets the bound of the conversation although no write has come in between."""
    call = new_call()
    text = "x" * 200_000
    content = [{"type": "input_text", "text": text}] * 2
    for _ in range(50):
        feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}))
    error = emitted(call)[-1]["error"]
    assert error["code"] == "conversation_full"
    assert str(MAX_BYTES) in error["message"]
    assert len(call.conversation) == MAX_BYTES // 400_000
    assert call.conversation.packed_bytes < MAX_BYTES


def message(item_id: str, after: str | None = None) -> inputs.CreateItem:
    """A typed user message with an id of the client's."""
    content = [{"type": "input_text", "text": item_id}]
    return inputs.CreateItem(
        {"id": item_id, "type": "message", "role": "user", "content": content}, previous_item_id=after
    )


def test_items_are_put_where_the_client_wants_them() -> None:
    """At the end, in front, or behind an item; each event names the item before."""
    call = new_call()
    feed(call, message("b"), message("a", "root"), message("c", "b"), message("x", "a"))
    assert [item["id"] for item in call.conversation.items()] == ["a", "x", "b", "c"]
    added = [event["previous_item_id"] for event in emitted(call) if event["type"] == "conversation.item.added"]
    assert added == [None, None, "b", "a"]


def test_ids_must_be_new_and_places_known() -> None:
    """A duplicate id or an unknown previous item is refused with the field's name."""
    call = new_call()
    feed(call, message("a"), message("a"), message("b", "nowhere"))
    errors = [event["error"]["param"] for event in emitted(call) if event["type"] == "error"]
    assert errors == ["item.id", "previous_item_id"]
    assert len(call.conversation) == 1


def test_items_can_be_shown_and_deleted() -> None:
    """Retrieve shows an item, delete takes it out, and an unknown id is an error."""
    call = new_call()
    feed(call, message("a"), inputs.RetrieveItem("a"), inputs.DeleteItem("a"), inputs.RetrieveItem("a"))
    retrieved, deleted, error = emitted(call)[2:]
    assert retrieved["item"]["content"][0]["text"] == "a"
    assert deleted == {"type": "conversation.item.deleted", "item_id": "a"}
    assert error["error"]["param"] == "item_id"


def test_a_spoken_item_is_transcribed_and_its_audio_can_be_retrieved() -> None:
    """Audio of a created item is kept beside the conversation, raw."""
    call = new_call()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    feed(call, inputs.CreateItem(item, b"\x01\x02" * 500), inputs.RetrieveItem(item_id(1)))
    assert list(call.clips.untranscribed) == [item_id(1)]
    assert call.outbox.unsaved[-1].audio == b"\x01\x02" * 500


def test_what_somebody_reads_is_copied_once_and_only_if_more_than_its_end_changes() -> None:
    """A view of the items stays as it was; an item at the end costs no copy, nor does the change after the next one."""
    conversation = conversation_of("i0", "i1", "i2")
    order = conversation._entries.order._entries
    conversation.drop("i2")
    assert conversation._entries.order._entries is order
    shown = conversation.items()
    conversation.add({"id": "i3"})
    assert conversation._entries.order._entries is order
    conversation.drop("i0")
    assert conversation._entries.order._entries is not order
    order = conversation._entries.order._entries
    conversation.drop("i1")
    conversation.add({"id": "i4"}, first=True)
    assert conversation._entries.order._entries is order
    assert [item["id"] for item in shown] == ["i0", "i1"]


def conversation_of(*ids: str) -> Conversation:
    """Items in this order."""
    conversation = Conversation()
    for each in ids:
        conversation.add({"id": each})
    return conversation


def test_what_is_not_written_yet_is_read_back_without_a_difference() -> None:
    """All that an entry remembers; a new one has no audio."""
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    plain = Conversation().add(item)
    assert (plain.audio_ms, plain.alignment) == (0, None)
    plain.audio_ms, plain.alignment = 1200, [[0, 0], [1200, 2]]
    read = Entry.unpack(plain.pack())
    assert (read.item, read.rank, read.audio_ms, read.alignment) == (item, "a0", 1200, [[0, 0], [1200, 2]])
    assert (read.packed_bytes, read.parts) == (0, 0), "counted where it is held"
    early = Entry.unpack(orjson.dumps({"rank": "a0", "item": {"id": "a"}}))
    assert (early.audio_ms, early.alignment, early.extras) == (0, None, None)
    packed = b'{"rank":"a0","colour":{"of":"hair"},"audio_ms":0,"alignment":null,"item":{"id":"a"}}'
    again = Entry.unpack(packed).pack()
    assert again.endswith(packed[1:]), "a newer version's fields go back as they came"
    assert Entry.unpack(again).pack() == again, "with one check"


GOOD: dict[str, Any] = {"id": "a", "type": "message", "role": "user", "content": [{}, {}]}


@pytest.mark.parametrize(
    ("item", "is_one"),
    [
        (GOOD, True),
        ({"id": "a"}, True),
        ({"id": "a", "type": "function_call"}, True),
        (GOOD | {"id": 7}, False),
        ({"id": 7}, False),
        (GOOD | {"role": None}, False),
        (GOOD | {"type": "other", "role": None}, True),
        (GOOD | {"content": [{}, "text"]}, False),
        (GOOD | {"content": ["text", {}]}, False),
        (GOOD | {"content": []}, True),
    ],
)
def test_what_is_no_item_is_not_read_as_one(item: dict[str, Any], is_one: bool) -> None:
    """An id, the role of a message, and parts that are objects are what the rules count on."""
    packed = orjson.dumps({"rank": "a0", "item": item})
    if is_one:
        assert Entry.unpack(packed).item == item
    else:
        with pytest.raises(TypeError):
            Entry.unpack(packed)


def test_an_entry_is_counted_as_it_is_written_and_read() -> None:
    """Also where something was noted in it without saying so, as the length of its audio."""
    conversation = conversation_of("a", "b")
    entry = conversation.get("a")
    assert entry is not None
    entry.audio_ms = 1_000_000
    put, _ = conversation.take_changes()
    assert conversation.packed_bytes == sum(map(len, put.values()))
    again = Conversation(put)
    assert (again.packed_bytes, again.held_bytes) == (conversation.packed_bytes, conversation.held_bytes)


def test_an_id_that_is_used_again_is_not_dropped() -> None:
    """The write puts the new item; what was dropped and what was not written with it is forgotten once it is taken."""
    conversation = conversation_of("a", "b")
    conversation.take_changes()
    conversation.drop("a")
    conversation.add({"id": "a", "again": True})
    put, dropped = conversation.take_changes()
    assert (list(put), dropped) == (["a"], [])
    conversation.drop("a")
    assert list(conversation.pack_all()) == ["b"]
    assert conversation.take_changes() == ({}, [])


@pytest.mark.parametrize(("items", "size_bytes", "fits"), [(2, 9, True), (2, 10, False), (3, 9, False), (3, 10, False)])
def test_an_item_must_fit_below_both_bounds(
    items: int, size_bytes: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of items, and of bytes; it is full if not even the smallest would fit."""
    conversation = conversation_of(*map(str, range(items)))
    monkeypatch.setattr(bounds, "MAX_ITEMS", 3)
    monkeypatch.setattr(bounds, "MAX_BYTES", conversation.packed_bytes + 10)
    assert conversation.has_room_for(size_bytes) is fits
    assert conversation.is_full is (items == 3)
    monkeypatch.setattr(bounds, "MAX_BYTES", conversation.packed_bytes + 1)
    assert conversation.is_full is (items == 3)
    monkeypatch.setattr(bounds, "MAX_BYTES", conversation.packed_bytes)
    assert conversation.is_full


def test_each_item_knows_the_one_before_it() -> None:
    """Wherever it was put; the newest is the last."""
    conversation = Conversation()
    assert (conversation.last_id, conversation.last_rank) == (None, "")
    for n in range(4):
        conversation.add({"id": f"i{n}"})
    conversation.add({"id": "first"}, first=True)
    conversation.add({"id": "middle"}, after="i2")
    order = ["first", "i0", "i1", "i2", "middle", "i3"]
    assert [conversation.before(each) for each in order] == [None, *order[:-1]]
    last = conversation.get("i3")
    assert last is not None
    assert (conversation.last_id, conversation.last_rank) == ("i3", last.rank)


def test_items_up_to_a_rank_end_with_the_item_of_that_rank() -> None:
    """Or before what came later; nothing is below the rank of a conversation without items."""
    conversation = conversation_of("a", "b", "c")
    ranks = {each: entry.rank for each in "abc" if (entry := conversation.get(each))}
    for to_rank, ids in (("", ""), (ranks["a"], "a"), (ranks["b"], "ab"), (ranks["c"], "abc"), (None, "abc")):
        assert "".join(item["id"] for item in conversation.items(to_rank=to_rank)) == ids
    conversation.drop("b")
    assert [item["id"] for item in conversation.items(to_rank=ranks["b"])] == ["a"]


def test_a_rank_is_a_text() -> None:
    """One that is not could not be compared with the next."""
    with pytest.raises(TypeError, match="no rank"):
        Conversation({"a": b'{"rank":3.0,"item":{"id":"a"}}'})
