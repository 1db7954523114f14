"""What a write asks for, and what it weighs."""

from __future__ import annotations

from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

EVENTS = [OutboxEntry(1, b"{}", b"a"), OutboxEntry(2, b"{}", b"bc")]
SPEECH = [SpeechEntry(1, "item_1", b"def"), SpeechEntry(2, "item_1", b"g")]


def test_a_write_of_nothing_changes_nothing() -> None:
    """It neither trims nor ends nor replaces."""
    store = MemoryStore(ttl_s=60)
    whole = CallWrite("call_a", 1, fields={"a": b"1"}, items={"i": b"2"}, events=EVENTS, speech=SPEECH, whole=True)
    nothing = CallWrite("call_a", 1)
    assert nothing.keep_events_from == nothing.keep_speech_from == 0
    assert run_now(store.commit([whole])) == [WriteOutcome.COMMITTED]
    before = run_now(store.load("call_a"))
    assert run_now(store.commit([nothing, nothing])) == [WriteOutcome.COMMITTED] * 2
    assert run_now(store.load("call_a")) == before
    assert run_now(MemoryStore(ttl_s=60).commit([nothing])) == [WriteOutcome.UNKNOWN]


def test_a_write_without_a_number_comes_after_any_other() -> None:
    """It is neither late nor early."""
    store = MemoryStore(ttl_s=60)
    writes = [CallWrite("call_a", 1, revision=5, whole=True), CallWrite("call_a", 1, fields={"a": b"1"})]
    assert run_now(store.commit(writes)) == [WriteOutcome.COMMITTED] * 2
    held = run_now(store.load("call_a"))
    assert held is not None
    assert held.fields["a"] == b"1"


def test_a_write_weighs_all_that_it_carries() -> None:
    """Bodies and audio of events, fields, items, and speech; it is weighed once, when that is first asked for."""
    for write, weight in [
        (CallWrite("call_a", 1), 0),
        (CallWrite("call_a", 1, events=EVENTS), 7),
        (CallWrite("call_a", 1, speech=SPEECH), 4),
        (CallWrite("call_a", 1, fields={"f": bytes(10), "g": bytes(3)}), 13),
        (CallWrite("call_a", 1, items={"i": bytes(20)}), 20),
        (CallWrite("call_a", 1, fields={"f": bytes(5)}, items={"i": b"1"}, events=EVENTS, speech=SPEECH), 17),
    ]:
        assert write.weight == -1
        assert write.size_bytes == write.weight == weight
