"""The contract of every session store, run against each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replicated import cluster_set, sentinel_set
from tests.servers import RedisServer, binaries, redis_server
from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.call.completeness import Missing, missing
from voice_agent.stores.base import (
    Claim,
    Claimed,
    DrainRequest,
    NotClaimed,
    PodCounters,
    PodHeartbeat,
    Store,
    WriteOutcome,
)
from voice_agent.stores.embedded import EmbeddedStore
from voice_agent.stores.factory import open_store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore

TTL_S = 100
EVERY_BYTE = bytes(range(256))


def fake_store() -> RedisStore:
    """A `RedisStore` on fakeredis."""
    store = RedisStore("redis://fake", ttl_s=TTL_S)
    store._redis = fakeredis.FakeAsyncRedis()
    return store


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RedisServer]]:
    """Real servers, started once they are asked for."""
    started: dict[str, RedisServer] = {}
    with contextlib.ExitStack() as stack:

        class Servers(dict[str, RedisServer]):
            def __missing__(self, name: str) -> RedisServer:
                self[name] = stack.enter_context(redis_server(name))
                return self[name]

        yield Servers(started)


@pytest.fixture(scope="module")
def replicated() -> Iterator[dict[str, Any]]:
    """Stores of several servers, started once they are asked for."""
    with contextlib.ExitStack() as stack:

        class Sets(dict[str, Any]):
            def __missing__(self, name: str) -> Any:
                self[name] = stack.enter_context(sentinel_set() if name == "sentinel" else cluster_set())
                return self[name]

        yield Sets()


@pytest.fixture(params=["memory", "fakeredis", "embedded", "unix", "sentinel", "cluster", *binaries()])
async def store(request: pytest.FixtureRequest, servers: Any, replicated: Any, tmp_path: Any) -> AsyncIterator[Store]:
    """An open, empty store of each kind."""
    kind = request.param
    made: Store
    if kind == "memory":
        made = MemoryStore(ttl_s=TTL_S)
    elif kind == "fakeredis":
        made = fake_store()
    elif kind == "embedded":
        made = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=TTL_S)
    elif kind in ("sentinel", "cluster"):
        if kind == "sentinel":
            replicated[kind].client(replicated[kind].master()).flushall()
        else:
            replicated[kind].command("FLUSHALL")
        made = open_store(replicated[kind].url, ttl_s=TTL_S)
    elif kind == "unix":
        made = RedisStore(servers["valkey"].unix_url, ttl_s=TTL_S)
    else:
        made = RedisStore(servers[kind].url, ttl_s=TTL_S)
    if isinstance(made, RedisStore):
        await made.open()
        await made._redis.flushall()
    yield made
    await made.close()


def first_write(call_id: str = "call_a", **fields: bytes) -> CallWrite:
    """What makes a call."""
    known = {"status": b"attached", "owner": b"pod-a", "color": b"blue", "api_key_hash": b"key"}
    return CallWrite(call_id, 1, fields={**known, **fields}, whole=True)


def claim(call_id: str = "call_a", **more: Any) -> Claim:
    """Another pod's wish."""
    return Claim(call_id, "pod-b", "green", 5, **more)


async def test_a_write_needs_a_call(store: Store) -> None:
    """Only a whole write makes a record; any other finds the call unknown."""
    assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.UNKNOWN]
    assert await store.load("call_a") is None
    assert await store.commit([first_write()]) == [WriteOutcome.COMMITTED]
    assert await store.load("call_a") is not None


async def test_everything_comes_back_as_it_was_written(store: Store) -> None:
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


async def test_a_repeated_write_changes_nothing(store: Store) -> None:
    """A write whose answer got lost may be sent again."""
    write = CallWrite(
        "call_a", 1, events=[OutboxEntry(1, b"{}", b"")], speech=[SpeechEntry(1, "i", b"s")], keep_events_from=1
    )
    await store.commit([first_write()])
    assert await store.commit([write]) == await store.commit([write]) == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert (len(held.outbox), len(held.speech)) == (1, 1)


async def test_a_claim_fences_the_owner_before(store: Store) -> None:
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


