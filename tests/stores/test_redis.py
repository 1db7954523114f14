"""What is special about the Redis store: failing servers, scripts, secrets, URLs.

Tests of `redis_calls`, `redis_fleet` and `redis_keys`, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import redis.asyncio
from redis import exceptions

from tests.servers import RedisServer, redis_server
from voice_agent.call.changes import CallWrite, OutboxEntry, SpeechEntry
from voice_agent.errors import SettingsError, StoreRefused, StoreUnavailable
from voice_agent.stores import factory
from voice_agent.stores.base import Claim, Claimed, DrainRequest, NotClaimed, PodHeartbeat, WriteOutcome
from voice_agent.stores.factory import GROUP, open_store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_connections import Tuning
from voice_agent.stores.redis_errors import meaning, without_password, words_of
from voice_agent.stores.redis_format import PART_BYTES

ANSWER_S = Tuning().timeout_s
CONNECTIONS = Tuning().connections
MAKE = CallWrite("call_a", 1, whole=True)
MAKE_B = CallWrite("call_b", 1, whole=True)


async def test_a_store_that_went_away_is_unavailable_and_works_again_once_back() -> None:
    """No reconnect by hand, no script loaded by hand."""
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=10)
        await store.open()
        assert await store.commit([MAKE]) == [WriteOutcome.COMMITTED]
        server.stop()
        with pytest.raises(StoreUnavailable):
            await store.commit([MAKE])
        server.start()
        assert await store.commit([MAKE]) == [WriteOutcome.COMMITTED]
        await store.close()


async def test_scripts_are_loaded_again_when_the_server_forgot_them(redis_url: str) -> None:
    """SCRIPT FLUSH in mid-flight goes unnoticed."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([MAKE])
    await store._redis.script_flush()
    assert await store.commit([MAKE, CallWrite("call_b", 1)]) == [WriteOutcome.COMMITTED, WriteOutcome.UNKNOWN]
    await store.close()


async def test_a_wrong_password_is_refused_and_never_shown() -> None:
    """`StoreRefused` names the server without the secret."""
    with redis_server(password="correct-horse") as server:
        store = RedisStore(server.url.replace("correct-horse", "wrong-horse"), ttl_s=10)
        with pytest.raises(StoreRefused) as refusal:
            await store.open()
        assert "horse" not in str(refusal.value)
        await store.close()
        right = RedisStore(server.url, ttl_s=10)
        await right.open()
        await right.close()


async def test_a_missing_password_is_refused() -> None:
    """A server that wants a password and gets none is no outage."""
    with redis_server(password="correct-horse") as server:
        store = RedisStore(f"redis://127.0.0.1:{server.port}", ttl_s=10)
        with pytest.raises(StoreRefused):
            await store.open()
        await store.close()


@contextlib.contextmanager
def hung(server: RedisServer) -> Iterator[None]:
    """A server that takes connections and says nothing for the length of a block."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def test_a_server_that_hangs_is_unavailable_in_time_and_asked_once() -> None:
    """A claim whose answer came too late took effect once: asked again by itself it would raise the epoch twice."""
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=10)
        await store.commit([MAKE])
        assert await store.claim(Claim("call_b", "pod-b", "green", 5)) is NotClaimed.UNKNOWN  # loads the script
        started_s = time.monotonic()
        with hung(server), pytest.raises(StoreUnavailable):
            await store.claim(Claim("call_a", "pod-b", "green", 5))
        assert time.monotonic() - started_s >= ANSWER_S
        await store.ping()
        held = await store.load("call_a")
        assert held is not None
        assert held.fields["epoch"] == b"2"
        await store.close()


async def test_a_cancelled_question_leaves_its_answer_to_nobody() -> None:
    """Who asks next gets the answer to what he asked."""
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=10)
        await store.commit([MAKE])
        with hung(server):
            asked = [asyncio.create_task(store.load("call_a")) for _ in range(CONNECTIONS)]
            done, _ = await asyncio.wait(asked, timeout=0.2)
            assert not done
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
        answers = await asyncio.gather(*(store.get_or_set(f"name-{n}", b"%d" % n) for n in range(CONNECTIONS)))
        assert answers == [b"%d" % n for n in range(CONNECTIONS)]
        await store.close()


async def command(store: RedisStore, words: str) -> None:
    """Tell the server something."""
    tell: Any = store._redis.execute_command
    await tell(*words.split())


@pytest.mark.parametrize(
    ("how", "back"),
    [
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["too few replicas", "a replica"],
)
async def test_what_may_pass_is_an_outage_and_no_refusal(redis_url: str, how: str, back: str) -> None:
    """A server that cannot write now writes nothing of a change, shows nothing of it, and works again later."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([MAKE])
    try:
        await command(store, how)
        with pytest.raises(StoreUnavailable):
            await store.commit([CallWrite("call_a", 1, fields={"half": b"1"}, items={"half": b"1"})])
        with pytest.raises(StoreUnavailable) as failure:
            await store.get_or_set("what nobody agreed on yet", b"the-secret")
        assert "the-secret" not in str(failure.value)
    finally:
        await command(store, back)
    held = await store.load("call_a")
    assert held is not None
    assert (held.fields, held.items) == ({"epoch": b"1"}, {})
    assert await store.commit([MAKE]) == [WriteOutcome.COMMITTED]
    await store.close()


