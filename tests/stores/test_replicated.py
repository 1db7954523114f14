"""Stores of several servers: failovers, moved slots, forgotten scripts, passwords."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator

import pytest

from tests.replicated import ClusterSet, SentinelSet, cluster_set, sentinel_set
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.errors import SettingsError, StoreError, StoreRefused, StoreUnavailable
from voice_agent.stores.base import Claim, Claimed, PodHeartbeat, Store, WriteOutcome
from voice_agent.stores.factory import open_store
from voice_agent.stores.redis_cluster import ClusterStore
from voice_agent.stores.redis_connections import Tuning, read_place, tuning_of

TILT_TRIGGER_S = 2.0
"""A Sentinel's own, unless it is told another."""
CALLS = [f"call_{number}" for number in range(20)]


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSet]:
    """A master, two replicas and three sentinels, with a password."""
    with sentinel_set(password="correct-horse", lost_after_s=3) as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSet]:
    """Three masters with a replica each, with a password."""
    with cluster_set(password="correct-horse", replicas=True, lost_after_s=3) as made:
        yield made


def numbered(call_id: str, revision: int) -> CallWrite:
    """A write as a pod sends it."""
    events = [OutboxEntry(revision, b"{}", b"")]
    return CallWrite(call_id, 1, revision, "made", events=events, whole=revision == 1)


def whole(call_id: str, revision: int) -> CallWrite:
    """All of a call again."""
    events = [OutboxEntry(n, b"{}", b"") for n in range(1, revision + 1)]
    return CallWrite(call_id, 1, revision, "made", events=events, whole=True)


class RepeatingWriter:
    """Writes one numbered event after the other, as a pod does: each again until it is answered."""

    def __init__(self, store: Store) -> None:
        self.answered = dict.fromkeys(CALLS, 0)
        self.failed: dict[str, int] = {}
        self.longest_silence_s = 0.0
        self.told_of_losses = 0
        self._store = store
        self._enough = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        revision = 1
        heard_s = time.monotonic()
        while not self._enough.is_set():
            try:
                outcomes = await self._store.commit([numbered(call_id, revision) for call_id in CALLS])
            except StoreError as error:
                kind = type(error.__cause__).__name__
                self.failed[kind] = self.failed.get(kind, 0) + 1
                await asyncio.sleep(0.05)
                continue
            lost = [call_id for call_id, one in zip(CALLS, outcomes, strict=True) if one is WriteOutcome.UNKNOWN]
            if lost:
                # A master without `min-replicas-to-write` may die with writes that it has answered.
                self.told_of_losses += len(lost)
                outcomes = await self._store.commit([whole(call_id, revision) for call_id in lost])
            assert set(outcomes) == {WriteOutcome.COMMITTED}, outcomes
            self.longest_silence_s = max(self.longest_silence_s, time.monotonic() - heard_s)
            heard_s = time.monotonic()
            self.answered = dict.fromkeys(CALLS, revision)
            revision += 1

    async def until(self, revision: int) -> None:
        """Wait until so many events of every call were answered."""
        async with asyncio.timeout(PATIENCE_S):
            while min(self.answered.values()) < revision:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Say no more."""
        self._enough.set()
        await self._task


async def until_answered(store: Store, write: CallWrite) -> WriteOutcome:
    """Ask until the store is there again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return (await store.commit([write]))[0]
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def check_nothing_is_lost(store: Store, writer: RepeatingWriter) -> None:
    """Every event that was answered is there, once and in order."""
    for call_id, newest in writer.answered.items():
        held = await store.load(call_id)
        assert held is not None
        assert [entry.n for entry in held.outbox] == list(range(1, newest + 1))