async def test_a_write_with_a_newer_epoch_raises_the_records(store: Store) -> None:
    """Whoever writes with the highest epoch owns the call; no field of a write can pretend another epoch."""
    await store.commit([first_write()])
    newer = CallWrite("call_a", 4, fields={"epoch": b"1"}, whole=True)
    assert await store.commit([newer]) == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert held.fields["epoch"] == b"4"
    assert await store.commit([CallWrite("call_a", 3)]) == [WriteOutcome.SUPERSEDED]


async def test_a_change_is_never_put_on_what_a_store_has_forgotten(store: Store) -> None:
    """The record's epoch is older than the writer's: its claim was lost, and who knows what else."""
    await store.commit([first_write()])
    assert await store.commit([CallWrite("call_a", 2)]) == [WriteOutcome.UNKNOWN]
    held = await store.load("call_a")
    assert held is not None
    assert held.fields["epoch"] == b"1"


def numbered(revision: int, *, claim: str = "made", epoch: int = 1, **more: Any) -> CallWrite:
    """A write as a pod sends it."""
    return CallWrite("call_a", epoch, revision, claim, fields={"said": b"%d" % revision}, **more)


async def said(store: Store) -> bytes:
    """Which write the record shows."""
    held = await store.load("call_a")
    assert held is not None
    return held.fields["said"]


async def test_a_write_that_comes_twice_or_late_changes_nothing(store: Store) -> None:
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


async def test_a_write_whose_forerunner_is_lost_is_unknown(store: Store) -> None:
    """A failover may lose writes that were answered: the writer is told, and writes all again."""
    await store.commit([numbered(1, whole=True)])
    assert await store.commit([numbered(3)]) == [WriteOutcome.UNKNOWN]
    assert await said(store) == b"1"
    assert await store.commit([numbered(4, whole=True)]) == [WriteOutcome.COMMITTED]
    assert await store.commit([numbered(5)]) == [WriteOutcome.COMMITTED]
    assert await said(store) == b"5"


async def test_of_two_owners_under_one_epoch_the_first_to_write_stays(store: Store) -> None:
    """After a store forgot a claim, two pods may believe in the same epoch; their claims have different names."""
    assert await store.commit([numbered(1, claim="one", epoch=2, whole=True)]) == [WriteOutcome.COMMITTED]
    assert await store.commit([numbered(9, claim="other", epoch=2, whole=True)]) == [WriteOutcome.SUPERSEDED]
    assert await store.commit([numbered(2, claim="other", epoch=2)]) == [WriteOutcome.SUPERSEDED]
    assert await said(store) == b"1"


async def test_a_whole_write_binds_the_calls_key_again(store: Store) -> None:
    """A store that lost a call has lost its key too; a key that is bound to another call stays there."""
    write = numbered(1, whole=True, call_key_hash="k" * 64)
    assert await store.commit([write]) == [WriteOutcome.COMMITTED]
    assert await store.find_call_key("k" * 64) == "call_a"
    await store.bind_call_key("j" * 64, "call_b")
    await store.commit([numbered(2, whole=True, call_key_hash="j" * 64)])
    assert await store.find_call_key("j" * 64) == "call_b"


async def test_a_claim_asked_again_counts_once(store: Store) -> None:
    """Its answer was lost: under the same name it gives the same epoch, under another the next."""
    await store.commit([first_write()])
    for name, epoch in (("one", 2), ("one", 2), ("two", 3), ("", 4), ("", 5)):
        taken = await store.claim(Claim("call_a", "pod-b", "green", 5, name=name))
        assert isinstance(taken, Claimed)
        assert taken.epoch == epoch


async def test_a_claim_in_doubt_does_not_fence_its_own_pod(store: Store) -> None:
    """A pod whose claim took effect without an answer goes on writing under its old epoch; any other claim fences."""
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


async def lose(store: Store, part: str) -> None:
    """Have one part of a call vanish, or an entry of it: ``items/i1`` is one item."""
    name, _, entry = part.partition("/")
    if isinstance(store, MemoryStore):
        kept = store._calls["call_a"]
        if entry:
            del kept.items[entry]
        else:
            getattr(kept, name).clear()
        return
    assert isinstance(store, RedisStore)
    key = f"call:{{call_a}}:{ {'outbox': 'out', 'speech': 'in'}.get(name, name) }"
    client: Any = store._redis
    assert await (client.hdel(key, entry) if entry else client.delete(key)) == 1


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