async def test_a_server_that_became_a_replica_is_looked_up_again(redis_url: str) -> None:
    """After a failover the same name leads elsewhere, so its old connections are given up."""
    store = RedisStore(redis_url, ttl_s=10)
    before = await store._redis.client_id()
    assert await store._redis.client_id() == before
    await command(store, "REPLICAOF 127.0.0.1 1")
    try:
        with pytest.raises(StoreUnavailable):
            await store.commit([MAKE])
        assert await store._redis.client_id() != before
    finally:
        await command(store, "REPLICAOF NO ONE")
        await store.close()


@pytest.mark.parametrize("key", ["", ":items", ":out", ":in"])
async def test_what_is_no_record_is_replaced_by_a_whole_write(redis_url: str, key: str) -> None:
    """Something of another kind under one call's keys harms no other call, and that call only until it is rewritten."""
    store = RedisStore(redis_url, ttl_s=10)
    everything: Any = {
        "items": {"i": b"1"},
        "events": [OutboxEntry(1, b"{}", b"")],
        "speech": [SpeechEntry(1, "i", b"s")],
    }
    first = CallWrite("call_a", 1, 1, "made", whole=True)
    await store.commit([first, MAKE_B])
    await store._redis.delete(f"call:{{call_a}}{key}")
    await store._redis.set(f"call:{{call_a}}{key}", "somebody else's")
    change = CallWrite("call_a", 1, 2, "made", fields={"half": b"1"}, **everything)
    assert await store.commit([change, CallWrite("call_b", 1)]) == [WriteOutcome.UNKNOWN, WriteOutcome.COMMITTED]
    if key:
        # A script that fails half-way would have written half, and claimed for nobody.
        with pytest.raises(StoreRefused):
            await store.claim(Claim("call_a", "pod-b", "green", 5, name="b"))
        record: Any = await store._redis.hgetall("call:{call_a}")
        assert record == {b"epoch": b"1", b"claim": b"made", b"revision": b"1"}
    whole = CallWrite("call_a", 1, 2, "made", whole=True, **everything)
    assert await store.commit([whole]) == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert [entry.n for entry in held.outbox] == [1]
    await store.close()


