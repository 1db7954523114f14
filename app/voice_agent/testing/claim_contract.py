"""What every store promises of who owns a call: claims, and keys of calls."""

from __future__ import annotations

import asyncio

import pytest

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.errors import RecordUnreadable
from voice_agent.stores.base import Claim, Claimed, NotClaimed, Store, WriteOutcome
from voice_agent.testing.call_contract import claim, first_write, numbered


class ClaimContract:
    """Of one call, whoever wants it."""

    async def test_a_claim_fences_the_owner_before(self, store: Store) -> None:
        """After a take-over every write of the older epoch is refused as a whole, even a whole one."""
        await store.commit([first_write()])
        taken = await store.claim(claim())
        assert isinstance(taken, Claimed)
        assert (taken.epoch, taken.previous_owner, taken.previous_status) == (2, "pod-a", "attached")
        assert taken.snapshot.fields["owner"] == b"pod-b"
        late = CallWrite("call_a", 1, fields={"seq": b"9"}, items={"x": b"y"}, events=[OutboxEntry(1, b"{}", b"")])
        assert await store.commit([late, first_write()]) == [WriteOutcome.SUPERSEDED] * 2
        held = await store.load("call_a")
        assert held is not None
        assert "seq" not in held.fields
        assert not held.items
        assert not held.outbox
        assert await store.commit([CallWrite("call_a", 2)]) == [WriteOutcome.COMMITTED]

    @pytest.mark.parametrize("count", [0, 1, 51, 400, 4001])
    async def test_a_claim_brings_all_items(self, store: Store, count: int) -> None:
        """However many they are, and also where the record tells how many bytes they take."""
        items = {f"item_{n}": b"%d" % n * 10 for n in range(count)}
        kept = b"%d 0 0 0 %d" % (count, sum(map(len, items.values())))
        await store.commit([CallWrite("call_a", 1, fields={"kept": kept}, items=items, whole=True)])
        for claimed in [await store.claim(claim()), await store.claim(Claim("call_a", "pod-c", "blue", 6, name="c"))]:
            assert isinstance(claimed, Claimed)
            assert claimed.snapshot.items == items

    async def test_a_claim_asked_again_counts_once(self, store: Store) -> None:
        """Its answer was lost: under the same name it gives the same epoch, under another the next."""
        await store.commit([first_write()])
        for name, epoch in (("one", 2), ("one", 2), ("two", 3), ("", 4), ("", 5)):
            taken = await store.claim(Claim("call_a", "pod-b", "green", 5, name=name))
            assert isinstance(taken, Claimed)
            assert taken.epoch == epoch

    async def test_a_claim_in_doubt_does_not_fence_its_own_pod(self, store: Store) -> None:
        """A pod whose claim took effect without an answer writes on under its old epoch; any other claim fences."""
        await store.commit([numbered(1, whole=True)])
        await store.claim(Claim("call_a", "pod-a", "blue", 5, name="doubted"))
        assert await store.commit([numbered(2)]) == [WriteOutcome.SUPERSEDED]
        assert await store.commit([numbered(2, doubted="doubted")]) == [WriteOutcome.COMMITTED]
        assert await store.commit([numbered(3, doubted="doubted", whole=True)]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert (held.fields["epoch"], held.fields["claim"]) == (b"2", b"doubted")
        await store.claim(Claim("call_a", "pod-b", "green", 5, name="another"))
        assert await store.commit([numbered(4, doubted="doubted")]) == [WriteOutcome.SUPERSEDED]

    async def test_claims_that_are_turned_down_change_nothing(self, store: Store) -> None:
        """Unknown, ended, and foreign calls stay as they are."""
        assert await store.claim(claim()) is NotClaimed.UNKNOWN
        await store.commit([first_write()])
        assert await store.claim(claim(api_key_hash="other")) is NotClaimed.FOREIGN
        assert isinstance(await store.claim(claim(api_key_hash="key")), Claimed)
        await store.commit([CallWrite("call_a", 2, fields={"status": b"ended"})])
        assert await store.claim(claim()) is NotClaimed.ENDED
        held = await store.load("call_a")
        assert held is not None
        assert (held.fields["epoch"], held.fields["status"]) == (b"2", b"ended")

    async def test_a_record_of_another_schema_is_not_claimed(self, store: Store) -> None:
        """Nothing of it changes; who reads its schema gets it."""
        for schema in (b"3", b"", b"two"):
            await store.commit([first_write(schema=schema)])
            with pytest.raises(RecordUnreadable):
                await store.claim(claim(schemas=(1, 2)))
            held = await store.load("call_a")
            assert held is not None
            assert (held.fields["owner"], held.fields["epoch"]) == (b"pod-a", b"1")
        await store.commit([first_write(schema=b"3")])
        assert isinstance(await store.claim(claim(schemas=(2, 3))), Claimed)

    async def test_racing_claims_get_different_epochs(self, store: Store) -> None:
        """However many pods want a call at once, one epoch belongs to one of them."""
        await store.commit([first_write()])
        claims = await asyncio.gather(*(store.claim(claim()) for _ in range(10)))
        assert sorted(one.epoch for one in claims if isinstance(one, Claimed)) == list(range(2, 12))

    async def test_one_call_key_makes_one_call(self, store: Store) -> None:
        """Of racing binds the first wins; only a key of an ended call is bound anew, also if it was forgotten."""
        assert await store.find_call_key("k") is None
        bound = await asyncio.gather(*(store.bind_call_key("k", f"call_{n}") for n in range(10)))
        assert len(set(bound)) == 1
        winner = bound[0]
        assert await store.find_call_key("k") == winner
        assert await store.bind_call_key("k", "call_new", instead_of="call_other") == winner
        assert await store.bind_call_key("k", "call_new", instead_of=winner) == "call_new"
        assert await store.bind_call_key("forgotten", "call_new", instead_of=winner) == "call_new"
