"""What every store promises of the writes of calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.stores.base import Claim, Store, WriteOutcome

EVERY_BYTE = bytes(range(256))


def first_write(call_id: str = "call_a", **fields: bytes) -> CallWrite:
    """What makes a call."""
    known = {"status": b"attached", "owner": b"pod-a", "color": b"blue", "api_key_hash": b"key"}
    return CallWrite(call_id, 1, fields={**known, **fields}, whole=True)


def claim(call_id: str = "call_a", **more: Any) -> Claim:
    """What another pod claims."""
    return Claim(call_id, "pod-b", "green", 5, **more)


def numbered(revision: int, *, claim: str = "made", epoch: int = 1, **more: Any) -> CallWrite:
    """A write as a pod sends it."""
    return CallWrite("call_a", epoch, revision, claim, fields={"said": b"%d" % revision}, **more)


async def said(store: Store) -> bytes:
    """Which write the record shows."""
    held = await store.load("call_a")
    assert held is not None
    return held.fields["said"]


def large_write(revision: int = 1, **more: Any) -> CallWrite:
    """A whole write of a call with more of everything than one script or one answer carries."""
    return CallWrite(
        "call_a",
        1,
        revision,
        "made",
        fields={"status": b"attached", "session": b"the-session"},
        items={f"item_{n}": b"%d" % n * 400 for n in range(1500)},
        events=[OutboxEntry(n, b"{}", bytes(1000) if n % 2 else b"") for n in range(1, 1500)],
        speech=[SpeechEntry(n, "item_1", bytes([n % 256]) * 2000) for n in range(1, 700)],
        whole=True,
        **more,
    )


def counted_write(revision: int = 2) -> CallWrite:
    """Two items, two events and a piece of speech, which the record counts."""
    return CallWrite(
        "call_a",
        1,
        revision,
        fields={"kept": b"2 2 1 1", "seq": b"2"},
        items={"i1": b"1", "i2": b"2"},
        events=[OutboxEntry(1, b"{}", b""), OutboxEntry(2, b"{}", b"")],
        speech=[SpeechEntry(1, "i1", b"s")],
        whole=revision == 1,
    )


class CallContract:
    """Of one call, whoever writes it and whoever wants it."""

    async def test_a_write_needs_a_call(self, store: Store) -> None:
        """Only a whole write makes a record; any other finds the call unknown."""
        assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.UNKNOWN]
        assert await store.load("call_a") is None
        assert await store.commit([first_write()]) == [WriteOutcome.COMMITTED]
        assert await store.load("call_a") is not None

    async def test_everything_comes_back_as_it_was_written(self, store: Store) -> None:
        """Fields, items, events and speech, with any bytes in them."""
        await store.commit([first_write()])
        write = CallWrite(
            "call_a",
            1,
            fields={"seq": EVERY_BYTE},
            items={"item_1": EVERY_BYTE, "item_2": b"x"},
            events=[OutboxEntry(1, b'{"a":1}', b""), OutboxEntry(2, EVERY_BYTE, EVERY_BYTE)],
            speech=[SpeechEntry(1, "item_1", EVERY_BYTE)],
        )
        await store.commit([write])
        await store.commit([CallWrite("call_a", 1, dropped_items=["item_2"])])
        held = await store.load("call_a")
        assert held is not None
        assert held.fields["seq"] == EVERY_BYTE
        assert held.fields["epoch"] == b"1"
        assert held.items == {"item_1": EVERY_BYTE}
        assert held.outbox == write.events
        assert held.speech == write.speech

    async def test_a_repeated_write_changes_nothing(self, store: Store) -> None:
        """A write whose answer got lost may be sent again."""
        write = CallWrite(
            "call_a", 1, events=[OutboxEntry(1, b"{}", b"")], speech=[SpeechEntry(1, "i", b"s")], keep_events_from=1
        )
        await store.commit([first_write()])
        assert await store.commit([write]) == await store.commit([write]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert (len(held.outbox), len(held.speech)) == (1, 1)

    async def test_a_write_with_a_newer_epoch_raises_the_records(self, store: Store) -> None:
        """Whoever writes with the highest epoch owns the call; no field of a write can pretend another epoch."""
        await store.commit([first_write()])
        newer = CallWrite("call_a", 4, fields={"epoch": b"1"}, whole=True)
        assert await store.commit([newer]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert held.fields["epoch"] == b"4"
        assert await store.commit([CallWrite("call_a", 3)]) == [WriteOutcome.SUPERSEDED]

    async def test_a_change_is_never_put_on_what_a_store_has_forgotten(self, store: Store) -> None:
        """The record's epoch is older than the writer's: its claim was lost, and who knows what else."""
        await store.commit([first_write()])
        assert await store.commit([CallWrite("call_a", 2)]) == [WriteOutcome.UNKNOWN]
        held = await store.load("call_a")
        assert held is not None
        assert held.fields["epoch"] == b"1"

    async def test_a_write_that_comes_twice_or_late_changes_nothing(self, store: Store) -> None:
        """A writer that got no answer asks again, and the first question may arrive after later ones."""
        await store.commit([numbered(1, whole=True)])
        await store.commit([numbered(2, events=[OutboxEntry(1, b"{}", b"")])])
        await store.commit([numbered(3, events=[OutboxEntry(2, b"{}", b"")], keep_events_from=2)])
        late = [numbered(1, whole=True), numbered(2, events=[OutboxEntry(1, b"{}", b"")]), numbered(3)]
        for write in late:
            assert await store.commit([write]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert held.fields["said"] == b"3"
        assert [entry.n for entry in held.outbox] == [2]

    async def test_a_write_whose_forerunner_is_lost_is_unknown(self, store: Store) -> None:
        """A failover may lose writes that were answered: the writer is told, and writes all again."""
        await store.commit([numbered(1, whole=True)])
        assert await store.commit([numbered(3)]) == [WriteOutcome.UNKNOWN]
        assert await said(store) == b"1"
        assert await store.commit([numbered(4, whole=True)]) == [WriteOutcome.COMMITTED]
        assert await store.commit([numbered(5)]) == [WriteOutcome.COMMITTED]
        assert await said(store) == b"5"

    async def test_of_two_owners_under_one_epoch_the_first_to_write_stays(self, store: Store) -> None:
        """After a store forgot a claim, two pods may believe in the same epoch; their claims have different names."""
        assert await store.commit([numbered(1, claim="one", epoch=2, whole=True)]) == [WriteOutcome.COMMITTED]
        assert await store.commit([numbered(9, claim="other", epoch=2, whole=True)]) == [WriteOutcome.SUPERSEDED]
        assert await store.commit([numbered(2, claim="other", epoch=2)]) == [WriteOutcome.SUPERSEDED]
        assert await said(store) == b"1"

    async def test_a_whole_write_binds_the_calls_key_again(self, store: Store) -> None:
        """A store that lost a call has lost its key too; a key that is bound to another call stays there."""
        write = numbered(1, whole=True, call_key_hash="k" * 64)
        assert await store.commit([write]) == [WriteOutcome.COMMITTED]
        assert await store.find_call_key("k" * 64) == "call_a"
        await store.bind_call_key("j" * 64, "call_b")
        await store.commit([numbered(2, whole=True, call_key_hash="j" * 64)])
        assert await store.find_call_key("j" * 64) == "call_b"

    async def test_a_pipeline_gives_each_call_its_own_outcome(self, store: Store) -> None:
        """One call's refusal does not touch the others in the batch."""
        await store.commit([first_write("call_a"), first_write("call_b")])
        await store.claim(claim("call_a"))
        batch = [CallWrite("call_a", 1), CallWrite("call_b", 1), CallWrite("call_c", 1)]
        assert await store.commit(batch) == [WriteOutcome.SUPERSEDED, WriteOutcome.COMMITTED, WriteOutcome.UNKNOWN]

    async def test_a_whole_write_replaces_what_was_held(self, store: Store) -> None:
        """A pod writes its call back after the store lost it, or lost part of it."""
        await store.commit([first_write(old=b"1")])
        await store.commit([CallWrite("call_a", 1, items={"gone": b"1"}, events=[OutboxEntry(7, b"{}", b"")])])
        back = first_write(new=b"2")
        back.epoch = 3
        back.events = [OutboxEntry(2, b"{}", b"")]
        assert await store.commit([back]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert "old" not in held.fields
        assert held.items == {}
        assert [entry.n for entry in held.outbox] == [2]
        assert held.fields["epoch"] == b"3"

    async def test_trims_keep_from_the_named_entry_on(self, store: Store) -> None:
        """Exactly the entries below are gone, in both streams."""
        await store.commit([first_write()])
        events = [OutboxEntry(n, b"{}", b"") for n in range(1, 11)]
        speech = [SpeechEntry(n, "i", b"s") for n in range(1, 11)]
        await store.commit(
            [CallWrite("call_a", 1, events=events, speech=speech, keep_events_from=4, keep_speech_from=11)]
        )
        held = await store.load("call_a")
        assert held is not None
        assert [entry.n for entry in held.outbox] == list(range(4, 11))
        assert held.speech == []

    async def test_a_change_is_never_put_on_less_than_the_record_counts(self, store: Store) -> None:
        """Whatever has gone: the writer is told, and writes all again."""
        full = counted_write(1)
        losses: list[dict[str, Any]] = [{"items": {"i1": b"1"}}, {"events": full.events[1:]}, {"speech": []}]
        for lost in losses:
            call_id = f"call_{next(iter(lost))}"
            assert await store.commit([replace(full, call_id=call_id, **lost)]) == [WriteOutcome.COMMITTED]
            change = CallWrite(call_id, 1, 2, fields={"status": b"parked"})
            assert await store.commit([change]) == [WriteOutcome.UNKNOWN]
            held = await store.load(call_id)
            assert held is not None
            assert "status" not in held.fields
            assert await store.commit([replace(full, call_id=call_id, revision=3)]) == [WriteOutcome.COMMITTED]
            assert await store.commit([replace(change, revision=4)]) == [WriteOutcome.COMMITTED]

    async def test_a_store_is_closed_once(self, store: Store) -> None:
        """Closing it again does nothing."""
        await store.close()
        await store.close()