PARTS = ["items", "items/i1", "outbox", "speech"]


@pytest.mark.parametrize("part", PARTS)
async def test_a_change_is_never_put_on_a_call_that_has_lost_a_part(store: Store, part: str) -> None:
    """A store that holds less than the record counts is told all again; until then it keeps what it has."""
    await store.commit([replace(first_write(), revision=1)])
    assert await store.commit([counted_write()]) == [WriteOutcome.COMMITTED]
    assert await store.commit([CallWrite("call_a", 1, 3)]) == [WriteOutcome.COMMITTED]
    await lose(store, part)
    before = await store.load("call_a")
    change = CallWrite("call_a", 1, 4, fields={"status": b"parked"}, items={"i3": b"3"})
    assert await store.commit([change]) == [WriteOutcome.UNKNOWN]
    assert await store.load("call_a") == before
    assert await store.commit([replace(counted_write(), revision=5, whole=True)]) == [WriteOutcome.COMMITTED]
    assert await store.commit([replace(change, revision=6)]) == [WriteOutcome.COMMITTED]


@pytest.mark.parametrize("part", PARTS)
async def test_a_claim_finds_out_what_is_missing(store: Store, part: str) -> None:
    """The call is given to whoever claims it, and the difference shows; a call that has ended counts nothing."""
    await store.commit([replace(counted_write(), revision=1, whole=True, fields={**first_write().fields, "seq": b"2"})])
    await store.commit([CallWrite("call_a", 1, 2, fields={"kept": b"2 2 1 1"})])
    await lose(store, part)
    claimed = await store.claim(claim())
    assert isinstance(claimed, Claimed)
    lost = missing(claimed.snapshot)
    assert (
        lost
        == {
            "items": Missing(items=2),
            "items/i1": Missing(items=1),
            "outbox": Missing(events=2),
            "speech": Missing(speech=1),
        }[part]
    )
    end = CallWrite("call_a", 2, 3, fields={"status": b"ended"}, items=SAID, whole=True, ends=True)
    assert await store.commit([end]) == [WriteOutcome.COMMITTED]
    ended = await store.load("call_a")
    assert ended is not None
    assert missing(ended) == Missing()


async def test_a_large_call_counts_what_was_staged(store: Store) -> None:
    """A write in parts, and a claim in pages, agree with what the record counts; a page that is gone shows."""
    items = {f"i{n}": b"x" * 4096 for n in range(1500)}
    write = replace(first_write(), items=items, revision=1)
    write.fields["kept"] = b"1500 0 0 0"
    assert await store.commit([write]) == [WriteOutcome.COMMITTED]
    assert await store.commit([CallWrite("call_a", 1, 2)]) == [WriteOutcome.COMMITTED]
    claimed = await store.claim(claim())
    assert isinstance(claimed, Claimed)
    assert missing(claimed.snapshot) == Missing()
    await lose(store, "items/i1400")
    again = await store.claim(claim())
    assert isinstance(again, Claimed)
    assert missing(again.snapshot) == Missing(items=1)


async def test_a_pipeline_gives_each_call_its_own_outcome(store: Store) -> None:
    """One call's refusal does not touch the others in the batch."""
    await store.commit([first_write("call_a"), first_write("call_b")])
    await store.claim(claim("call_a"))
    batch = [CallWrite("call_a", 1), CallWrite("call_b", 1), CallWrite("call_c", 1)]
    assert await store.commit(batch) == [WriteOutcome.SUPERSEDED, WriteOutcome.COMMITTED, WriteOutcome.UNKNOWN]


async def test_a_whole_write_replaces_what_was_held(store: Store) -> None:
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


async def test_trims_keep_from_the_named_entry_on(store: Store) -> None:
    """Exactly the entries below are gone, in both streams."""
    await store.commit([first_write()])
    events = [OutboxEntry(n, b"{}", b"") for n in range(1, 11)]
    speech = [SpeechEntry(n, "i", b"s") for n in range(1, 11)]
    await store.commit([CallWrite("call_a", 1, events=events, speech=speech, keep_events_from=4, keep_speech_from=11)])
    held = await store.load("call_a")
    assert held is not None
    assert [entry.n for entry in held.outbox] == list(range(4, 11))
    assert held.speech == []


