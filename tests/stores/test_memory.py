"""The store in memory, by a clock of the test's.

Tests of `base` and `memory_fleet`, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.errors import RecordUnreadable
from voice_agent.stores.base import Claim, Claimed, PodHeartbeat, WriteOutcome
from voice_agent.stores.memory import MemoryStore

TTL_S = 60


@pytest.mark.parametrize(("now_s", "is_there"), [(6.99, True), (7.0, False)])
async def test_a_heartbeat_lasts_so_long_and_no_longer(now_s: float, is_there: bool) -> None:
    """A pod whose time is over is none."""
    clock = [0.0]
    store = MemoryStore(ttl_s=60, now_s=lambda: clock[0])
    heartbeat = PodHeartbeat("a", "blue", "1", "ok", 0, 0, 1, started_at_ms=0, heartbeat_at_ms=0)
    await store.heartbeat(heartbeat, ttl_s=7)
    clock[0] = now_s
    assert [pod.name for pod in await store.pods()] == (["a"] if is_there else [])
    await store.heartbeat(PodHeartbeat("b", "blue", "1", "ok", 0, 0, 1, started_at_ms=0, heartbeat_at_ms=0), ttl_s=7)
    assert [pod.name for pod in await store.pods()] == list(store._pods) == (["a", "b"] if is_there else ["b"])


@pytest.fixture
def clock() -> list[float]:
    """What time it is, in seconds."""
    return [0.0]


@pytest.fixture
def store(clock: list[float]) -> MemoryStore:
    return MemoryStore(ttl_s=TTL_S, now_s=lambda: clock[0])


def made(**more: Any) -> CallWrite:
    """The first write of a call."""
    fields = {"status": b"attached", "owner": b"a", "schema": b"2"}
    return CallWrite("call_a", 1, fields=fields, items={"i": b"said"}, whole=True, **more)


@pytest.mark.parametrize("act", ["claim", "erase"])
async def test_a_call_that_is_claimed_or_erased_is_kept_for_a_whole_ttl(
    store: MemoryStore, clock: list[float], act: str
) -> None:
    """From then on: its new owner has as long as the first, and who comes back is told that it has ended."""
    await store.commit([made()])
    clock[0] = TTL_S - 1
    if act == "claim":
        assert isinstance(await store.claim(Claim("call_a", "b", "green", 5)), Claimed)
    else:
        assert await store.erase("call_a", 5)
    clock[0] = 2 * TTL_S - 2
    assert await store.load("call_a") is not None
    clock[0] = 2 * TTL_S - 1
    assert await store.load("call_a") is None


async def test_a_value_lasts_so_long_and_no_longer(store: MemoryStore, clock: list[float]) -> None:
    """Then there is none, and another one may be made."""
    assert await store.compare_and_set("name", None, b"one", ttl_s=7)
    clock[0] = 6.75
    assert await store.get("name") == b"one"
    assert not await store.compare_and_set("name", None, b"two", ttl_s=7)
    clock[0] = 7.0
    assert await store.get("name") is None
    assert await store.compare_and_set("name", None, b"two", ttl_s=7)


@pytest.mark.parametrize(
    ("schema", "schemas", "is_read"),
    [
        (b"1", (2, 3), False),
        (b"2", (2, 3), True),
        (b"3", (2, 3), True),
        (b"4", (2, 3), False),
        (b"", (0, 3), False),
        (b"-2", (0, 3), False),
        (b"odd", (2, 3), False),
        (b"odd", None, True),
    ],
)
async def test_a_record_is_claimed_by_who_reads_it(
    store: MemoryStore, schema: bytes, schemas: tuple[int, int] | None, is_read: bool
) -> None:
    """By a pod of another version it is left as it was."""
    await store.commit([made()])
    await store.commit([CallWrite("call_a", 1, fields={"schema": schema})])
    before = await store.load("call_a")
    claim = Claim("call_a", "b", "green", 5, schemas=schemas)
    if is_read:
        assert isinstance(await store.claim(claim), Claimed)
    else:
        with pytest.raises(RecordUnreadable):
            await store.claim(claim)
        assert await store.load("call_a") == before


async def test_what_was_said_is_kept_for_the_retention_unless_the_call_was_written_anew(
    store: MemoryStore, clock: list[float]
) -> None:
    """A call that a newer owner writes whole after its end has not ended."""
    store.retention_s = 7
    for is_written_anew in (False, True):
        await store.commit([replace(made(), epoch=2)])
        await store.commit([CallWrite("call_a", 2, fields={"status": b"ended"}, items={"i": b"said"}, ends=True)])
        clock[0] += 6.75
        if is_written_anew:
            await store.commit([replace(made(), epoch=3)])
        held = await store.load("call_a")
        assert held is not None
        assert held.items == {"i": b"said"}
        clock[0] += 0.25
        held = await store.load("call_a")
        assert held is not None
        assert held.items == ({"i": b"said"} if is_written_anew else {})


async def test_a_full_store_takes_what_frees_memory_and_nothing_else(store: MemoryStore) -> None:
    """A write that it refuses leaves all as it was, the call's key included."""
    assert not store.is_full
    await store.commit([made()])
    store.is_full = True
    before = await store.load("call_a")
    for write in (CallWrite("call_a", 1), made(call_key_hash="k"), replace(made(call_key_hash="k"), call_id="call_b")):
        assert await store.commit([write]) == [WriteOutcome.FULL]
    assert await store.load("call_a") == before
    assert (await store.load("call_b"), await store.find_call_key("k")) == (None, None)
    assert await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, ends=True)]) == [
        WriteOutcome.COMMITTED
    ]


