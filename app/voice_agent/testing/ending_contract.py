"""What every store promises of calls that end: by a write, by an erasure, by time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot, SpeechEntry
from voice_agent.stores.base import NotClaimed, Store, WriteOutcome
from voice_agent.testing.call_contract import claim, first_write, large_write

PATIENCE_S = 60.0
"""How long is waited for what is due within seconds."""
SAID = {"": b"the-session", "item_1": b"what-was-said"}
EVERYTHING: dict[str, Any] = {
    "events": [OutboxEntry(1, b'{"said":"what-was-said"}', b"")],
    "speech": [SpeechEntry(1, "item_1", b"what-was-said")],
}


async def talked(store: Store, **more: Any) -> None:
    """A call in which something was said."""
    await store.commit([first_write(session=b"the-session", **more)])
    await store.commit([CallWrite("call_a", 1, items={"item_1": b"what-was-said"}, **EVERYTHING)])


async def until(is_so: Callable[[Snapshot | None], bool], store: Store) -> None:
    """Wait until the call is as it is to be; time alone changes it."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so(await store.load("call_a")):  # noqa: ASYNC110  # a store tells nobody what has expired
            await asyncio.sleep(0.05)


class EndingContract:
    """Of what is left of a call, and for how long."""

    async def test_a_large_call_ends(self, store: Store) -> None:
        """Written as ended after an outage, with its conversation, however long."""
        items = {**large_write().items, "": b"the-session" * 200_000}
        end = CallWrite("call_a", 1, 1, "made", fields={"status": b"ended"}, items=items, ends=True, whole=True)
        assert await store.commit([end]) == [WriteOutcome.COMMITTED]
        held = await store.load("call_a")
        assert held is not None
        assert (held.items, held.fields["status"]) == (items, b"ended")

    async def test_a_call_that_had_ended_is_erased_and_keeps_its_outcome(self, store: Store) -> None:
        """Erasing is about what was said; it may be asked for again."""
        await talked(store)
        fields = {"status": b"ended", "outcome": b"hangup", "ended_at_ms": b"5"}
        await store.commit([CallWrite("call_a", 1, fields=fields, items=SAID, ends=True)])
        assert await store.erase("call_a", 7)
        assert await store.erase("call_a", 8)
        held = await store.load("call_a")
        assert held is not None
        assert (held.fields["outcome"], held.fields["ended_at_ms"], held.items) == (b"hangup", b"5", {})

    async def test_a_write_that_ends_a_call_drops_outbox_and_speech(self, store: Store) -> None:
        """In one atomic write the record becomes what the write says, and only items are kept beside it."""
        for is_whole in (False, True):
            await talked(store)
            fields = {"status": b"ended", "outcome": b"hangup"}
            end = CallWrite("call_a", 1, fields=fields, items=SAID, ends=True, whole=is_whole)
            assert await store.commit([end]) == [WriteOutcome.COMMITTED]
            held = await store.load("call_a")
            assert held is not None
            assert held.fields == {**fields, "epoch": b"1"}
            assert (held.items, held.outbox, held.speech) == (SAID, [], [])
            assert await store.claim(claim()) is NotClaimed.ENDED

    async def test_without_retention_the_end_leaves_a_tombstone_only(self, store: Store) -> None:
        """Nothing that was said is kept, and whoever comes back is still told that the call has ended."""
        store.retention_s = 0
        for is_whole in (False, True):
            await talked(store)
            end = CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True, whole=is_whole)
            await store.commit([end])
            held = await store.load("call_a")
            assert held is not None
            assert held.items == {}
            assert await store.claim(claim()) is NotClaimed.ENDED

    async def test_an_erased_call_stays_erased(self, store: Store) -> None:
        """Nothing that was said is left, no write of whatever epoch is taken, a claim is told `ENDED`."""
        await talked(store)
        await store.bind_call_key("k" * 64, "call_a")
        assert not await store.erase("call_b", 7)
        assert await store.erase("call_a", 7)
        late = CallWrite("call_a", 1, items=SAID, **EVERYTHING)
        whole = CallWrite("call_a", 9, fields={"session": b"the-session"}, items=SAID, whole=True, **EVERYTHING)
        for write in (late, whole, CallWrite("call_a", 1, items=SAID, ends=True, whole=True)):
            assert await store.commit([write]) == [WriteOutcome.ENDED]
        held = await store.load("call_a")
        assert held is not None
        fields = held.fields
        assert (fields["status"], fields["outcome"], fields["ended_at_ms"]) == (b"ended", b"admin", b"7")
        assert fields["epoch"] == b"2"
        assert "session" not in fields
        assert (held.items, held.outbox, held.speech) == ({}, [], [])
        assert await store.claim(claim()) is NotClaimed.ENDED
        assert await store.find_call_key("k" * 64) == "call_a"

    async def test_what_is_not_written_any_more_expires(self, store: Store) -> None:
        """After the TTL a call can be neither read, written nor claimed, and its key is free."""
        store.ttl_s = 1
        await store.bind_call_key("k", "call_a")
        await store.commit([first_write()])
        await until(lambda held: held is None, store)
        assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.UNKNOWN]
        assert await store.claim(claim()) is NotClaimed.UNKNOWN
        assert await store.find_call_key("k") is None

    async def test_what_was_said_goes_after_the_retention(self, store: Store) -> None:
        """Of a call that has ended; its record stays."""
        store.retention_s = 1
        await talked(store)
        await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True)])
        await until(lambda held: held is not None and not held.items, store)
        assert await store.claim(claim()) is NotClaimed.ENDED