async def test_claims_that_are_turned_down_change_nothing(store: Store) -> None:
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


async def test_a_large_call_is_kept_and_read_like_any_other(store: Store) -> None:
    """However many parts it is written and read in: all of it is there at once, in order, and nothing else."""
    write = large_write()
    assert await store.commit([first_write("call_b"), write]) == [WriteOutcome.COMMITTED] * 2
    taken = await store.claim(claim(name="taken"))
    assert isinstance(taken, Claimed)
    held = await store.load("call_a")
    assert held is not None
    for snapshot in (held, taken.snapshot):
        assert snapshot.items == write.items
        assert snapshot.outbox == write.events
        assert snapshot.speech == write.speech
    if isinstance(store, RedisStore):
        assert await keys_of(store, "call_a") == {f"call:{{call_a}}{part}" for part in ("", ":items", ":out", ":in")}


async def test_a_large_write_that_is_refused_leaves_nothing(store: Store) -> None:
    """Neither in the call nor beside it, where its parts were brought before."""
    await store.commit([first_write(session=b"kept")])
    await store.claim(claim())
    assert await store.commit([large_write()]) == [WriteOutcome.SUPERSEDED]
    await store.erase("call_a", 7)
    assert await store.commit([large_write()]) == [WriteOutcome.ENDED]
    assert "the-session" not in await everything_kept(store)
    held = await store.load("call_a")
    assert held is not None
    assert held.items == {}
    if isinstance(store, RedisStore):
        assert await keys_of(store, "call_a") == {"call:{call_a}"}


async def test_a_large_call_ends(store: Store) -> None:
    """Written as ended after an outage, with its conversation, however long."""
    items = {**large_write().items, "": b"the-session" * 200_000}
    end = CallWrite("call_a", 1, 1, "made", fields={"status": b"ended"}, items=items, ends=True, whole=True)
    assert await store.commit([end]) == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert (held.items, held.fields["status"]) == (items, b"ended")


SAID = {"": b"the-session", "item_1": b"what-was-said"}
EVERYTHING: dict[str, Any] = {
    "events": [OutboxEntry(1, b'{"said":"what-was-said"}', b"")],
    "speech": [SpeechEntry(1, "item_1", b"what-was-said")],
}


async def talked(store: Store, **more: Any) -> None:
    """A call in which something was said."""
    await store.commit([first_write(session=b"the-session", **more)])
    await store.commit([CallWrite("call_a", 1, items={"item_1": b"what-was-said"}, **EVERYTHING)])


async def everything_kept(store: Store) -> str:
    """All that a store holds, under whatever key."""
    if isinstance(store, MemoryStore):
        return repr(vars(store))
    assert isinstance(store, RedisStore)
    client: Any = store._redis
    found = []
    async for key in client.scan_iter():
        kind = (await client.type(key)).decode()
        read = {"hash": client.hgetall, "stream": client.xrange, "string": client.get}.get(kind)
        found.append((key, await read(key) if read else kind))
    return repr(found)


async def keys_of(store: RedisStore, call_id: str) -> set[str]:
    """The keys of a call, and beside it."""
    client: Any = store._redis
    return {key.decode() async for key in client.scan_iter(f"call:{{{call_id}}}*")}


@pytest.mark.parametrize("whole", [False, True])
async def test_the_write_that_ends_a_call_lets_outbox_and_speech_go(store: Store, whole: bool) -> None:
    """In one atomic write the record becomes what the write says, and only items are kept beside it."""
    await talked(store)
    fields = {"status": b"ended", "outcome": b"hangup"}
    assert await store.commit([CallWrite("call_a", 1, fields=fields, items=SAID, ends=True, whole=whole)]) == [
        WriteOutcome.COMMITTED
    ]
    held = await store.load("call_a")
    assert held is not None
    assert held.fields == {**fields, "epoch": b"1"}
    assert (held.items, held.outbox, held.speech) == (SAID, [], [])
    assert await store.claim(claim()) is NotClaimed.ENDED