async def test_a_claim_that_arrives_too_late_takes_nothing(redis_url: str) -> None:
    """It waited in a buffer while its asker was told that nobody answers; by now another pod may have the call."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([MAKE])
    await store.heartbeat(PodHeartbeat("pod-a", "blue", "1", "ok", 0, 0, 1, 0, 1), ttl_s=5)
    assert store._server_ahead_ms is not None
    store._server_ahead_ms -= 10_000
    with pytest.raises(StoreUnavailable):
        await store.claim(Claim("call_a", "pod-b", "green", 5, name="late"))
    held = await store.load("call_a")
    assert held is not None
    assert held.fields["epoch"] == b"1"
    assert isinstance(await store.claim(Claim("call_a", "pod-b", "green", 5, name="again")), Claimed)
    await store.close()


async def test_a_claim_that_is_overtaken_while_it_reads_is_lost(redis_url: str) -> None:
    """A large call is read in pages: its reader must not take for the call what another owner has changed since."""
    store = RedisStore(redis_url, ttl_s=10)
    items = {f"item_{n}": bytes(1000) for n in range(2000)}
    await store.commit([CallWrite("call_a", 1, 1, "made", items=items, whole=True)])
    run, pages = store._run, []

    async def overtaken(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "read":
            pages.append(name)
            if len(pages) == 2:
                await RedisStore.claim(other, Claim("call_a", "pod-c", "green", 5, name="c"))
        return await run(name, *arguments, **more)

    other = RedisStore(redis_url, ttl_s=10)
    store._run = overtaken  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="claimed by another pod"):
        await store.claim(Claim("call_a", "pod-b", "green", 5, name="b"))
    assert len(pages) == 2
    await store.close()
    await other.close()


async def test_no_answer_and_no_script_is_much_larger_than_a_page(redis_url: str) -> None:
    """So that a server is never kept from others for long: a call of 16 MiB goes in and out in pieces."""
    store = RedisStore(redis_url, ttl_s=10)
    sizes: list[int] = []
    run_all = store._run_all

    async def weighed(script: Any, runs: Any, **more: Any) -> Any:
        answers = await run_all(script, runs, **more)
        sizes.append(_bytes_in([arguments for _, arguments in runs]) + _bytes_in(answers))
        return answers

    store._run_all = weighed  # type: ignore[method-assign]
    items = {f"item_{n}": bytes(40_000) for n in range(200)}
    speech = [SpeechEntry(n, "item_1", bytes(40_000)) for n in range(1, 201)]
    write = CallWrite("call_a", 1, 1, "made", items=items, speech=speech, whole=True)
    assert await store.commit([write]) == [WriteOutcome.COMMITTED]
    assert isinstance(await store.claim(Claim("call_a", "pod-b", "green", 5, name="b")), Claimed)
    assert sum(sizes) > 2 * 400 * 40_000
    assert max(sizes) < 1.2 * PART_BYTES
    await store.close()


def _bytes_in(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_bytes_in, value))
    return len(value) if isinstance(value, bytes) else 0


async def test_a_staged_write_of_which_a_part_has_expired_is_not_put_in_place(redis_url: str) -> None:
    """Half a call must never be taken for the whole."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([MAKE])
    stage = store._stage

    async def forgetful(keys: Any, part: Any) -> bool:
        done = await stage(keys, part)
        await store._redis.unlink(keys[0])
        return done

    store._stage = forgetful  # type: ignore[method-assign]
    items = {f"item_{n}": bytes(100_000) for n in range(30)}
    outcome = await store.commit([CallWrite("call_a", 1, 1, "made", items=items, whole=True)])
    assert outcome == [WriteOutcome.UNKNOWN]
    held = await store.load("call_a")
    assert held is not None
    assert held.items == {}
    await store.close()


async def test_a_heartbeat_that_says_too_little_is_passed_over(redis_url: str) -> None:
    """Pods of another version may say other things; the rest of the fleet is shown all the same."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.heartbeat(PodHeartbeat("pod-a", "blue", "1", "ok", 0, 0, 1, 0, 1), ttl_s=5)
    await store._redis.hset("voice:pod:pod-x", mapping={"name": "pod-x", "color": "green"})
    await store._redis.zadd("voice:pods", {"pod-x": 1})
    assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a"]
    await store.close()


async def test_a_drain_request_of_a_newer_version_is_understood(redis_url: str) -> None:
    """Blue and green are different versions: what this one does not know is left out."""
    store = RedisStore(redis_url, ttl_s=10)
    await store._redis.hset(
        "voice:color:blue", "drain", b'{"mode":"finish","deadline_s":5,"requested_at_ms":7,"new":1}'
    )
    assert await store.drain_request("blue") == DrainRequest("finish", 5, 7)
    await store.close()


async def test_what_a_newer_version_keeps_beside_a_drain_request_stays(redis_url: str) -> None:
    """Other fields of a color, when a drain of it is requested and taken back, and of the router's weights."""
    store = RedisStore(redis_url, ttl_s=10)
    client: Any = store._redis
    for key in ("voice:color:blue", "voice:routing"):
        await client.hset(key, "mood", "sunny")
    await store.request_drain("blue", DrainRequest("finish", 5, 7))
    await store.request_drain("blue", None)
    await store.tell_weights({"blue": 100}, 5)
    for key in ("voice:color:blue", "voice:routing"):
        assert await client.hget(key, "mood") == b"sunny"
    await store.close()