async def test_a_failover_loses_no_answered_write_and_heals_by_itself(sentinels: SentinelSet) -> None:
    """The master is killed under writes; they go on with the next one, and an older epoch is fenced there too."""
    store = open_store(sentinels.url, ttl_s=600)
    await store.open()
    assert store.kind == "sentinel"
    writer = RepeatingWriter(store)
    await writer.until(20)
    killed = await asyncio.to_thread(sentinels.kill_master)
    before = min(writer.answered.values())
    await writer.until(before + 20)
    await writer.stop()
    assert writer.failed
    assert not writer.told_of_losses
    await check_nothing_is_lost(store, writer)
    taken = await store.claim(Claim("call_0", "pod-b", "green", 5, name="b"))
    assert isinstance(taken, Claimed)
    revision = writer.answered["call_0"] + 1
    assert await store.commit([numbered("call_0", revision)]) == [WriteOutcome.SUPERSEDED]
    await asyncio.to_thread(sentinels.await_failover, killed)
    await asyncio.to_thread(sentinels.revive, killed)
    await store.close()


async def test_a_sentinel_of_these_tests_that_stood_still_goes_on(sentinels: SentinelSet) -> None:
    """As on an overloaded machine: its timer comes so late that of itself it would do nothing for half a minute."""
    process, port = sentinels.sentinels[0], sentinels.sentinel_ports[0]
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(TILT_TRIGGER_S + 0.5)  # so long its timer does not come
    process.send_signal(signal.SIGCONT)
    with sentinels.sentinel(port) as told:
        for _ in range(2):
            assert told.info("sentinel")["sentinel_tilt"] == 0
            await asyncio.sleep(0.3)  # Its timer comes at least once.


async def test_questions_wait_for_the_end_of_a_short_loss(sentinels: SentinelSet) -> None:
    """A claim is asked again while the connection is gone, and counts once."""
    store = open_store(sentinels.url, ttl_s=600)
    await store.commit([CallWrite("call_q", 1, 1, "made", whole=True)])
    with sentinels.client(sentinels.master()) as admin:
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    taken = await store.claim(Claim("call_q", "pod-b", "green", 5, name="b"))
    assert isinstance(taken, Claimed)
    assert taken.epoch == 2
    await store.close()


async def test_without_sentinels_there_is_no_store() -> None:
    """Nobody says who the master is: unavailable, in time, with no secret in the message."""
    store = open_store("redis+sentinel://:horse@127.0.0.1:1,127.0.0.1:2/voice?timeout_s=0.5", ttl_s=10)
    with pytest.raises(StoreUnavailable) as failure:
        await store.ping()
    assert "horse" not in str(failure.value)
    await store.close()


async def test_a_wrong_password_is_refused_behind_sentinels(sentinels: SentinelSet) -> None:
    """`StoreRefused`: waiting would not help."""
    store = open_store(sentinels.url.replace("correct", "wrong"), ttl_s=10)
    with pytest.raises(StoreRefused):
        await store.open()
    await store.close()


async def test_a_cluster_goes_on_when_a_master_is_lost(cluster: ClusterSet) -> None:
    """Its replica takes the slots over; writes to the other nodes are asked for again and change nothing twice."""
    store = open_store(cluster.url, ttl_s=600)
    await store.open()
    assert store.kind == "cluster"
    writer = RepeatingWriter(store)
    await writer.until(20)
    killed = cluster.master_of("call:{call_0}")
    killed.stop()
    before = min(writer.answered.values())
    await writer.until(before + 20)
    await writer.stop()
    # Redis Cluster replicates without waiting, so the lost master may have answered writes that nobody else has.
    # That is never unnoticed: the next write is told that its forerunner is missing, and all is written again.
    await check_nothing_is_lost(store, writer)
    killed.start()
    await asyncio.to_thread(cluster.await_whole)
    await store.close()