@pytest.mark.parametrize("whole", [False, True])
async def test_with_no_retention_the_end_leaves_a_tombstone_only(store: Store, whole: bool) -> None:
    """Nothing that was said is kept, and whoever comes back is still told that the call has ended."""
    store.retention_s = 0
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True, whole=whole)])
    assert "said" not in await everything_kept(store)
    assert "the-session" not in await everything_kept(store)
    assert await store.claim(claim()) is NotClaimed.ENDED


async def test_a_call_is_erased_whoever_owns_it(store: Store) -> None:
    """Nothing that was said is left under any key, no write of whatever epoch is taken, and a claim is told `ENDED`."""
    await talked(store)
    await store.bind_call_key("k" * 64, "call_a")
    assert not await store.erase("call_b", 7)
    assert await store.erase("call_a", 7)
    for _ in range(2):
        left = await everything_kept(store)
        assert "said" not in left
        assert "the-session" not in left
        late = CallWrite("call_a", 1, items=SAID, **EVERYTHING)
        whole = CallWrite("call_a", 9, fields={"session": b"the-session"}, items=SAID, whole=True, **EVERYTHING)
        ending = CallWrite("call_a", 1, items=SAID, ends=True, whole=True)
        assert await store.commit([late, whole]) == [WriteOutcome.ENDED] * 2
        assert await store.commit([ending]) == [WriteOutcome.ENDED]
    held = await store.load("call_a")
    assert held is not None
    assert (held.fields["status"], held.fields["outcome"], held.fields["ended_at"]) == (b"ended", b"admin", b"7")
    assert held.fields["epoch"] == b"2"
    assert await store.claim(claim()) is NotClaimed.ENDED
    assert await store.find_call_key("k" * 64) == "call_a"


async def test_a_call_that_had_ended_is_erased_and_keeps_its_outcome(store: Store) -> None:
    """Erasing is about what was said; it may be asked for again."""
    await talked(store)
    fields = {"status": b"ended", "outcome": b"hangup", "ended_at": b"5"}
    await store.commit([CallWrite("call_a", 1, fields=fields, items=SAID, ends=True)])
    assert await store.erase("call_a", 7)
    assert await store.erase("call_a", 8)
    held = await store.load("call_a")
    assert held is not None
    assert (held.fields["outcome"], held.fields["ended_at"], held.items) == (b"hangup", b"5", {})


async def test_racing_claims_get_different_epochs(store: Store) -> None:
    """However many pods want a call at once, one epoch belongs to one of them."""
    await store.commit([first_write()])
    claims = await asyncio.gather(*(store.claim(claim()) for _ in range(10)))
    assert sorted(one.epoch for one in claims if isinstance(one, Claimed)) == list(range(2, 12))


async def test_one_call_key_makes_one_call(store: Store) -> None:
    """Of racing binds the first wins; only a key of an ended call is bound anew, also if it is forgotten by then."""
    assert await store.find_call_key("k") is None
    bound = await asyncio.gather(*(store.bind_call_key("k", f"call_{n}") for n in range(10)))
    assert len(set(bound)) == 1
    winner = bound[0]
    assert await store.find_call_key("k") == winner
    assert await store.bind_call_key("k", "call_new", instead_of="call_other") == winner
    assert await store.bind_call_key("k", "call_new", instead_of=winner) == "call_new"
    assert await store.bind_call_key("forgotten", "call_new", instead_of=winner) == "call_new"


def heartbeat(name: str, **more: Any) -> PodHeartbeat:
    """A heartbeat."""
    given: dict[str, Any] = {
        "color": "blue",
        "version": "1",
        "status": "ok",
        "active_calls": 3,
        "parked_calls": 1,
        "capacity": 10,
        "started_at_ms": 1,
        "heartbeat_at_ms": 2,
    }
    return PodHeartbeat(name=name, **{**given, **more})


async def test_the_fleet_is_every_pod_that_beats(store: Store) -> None:
    """By name, with its numbers."""
    await store.heartbeat(heartbeat("b"), ttl_s=5)
    await store.heartbeat(heartbeat("a", active_calls=0, status="draining"), ttl_s=5)
    told = [replace(pod, heartbeat_at_ms=heartbeat("a").heartbeat_at_ms) for pod in await store.pods()]
    assert told == [heartbeat("a", active_calls=0, status="draining"), heartbeat("b")]