# --- URLs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rediss://me:secret@host:6379/0?x=secret", "rediss://***@host:6379/0"),
        ("redis://:se/cret@host", "redis://***@host"),
        ("redis://:se@cret@host", "redis://***@host"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
        ("redis://host/1", "redis://host/1"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    """Whatever is shown of a URL has no user, password or query in it, however it was mistyped."""
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "words",
    [
        "unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `s3:cret`, ",
        "unknown command 'HELLO', With Args Beginning With: '3' 'AUTH' 'default' 's3:cret' ",
        "syntax error near 's3:cret'",
        f"{'x' * 195}s3:cret",
        "a proxy does not know AUTH s3%3Acret",
    ],
)
@pytest.mark.parametrize("url", ["redis://:s3%3Acret@host", "redis+sentinel://s/m?sentinel_password=s3%3Acret"])
@pytest.mark.parametrize(
    "kind", [exceptions.ResponseError, exceptions.ConnectionError, exceptions.AuthenticationError, OSError]
)
def test_what_the_server_repeats_of_a_password_is_not_shown(kind: type[Exception], url: str, words: str) -> None:
    """Neither in the message nor in the reason, which health checks and log lines show."""
    told = meaning(kind(words), url)
    assert "s3" not in f"{told} {told.__dict__}"


def test_a_url_without_a_password_leaves_the_servers_words_as_they_are() -> None:
    """Nothing is hidden where there is nothing to hide."""
    assert str(meaning(exceptions.ResponseError("a reason"), "redis://host")).endswith("refuses: a reason")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://x",
        "redis://host:notaport/0",
        "redis://host/notadb",
        "redis://host?nonsense=1",
        "redis://host?socket_timeout=soon",
        "rediss://host?ssl_cert_reqs=maybe",
        "redis://[::1",
    ],
)
def test_a_bad_url_stops_the_start_with_one_line(url: str) -> None:
    """The line names the setting."""
    with pytest.raises(SettingsError, match="^VOICE_STORE_URL: [^\n]+$"):
        open_store(url, ttl_s=10)


@pytest.mark.parametrize("mark", ["/", "#", "?", ":"])
@pytest.mark.parametrize("url", ["redis://:hor{}se@host:6379/0", "redis://me:hor{}se@host:port", ":hor{}se@host:6379"])
def test_a_mistyped_password_is_not_shown_either(url: str, mark: str) -> None:
    """The message about a URL that cannot be read holds no part of the password in it."""
    if mark == ":" and url.endswith("/0"):
        assert without_password(url.format(mark)) == "redis://***@host:6379/0"
        return
    with pytest.raises(SettingsError) as refusal:
        open_store(url.format(mark), ttl_s=10)
    assert "hor" not in str(refusal.value)
    assert "se@" not in str(refusal.value)


def test_each_scheme_has_its_store() -> None:
    """By URL alone."""
    kinds = {url: open_store(url, ttl_s=10).kind for url in ("memory://", "embedded://", "redis://h", "rediss://h")}
    assert kinds == {"memory://": "memory", "embedded://": "embedded", "redis://h": "redis", "rediss://h": "redis"}


@pytest.mark.parametrize("url", ["memory://", "embedded://", "redis://h", "redis+cluster://h:1"])
@pytest.mark.parametrize(("retention_s", "kept_s"), [(None, 10), (0, 0), (7, 7), (11, 10)])
def test_a_store_keeps_conversations_as_long_as_it_is_told(url: str, retention_s: int | None, kept_s: int) -> None:
    """At most as long as records, and as long if nothing else is said."""
    store = open_store(url, ttl_s=10, retention_s=retention_s)
    assert (store.ttl_s, store.retention_s) == (10, kept_s)