async def test_a_moved_slot_is_found_again(cluster: ClusterSet) -> None:
    """Slots move while a cluster grows; the next write goes where the slot is now."""
    store = open_store(cluster.url, ttl_s=600)
    await store.commit([CallWrite("call_m", 1, 1, "made", whole=True)])
    source = cluster.master_of("call:{call_m}")
    masters = [cluster.master_of(f"call:{{{call_id}}}") for call_id in CALLS]
    target = next(server for server in masters if server is not source)
    with cluster.client(source) as giving, cluster.client(target) as taking:
        slot = giving.cluster("keyslot", "call:{call_m}")
        keys = giving.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
        taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", giving.execute_command("CLUSTER MYID"))
        giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taking.execute_command("CLUSTER MYID"))
        auth = ["AUTH", cluster.password]
        giving.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 2000, *auth, "KEYS", *keys)
        owner = taking.execute_command("CLUSTER MYID")
        for client in (taking, giving):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", owner)
    assert await until_answered(store, CallWrite("call_m", 1, 2, "made")) is WriteOutcome.COMMITTED
    await store.close()


async def test_each_node_of_a_cluster_learns_the_scripts_again(cluster: ClusterSet) -> None:
    """Nodes that forgot scripts, or everything, are told again by whoever asks; what is gone is unknown."""
    store = open_store(cluster.url, ttl_s=600)
    made = [WriteOutcome.COMMITTED] * len(CALLS)
    assert await store.commit([numbered(call_id, 1) for call_id in CALLS]) == made
    cluster.command("SCRIPT", "FLUSH")
    assert await store.commit([numbered(call_id, 2) for call_id in CALLS]) == made
    cluster.command("FLUSHALL")
    cluster.command("SCRIPT", "FLUSH")
    assert set(await store.commit([numbered(call_id, 3) for call_id in CALLS])) == {WriteOutcome.UNKNOWN}
    assert await store.commit([whole(call_id, 3) for call_id in CALLS]) == made
    await store.close()


async def test_a_cluster_refuses_a_wrong_password_and_is_missed_when_it_is_away(cluster: ClusterSet) -> None:
    """`StoreRefused` where waiting would not help, else `StoreUnavailable`; neither says the password."""
    stranger = open_store(cluster.url.replace("correct", "wrong"), ttl_s=10)
    with pytest.raises(StoreRefused) as refusal:
        await stranger.open()
    await stranger.close()
    nowhere = open_store("redis+cluster://:wrong-horse@127.0.0.1:1", ttl_s=10)
    with pytest.raises(StoreUnavailable) as absence:
        await nowhere.commit([CallWrite("call_a", 1, whole=True)])
    await nowhere.close()
    assert "horse" not in f"{refusal.value} {absence.value}"


async def test_a_call_key_that_is_not_bound_is_not_taken_for_bound(cluster: ClusterSet) -> None:
    """A key lives on another node than its call; when that one writes nothing now, the write is to be asked again."""
    store = open_store(cluster.url, ttl_s=600)
    home = cluster.master_of("call:{call_k}")
    key_hash = next(f"{n:064x}" for n in range(999) if cluster.master_of(f"voice:callkey:{n:064x}") is not home)
    write = CallWrite("call_k", 1, 1, "made", whole=True, call_key_hash=key_hash)
    with cluster.client(cluster.master_of(f"voice:callkey:{key_hash}")) as other:
        other.config_set("min-replicas-to-write", 9)
        with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
            await store.commit([write])
        other.config_set("min-replicas-to-write", 0)
    assert await store.commit([write]) == [WriteOutcome.COMMITTED]
    assert await store.find_call_key(key_hash) == "call_k"
    await store.close()