async def test_a_color_learns_what_is_wished_of_it(store: Store) -> None:
    """With its next beat; a wish taken back is gone."""
    wish = DrainRequest("handoff", 60, 7)
    assert await store.heartbeat(heartbeat("a"), ttl_s=5) is None
    await store.request_drain("blue", wish)
    assert await store.drain_request("blue") == wish
    assert await store.heartbeat(heartbeat("a"), ttl_s=5) == wish
    assert await store.heartbeat(heartbeat("g", color="green"), ttl_s=5) is None
    await store.request_drain("blue", None)
    assert await store.heartbeat(heartbeat("a"), ttl_s=5) is None


async def test_what_the_router_is_set_to_is_kept(store: Store) -> None:
    """Until somebody tells something else; where the store has a clock, that says since when."""
    assert await store.weights() is None
    for weights in ({"blue": 0, "green": 100}, {}, {"green": 100}):
        now_ms = int(time.time() * 1000)
        await store.tell_weights(weights, now_ms)
        told = await store.weights()
        assert told is not None
        assert told.weights == weights
        assert abs(told.told_at_ms - now_ms) < 60_000


async def test_a_heartbeat_tells_what_a_drain_costs(store: Store) -> None:
    """Calls that cannot come back, the oldest one, and when the last was taken."""
    costs = {"calls_not_resumable": 2, "oldest_call_at_ms": 17, "took_call_at_ms": 19}
    await store.heartbeat(heartbeat("a", **costs), ttl_s=5)
    (told,) = await store.pods()
    assert {name: getattr(told, name) for name in costs} == costs


async def test_the_first_proposal_is_agreed_on(store: Store) -> None:
    """All pods settle on one value."""
    assert await store.get_or_set("secret", b"one") == b"one"
    assert await store.get_or_set("secret", b"two") == b"one"


async def test_a_note_is_replaced_by_whoever_knows_it(store: Store) -> None:
    """Of two who both saw the old note one replaces it; who asks again because the answer was lost is told yes."""
    assert await store.get("cutover") is None
    assert await store.compare_and_set("cutover", None, b"one", ttl_s=TTL_S)
    assert await store.compare_and_set("cutover", None, b"one", ttl_s=TTL_S)
    assert not await store.compare_and_set("cutover", None, b"two", ttl_s=TTL_S)
    assert not await store.compare_and_set("cutover", b"0", b"two", ttl_s=TTL_S)
    assert await store.compare_and_set("cutover", b"one", b"", ttl_s=TTL_S)
    assert await store.get("cutover") == b""
    assert not await store.compare_and_set("cutover", None, None, ttl_s=TTL_S)
    assert await store.compare_and_set("cutover", b"", None, ttl_s=TTL_S)
    assert await store.get("cutover") is None
    assert await store.compare_and_set("cutover", b"", None, ttl_s=TTL_S)


async def test_a_heartbeat_brings_its_keys_calls(store: Store) -> None:
    """With the next beat those that have none any more are gone."""
    await store.heartbeat(heartbeat("a", keys={"0123456789abcdef": 2, "open": 1}), ttl_s=5)
    await store.heartbeat(heartbeat("b"), ttl_s=5)
    assert [pod.keys for pod in await store.pods()] == [{"0123456789abcdef": 2, "open": 1}, {}]
    await store.heartbeat(heartbeat("a"), ttl_s=5)
    assert [pod.keys for pod in await store.pods()] == [{}, {}]


async def test_a_heartbeat_brings_its_counters(store: Store) -> None:
    """What a pod has counted is read as it was written."""
    counted = PodCounters(ended=5, failed=1, dropped=2, resumed=3, turns={"0.5": 1, "inf": 4}, causes={"drain": 2})
    await store.heartbeat(heartbeat("a", schema=1, counters=counted), ttl_s=5)
    await store.heartbeat(heartbeat("b"), ttl_s=5)
    assert [(pod.schema, pod.counters) for pod in await store.pods()] == [(1, counted), (0, None)]


# --- TTL ---------------------------------------------------------------------


