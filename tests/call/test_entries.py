"""Entries as a take-over finds them: which are unpacked when, and what of them is believed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.call.test_conversation import conversation_of
from voice_agent.call.conversation import Conversation
from voice_agent.call.item_order import Entry, are_as_packed


def packed_items(*ids: str) -> dict[str, bytes]:
    """As a store holds them."""
    return conversation_of(*ids).pack_all()


def test_a_take_over_unpacks_nothing_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much it is is known before, and the same afterwards."""
    unpacked: list[bytes] = []
    unpack = Entry.unpack

    def note(packed: bytes) -> Entry:
        unpacked.append(packed)
        return unpack(packed)

    monkeypatch.setattr(Entry, "unpack", note)
    packed = packed_items("a", "b", "c")
    conversation = Conversation(packed)
    before = (len(conversation), conversation.packed_bytes, conversation.held_bytes, conversation.is_full)
    assert before[:2] == (3, sum(map(len, packed.values())))
    assert conversation.take_changes() == ({}, [])
    assert "a" in conversation
    assert conversation.get("x") is None
    assert conversation.last_rank > conversation_of("a").last_rank
    assert conversation.pack_all() == packed
    history = conversation.items()
    assert len(history) == 3
    assert not unpacked
    entry = conversation.get("b")
    assert entry is not None
    entry.audio_ms = 1200
    conversation.touch("b")
    written, _ = conversation.take_changes()
    assert Entry.unpack(written["b"]).audio_ms == 1200
    assert conversation.packed_bytes == before[1] + len(written["b"]) - len(packed["b"]) > before[1]
    assert conversation.last_id == "c"
    assert conversation.before("b") == "a"
    assert [item["id"] for item in history] == ["a", "b", "c"]
    assert sorted(unpacked) == sorted([*packed.values(), written["b"]]), "each once"
    entry.audio_ms = 0
    conversation.touch("b")
    assert (len(conversation), conversation.packed_bytes, conversation.held_bytes, conversation.is_full) == before
    assert conversation.pack_all() == packed


def test_an_entry_that_is_not_read_yet_has_what_an_entry_has() -> None:
    """And nothing else: a name that is none is told as one."""
    packed = packed_items("a")["a"]
    entry = Entry.later(packed)
    assert entry == Entry.later(packed)
    assert entry.packed_bytes == len(packed)
    assert not entry.unread
    later: Any = Entry.later(packed)
    with pytest.raises(AttributeError, match="audio_s"):
        _ = later.audio_s
    assert later.unread == packed
    assert copy.deepcopy(later).item == entry.item


def test_parts_that_nobody_has_read_are_counted_as_no_fewer() -> None:
    """Else what they take would be known only once it is taken."""
    content = [{"type": "input_text", "text": '"type":"input_text"'}, {"type": "input_text", "text": "more"}]
    conversation = Conversation()
    conversation.add({"id": "a", "type": "message", "role": "user", "content": content})
    conversation.add({"id": "b", "type": "function_call", "name": "f", "call_id": "c", "arguments": '{"type":1}'})
    packed = conversation.pack_all()
    assert Conversation(packed).held_bytes == conversation.held_bytes


@pytest.mark.parametrize("damage", [b"}", b"]}", b'"}'])
def test_what_cannot_be_read_is_found_at_once(damage: bytes) -> None:
    """Not when somebody asks for it, in the middle of the call: a check that is not right is not believed."""
    packed = packed_items("a", "b")
    packed["a"] = packed["a"][:-2] + damage + b" "
    with pytest.raises(ValueError, match="column"):
        Conversation(packed)


def test_an_entry_without_a_check_or_with_another_one_is_read_as_well() -> None:
    """Of a release that writes none, or that changed it without knowing what the check is."""
    packed = packed_items("a", "b")
    packed["a"] = packed["a"].replace(b'"audio_ms":0', b'"audio_ms":7')
    packed["b"] = b'{"rank"' + packed["b"].partition(b'"rank"')[2]
    conversation = Conversation(packed)
    entry = conversation.get("a")
    assert entry is not None
    assert (entry.audio_ms, entry.extras) == (7, None)
    assert [item["id"] for item in conversation.items()] == ["a", "b"]
    assert are_as_packed(list(conversation.pack_all().values()))