async def test_only_a_whole_write_binds_a_key(store: MemoryStore) -> None:
    """Of a call that has one."""
    await store.commit([made()])
    await store.commit([CallWrite("call_a", 1, call_key_hash="k")])
    assert await store.find_call_key("k") is await store.find_call_key("") is None
    await store.commit([made(call_key_hash="k")])
    assert await store.find_call_key("k") == "call_a"


async def test_numbers_count_on_over_what_was_trimmed_and_begin_anew_after_the_end(store: MemoryStore) -> None:
    """An entry that comes again is none, though nothing is left of it; what has ended has no entries before it."""
    await store.commit([made()])
    numbers = [1, 2, 3]
    entries: dict[str, Any] = {
        "events": [OutboxEntry(n, b"{}", b"") for n in numbers],
        "speech": [SpeechEntry(n, "i", b"s") for n in numbers],
    }
    await store.commit([CallWrite("call_a", 1, **entries, keep_events_from=9, keep_speech_from=9)])
    for ends in (False, True):
        if ends:
            await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, ends=True)])
        await store.commit([CallWrite("call_a", 1, **entries)])
        held = await store.load("call_a")
        assert held is not None
        assert [entry.n for entry in held.outbox] == [entry.n for entry in held.speech] == (numbers if ends else [])


async def test_trims_keep_from_the_named_entry_on(store: MemoryStore) -> None:
    """Exactly the entries below are gone, in both streams."""
    await store.commit([made()])
    events = [OutboxEntry(n, b"{}", b"") for n in (1, 2, 3)]
    speech = [SpeechEntry(n, "i", b"s") for n in (1, 2, 3)]
    await store.commit([CallWrite("call_a", 1, events=events, speech=speech, keep_events_from=2, keep_speech_from=3)])
    held = await store.load("call_a")
    assert held is not None
    assert (held.outbox, held.speech) == (events[1:], speech[2:])


@pytest.mark.parametrize(
    ("held", "write", "outcome"),
    [
        # Of one epoch: the first owner to write stays. Who names no claim is not told apart.
        ((2, "one"), CallWrite("call_a", 2, 6, "one"), WriteOutcome.COMMITTED),
        ((2, "one"), CallWrite("call_a", 2, 6, "two"), WriteOutcome.SUPERSEDED),
        ((2, "one"), CallWrite("call_a", 2, 6), WriteOutcome.COMMITTED),
        ((2, ""), CallWrite("call_a", 2, 6, "two"), WriteOutcome.COMMITTED),
        # Of a newer epoch: whoever it is, and however few writes it has counted.
        ((2, "one"), CallWrite("call_a", 3, 4, "two", whole=True), WriteOutcome.COMMITTED),
        ((2, "one"), CallWrite("call_a", 3, 6, "two"), WriteOutcome.UNKNOWN),
        # Of an older one: only if what fenced it is its own claim, the next after this one.
        ((3, "two"), CallWrite("call_a", 2, 6, "one"), WriteOutcome.SUPERSEDED),
        ((3, "two"), CallWrite("call_a", 2, 6, "one", "two"), WriteOutcome.COMMITTED),
        ((3, "two"), CallWrite("call_a", 2, 6, "one", "other"), WriteOutcome.SUPERSEDED),
        ((4, "two"), CallWrite("call_a", 2, 6, "one", "two"), WriteOutcome.SUPERSEDED),
    ],
)
async def test_whose_write_is_taken(
    store: MemoryStore, held: tuple[int, str], write: CallWrite, outcome: WriteOutcome
) -> None:
    """By the epoch, and where that cannot tell, by the name of the claim; what is taken takes effect."""
    epoch, claim = held
    await store.commit([CallWrite("call_a", epoch, 5, claim, fields={"said": b"before"}, whole=True)])
    write = replace(write, fields={"said": b"after"})
    assert await store.commit([write]) == [outcome]
    found = await store.load("call_a")
    assert found is not None
    assert found.fields["said"] == (b"after" if outcome is WriteOutcome.COMMITTED else b"before")
    assert found.fields["epoch"] == b"%d" % max(epoch, write.epoch if outcome is WriteOutcome.COMMITTED else 0)