async def test_a_memory_call_lives_exactly_as_long_as_its_ttl() -> None:
    """Held just before the TTL runs out, gone when it has; every write starts it anew."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    await store.commit([first_write()])
    now[0] = TTL_S - 1
    assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.COMMITTED]
    now[0] = 2 * TTL_S - 1.5
    assert await store.load("call_a") is not None
    now[0] = 2 * TTL_S - 1
    assert await store.load("call_a") is None


async def test_every_write_refreshes_the_ttl_of_all_keys(redis_url: str) -> None:
    """Record, items, outbox and speech live and die together, on a real server."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    keys = ["call:{call_a}", "call:{call_a}:items", "call:{call_a}:out", "call:{call_a}:in"]
    write = CallWrite(
        "call_a", 1, items={"i": b"1"}, events=[OutboxEntry(1, b"{}", b"")], speech=[SpeechEntry(1, "i", b"s")]
    )
    for refresh in (write, CallWrite("call_a", 1)):
        for key in keys:
            await client.expire(key, 7)
        await store.commit([refresh])
        assert [await client.ttl(key) for key in keys] == [TTL_S] * 4
        ends: list[Any] = [await client.pexpiretime(key) for key in keys]
        assert ends[0] == min(ends)  # A record never outlives what belongs to it.
    await store.bind_call_key("k", "call_a")
    await client.expire("voice:callkey:k", 7)
    await store.find_call_key("k")
    assert await client.ttl("voice:callkey:k") == TTL_S
    await store.close()


async def test_a_claim_refreshes_the_ttl_and_a_refused_one_does_not(redis_url: str) -> None:
    """Turning a claim down changes nothing, not even how long the call is kept."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    await client.expire("call:{call_a}", 7)
    assert await store.claim(claim(api_key_hash="other")) is NotClaimed.FOREIGN
    assert await client.ttl("call:{call_a}") <= 7
    assert isinstance(await store.claim(claim()), Claimed)
    assert await client.ttl("call:{call_a}") == TTL_S
    await store.close()


async def test_what_has_expired_is_unknown_on_a_real_server(redis_url: str) -> None:
    """A call whose time has run out can be neither read, written nor claimed, and a silent pod leaves the fleet."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    client = store._redis
    await store.commit([first_write()])
    await store.bind_call_key("k", "call_a")
    await store.heartbeat(heartbeat("a"), ttl_s=5)
    assert await client.ttl("voice:pod:a") == 5
    for key in ("call:{call_a}", "voice:callkey:k", "voice:pod:a"):
        await client.pexpire(key, 1)
    while await client.exists("call:{call_a}", "voice:callkey:k", "voice:pod:a"):
        pass
    assert await store.load("call_a") is None
    assert await store.commit([CallWrite("call_a", 1)]) == [WriteOutcome.UNKNOWN]
    assert await store.claim(claim()) is NotClaimed.UNKNOWN
    assert await store.find_call_key("k") is None
    assert await store.pods() == []
    await store.close()


async def test_what_was_said_expires_before_the_tombstone(redis_url: str) -> None:
    """On a real server: the items go after the retention, the record stays until the TTL."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    store.retention_s = 7
    client: Any = store._redis
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True)])
    assert (await client.ttl("call:{call_a}:items"), await client.ttl("call:{call_a}")) == (7, TTL_S)
    assert sorted(await client.keys("call:*")) == [b"call:{call_a}", b"call:{call_a}:items"]
    await store.close()


async def test_memory_forgets_what_was_said_before_the_tombstone() -> None:
    """As a real server does."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    store.retention_s = 7
    await talked(store)
    await store.commit([CallWrite("call_a", 1, fields={"status": b"ended"}, items=SAID, ends=True)])
    now[0] = 7.0
    assert "what-was-said" not in repr(await store.load("call_a")) + repr(vars(store))
    assert await store.claim(claim()) is NotClaimed.ENDED


async def test_memory_forgets_what_has_expired() -> None:
    """Calls, keys and pods that nobody asks for again do not pile up."""
    now = [0.0]
    store = MemoryStore(ttl_s=TTL_S, now_s=lambda: now[0])
    for n in range(50):
        await store.commit([first_write(f"call_{n}")])
        await store.bind_call_key(f"key_{n}", f"call_{n}")
        await store.heartbeat(heartbeat(f"pod_{n}"), ttl_s=5)
    now[0] = TTL_S - 1
    await store.commit([CallWrite("call_0", 1)])
    await store.find_call_key("key_0")
    now[0] = TTL_S
    await store.heartbeat(heartbeat("pod_z"), ttl_s=5)
    assert await store.find_call_key("key_0") == "call_0"
    assert (list(store._calls), list(store._keys), list(store._pods)) == (["call_0"], ["key_0"], ["pod_z"])