async def test_a_store_of_a_cluster_knows_its_masters_and_leaves_no_connection(cluster: ClusterSet) -> None:
    """Unasked before, it finds them all; closed, and closed again, it has none to any of them."""

    def connections() -> set[tuple[int, bytes]]:
        lists = cluster.command("CLIENT LIST TYPE NORMAL")
        lines = [(node, line) for node, listed in enumerate(lists) for line in listed.splitlines()]
        return {(node, line.split()[0]) for node, line in lines if b"cmd=client|list" not in line}

    before = connections()
    store = open_store(cluster.url, ttl_s=600)
    assert isinstance(store, ClusterStore)
    assert len(await store._servers()) == 3
    assert set(await store.commit([whole(call_id, 1) for call_id in CALLS])) == {WriteOutcome.COMMITTED}
    assert len(connections() - before) >= 3
    for _ in range(2):
        await store.close()
        await until(lambda: not connections() - before)


async def test_the_fleet_is_spread_over_slots(cluster: ClusterSet) -> None:
    """Heartbeats, call keys and drain requests live in other slots than calls, and work all the same."""
    store = open_store(cluster.url, ttl_s=60)
    for name in ("pod-a", "pod-b", "pod-c"):
        await store.heartbeat(PodHeartbeat(name, "blue", "1", "ok", 0, 0, 1, 0, int(time.time() * 1000)), ttl_s=60)
    assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a", "pod-b", "pod-c"]
    assert await store.bind_call_key("k" * 64, "call_k") == "call_k"
    assert await store.get_or_set("secret", b"one") == b"one"
    await store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://host:1", "service"),
        ("redis+sentinel://host/voice", "host:port"),
        ("redis+sentinel://host:1,other/voice", "host:port"),
        ("redis+sentinel://host:99999/voice", "host:port"),
        ("redis+sentinel://host:1/voice/x", "database"),
        ("redis+sentinel://host:1/voice?nonsense=1", "nonsense"),
        ("redis+sentinel://host:1/voice?timeout_s=soon", "timeout_s"),
        ("redis+sentinel://host:1/voice?connections=0", "connections"),
        ("redis+sentinel://host:1/voice?ssl_ca_certs=x", "rediss"),
        ("redis+cluster://host:1/0", "database"),
        ("redis+cluster://host", "host:port"),
        ("redis+cluster://host:1?sentinel_password=x", "sentinel_password"),
        ("redis://host?timeout_s=-1", "timeout_s"),
        ("redis+sentinel://:correct-horse@host:1", "service"),
        ("redis+cluster://:correct-horse@host:1?timeout_s=soon", "timeout_s"),
        ("redis+cluster://:correct-horse@host", "host:port"),
        ("redis+sentinel://:correct/horse@host:1/voice", "percent-encode"),
        ("redis://:correct?horse@host", "percent-encode"),
        ("unix://:correct?horse=@/run/redis.sock", "percent-encode"),
    ],
)
def test_a_bad_url_of_several_hosts_stops_the_start(url: str, says: str) -> None:
    """One line that names the setting and what is wrong with it."""
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: [^\n]+$") as refusal:
        open_store(url, ttl_s=10)
    assert says in str(refusal.value)
    assert "correct" not in str(refusal.value)
    assert "horse" not in str(refusal.value)


def test_what_a_url_of_several_hosts_says() -> None:
    """Hosts in order, also IPv6 ones; credentials decoded; TLS by the scheme; the rest as given."""
    place = read_place(
        "rediss+sentinel://me:p%40ss@a:1,[::1]:2/voice/3?ssl_ca_certs=/ca.pem&sentinel_password=s&timeout_s=0.5",
        own=("sentinel_username", "sentinel_password"),
    )
    assert place.nodes == (("a", 1), ("::1", 2))
    assert place.path == ("voice", "3")
    assert place.credentials == {"username": "me", "password": "p@ss"}
    assert place.tls == {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert place.query == {"sentinel_password": "s"}
    assert place.tuning == Tuning(timeout_s=0.5)


def test_tuning_is_taken_out_of_any_url() -> None:
    """What is left is for the client library."""
    assert tuning_of("redis://h/0?health_check_s=3&x=1&connections=4") == (
        "redis://h/0?x=1",
        Tuning(health_check_s=3.0, connections=4),
    )