async def test_the_servers_clock_is_known_from_the_first_heartbeat_on(redis_url: str) -> None:
    """In milliseconds since 1970: two machines' clocks differ by seconds, not by years."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.open()
    try:
        heartbeat = PodHeartbeat("a", "blue", "1", "ok", 0, 0, 1, started_at_ms=0, heartbeat_at_ms=0)
        before_s, _ = await store._redis.time()
        await store.heartbeat(heartbeat, ttl_s=7)
        known_ms = store.wall_ms()
        after_s, _ = await store._redis.time()
        assert known_ms is not None
        assert before_s <= known_ms / 1000 <= after_s + 1
    finally:
        await store.close()


def test_an_unknown_scheme_is_told_which_are_known() -> None:
    """All of them, so that a typo is seen at once."""
    with pytest.raises(
        SettingsError, match="unknown store reddis://; known are embedded://, memory://, redis://, redi"
    ):
        open_store("reddis://host", ttl_s=10)


def test_third_parties_add_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point is handed the URL and the TTL, and makes the store."""
    made = EntryPoint("mine", "tests.stores.test_redis:mine", GROUP)
    monkeypatch.setattr(factory, "entry_points", lambda group: [made] if group == GROUP else [])
    store = open_store("mine://here", ttl_s=7)
    assert (store.kind, store.ttl_s) == ("memory", 7)


def mine(url: str, *, ttl_s: int) -> MemoryStore:
    """Somebody's store."""
    assert url == "mine://here"
    return MemoryStore(ttl_s=ttl_s)


async def test_two_installations_share_a_server(redis_url: str) -> None:
    """Under prefixes of their own, neither sees the other's calls, pods, keys and requests; nothing is outside them."""
    async with opened(redis_url, "a:") as ours, opened(redis_url, "b:") as theirs:
        await ours.commit([CallWrite("call_a", 1, fields={"status": b"attached"}, whole=True, call_key_hash="k")])
        await ours.heartbeat(PodHeartbeat("pod", "blue", "1", "ok", 0, 0, 10, 0, 0), ttl_s=7)
        await ours.request_drain("blue", DrainRequest("handoff", 1, 1))
        await ours.get_or_set("secret", b"ours")
        await ours.compare_and_set("cutover", None, b"ours", ttl_s=10)
        assert await theirs.load("call_a") is None
        assert await theirs.find_call_key("k") is None
        assert await theirs.pods() == []
        assert await theirs.drain_request("blue") is None
        assert await theirs.get_or_set("secret", b"theirs") == b"theirs"
        assert await theirs.get("cutover") is None
        async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
            keys = {str(key) for key in await client.keys("*")}
    assert {key[:2] for key in keys} == {"a:", "b:"}
    assert all(key[2:].startswith(("voice:", "call:{")) for key in keys)


async def test_another_programs_keys_are_nobodys_business(redis_url: str) -> None:
    """A server may have a `pods` of its own."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set("pods", "another program's")
        await client.set("pod:pod", "another program's")
    async with opened(redis_url) as store:
        await store.heartbeat(PodHeartbeat("pod", "blue", "1", "ok", 0, 0, 10, 0, 0), ttl_s=7)
        assert [pod.name for pod in await store.pods()] == ["pod"]


@asynccontextmanager
async def opened(url: str, prefix: str = "") -> AsyncIterator[RedisStore]:
    """A store of an installation."""
    store = RedisStore(url, ttl_s=60)
    store.use_prefix(prefix)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def test_the_password_of_several_hosts_is_not_told_on() -> None:
    """Also where one of them is an IPv6 address, which newer Pythons take for no URL."""
    error = exceptions.ResponseError("WRONGPASS for correct-horse")
    assert words_of(error, "redis+sentinel://me:correct-horse@a:1,[::1]:2/voice") == "WRONGPASS for ***"


@pytest.mark.parametrize("url", ["redis://host:1/0", "redis+sentinel://host:1/voice", "redis+cluster://host:1"])
async def test_a_line_end_behind_a_url_is_none_of_it(url: str) -> None:
    """As the file of a secret has it."""
    await open_store(url + "\n", ttl_s=10).close()