# --- the Lua scripts and their Python model ------------------------------------

WRITES = st.tuples(
    st.integers(1, 4),
    st.booleans(),
    st.dictionaries(st.sampled_from("abc"), st.binary(max_size=4), max_size=2),
    st.dictionaries(st.sampled_from("xyz"), st.binary(max_size=4), max_size=2),
    st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
    st.lists(st.integers(1, 9), max_size=4, unique=True).map(sorted),
    st.integers(0, 9),
    st.integers(0, 5),
    st.sampled_from(["", "one", "two"]),
    st.sampled_from(["", "one", "two"]),
    st.sampled_from([False, False, True]),
    st.sampled_from(["", "", "0 0 0 0", "1 0 0 0", "1 1 0 0", "0 1 1 9", "2 2 2 2"]),
)
STEPS = st.one_of(WRITES, WRITES, st.sampled_from(["claim", "claim one", "claim two", "erase"]))


@settings(max_examples=int(os.environ.get("STORE_EXAMPLES", "60")), suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=14), st.sampled_from([TTL_S, 0]))
def test_the_scripts_do_what_their_model_does(shared_redis: RedisServer, steps: list[Any], retention_s: int) -> None:
    """Any order of writes, whole writes, ends, trims, claims and erasures ends alike in memory and on a real server."""

    async def run() -> None:
        real = RedisStore(shared_redis.url, ttl_s=TTL_S)
        try:
            await real._redis.flushall()
            model = MemoryStore(ttl_s=TTL_S)
            model.retention_s = real.retention_s = retention_s
            await compare(model, real)
        finally:
            await real.close()

    async def compare(model: MemoryStore, real: RedisStore) -> None:
        for step in steps:
            if step == "erase":
                assert await model.erase("call_a", 7) == await real.erase("call_a", 7)
                continue
            if isinstance(step, str):
                asked = claim(name=step.removeprefix("claim").strip())
                left, right = await model.claim(asked), await real.claim(asked)
                assert left == right
                continue
            epoch, whole, fields, items, dropped, numbers, keep, revision, owned_by, doubted, ends, kept = step
            write = CallWrite(
                "call_a",
                epoch,
                revision,
                owned_by,
                doubted,
                fields=fields | ({"kept": kept.encode()} if kept else {}),
                items=dict(items),
                dropped_items=[item_id for item_id in dropped if item_id not in items],
                events=[OutboxEntry(n, b"h", b"a" * (n % 2)) for n in numbers],
                speech=[SpeechEntry(n, "i", b"s") for n in numbers],
                keep_events_from=keep,
                keep_speech_from=keep,
                whole=whole,
                ends=ends,
            )
            assert await model.commit([write]) == await real.commit([write])
        assert await model.load("call_a") == await real.load("call_a")

    asyncio.run(run())


async def test_a_turn_costs_the_same_however_long_the_call_is(redis_url: str) -> None:
    """Bytes to the server per turn at turn 1 000 are within a tenth of those at turn 10."""
    store = RedisStore(redis_url, ttl_s=TTL_S)
    watch = redis.asyncio.Redis.from_url(redis_url)
    await store.commit([first_write()])

    async def bytes_for(turn: int) -> int:
        before = (await watch.info("stats"))["total_net_input_bytes"]
        await store.commit(
            [
                CallWrite(
                    "call_a",
                    1,
                    fields={"seq": b"%08d" % turn},
                    items={f"item_{turn:06d}": b"i" * 200},
                    events=[OutboxEntry(10_000 + turn, b"{}" * 50, b"")],
                    keep_events_from=max(1, turn - 100),
                )
            ]
        )
        return int((await watch.info("stats"))["total_net_input_bytes"]) - before

    costs = [await bytes_for(turn) for turn in range(1, 1001)]
    assert sum(costs[990:]) <= 1.1 * sum(costs[5:15])
    await watch.aclose()
    await store.close()
