"""Which questions are asked again, for how long, and how a large write goes in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import exceptions

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.errors import StoreDeclined, StoreRefused, StoreUnavailable
from voice_agent.stores import redis_client as asking
from voice_agent.stores.base import Claim, NotClaimed, PodHeartbeat, StoreMemory, WriteOutcome
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_client import AGAIN_FOR_S, CLAIM_MARGIN_MS
from voice_agent.stores.redis_fleet import TRIES_TO_AGREE
from voice_agent.stores.redis_format import STAGED_FROM_BYTES

HEARTBEAT = PodHeartbeat("pod-a", "blue", "1", "ok", 0, 0, 1, 0, 1)
ENOUGH = 100
"""More questions than anything asks."""


class Clock:
    """The loop's time for the store; a pause only moves it on."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.pauses: list[float] = []
        self.lowest: set[float] = set()

    async def sleep(self, pause_s: float) -> None:
        """A pause."""
        self.pauses.append(pause_s)
        self.now_s += pause_s

    def longest(self, lowest: float, longest: float) -> float:
        """By chance the longest there is."""
        self.lowest.add(lowest)
        return longest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of time and chance."""
    made = Clock()
    monkeypatch.setattr(asking, "_now_s", lambda: made.now_s)
    monkeypatch.setattr("asyncio.sleep", made.sleep)
    monkeypatch.setattr("random.uniform", made.longest)
    return made


class LostServer:
    """A client whose server is lost, from the given command on; before that it answers with what it is given."""

    def __init__(self, *answers: Any, error: Exception | None = None) -> None:
        self.asked = 0
        self.given_up = 0
        self.connection_pool = self
        self._answers = list(answers)
        self._error = error or exceptions.ConnectionError("lost")

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("__"):
            raise AttributeError(name)

        async def ask(*_: Any, **__: Any) -> Any:
            self.asked += 1
            assert self.asked < ENOUGH
            if self._answers:
                return self._answers.pop(0)
            raise self._error

        return ask

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Connections are given up."""
        assert not inuse_connections
        self.given_up += 1


def asks(client: Any) -> RedisStore:
    """A store that asks a client."""
    store = RedisStore("redis://h", ttl_s=10)
    store._redis = client
    return store


async def test_a_lost_server_is_asked_again_for_a_second_with_growing_pauses(clock: Clock) -> None:
    """Each time by a new connection; no pause is longer than so much, and none ends after that second."""
    server = LostServer()
    with pytest.raises(StoreUnavailable):
        await asks(server).ping()
    grown = [asking.AGAIN.first_s * 2**n for n in range(4)]
    assert clock.pauses == pytest.approx([*grown, asking.AGAIN.longest_s, asking.AGAIN.longest_s])
    assert sum(clock.pauses) <= AGAIN_FOR_S
    assert clock.lowest == {0}
    assert (server.asked, server.given_up) == (7, 7)


async def test_a_pause_may_end_just_as_the_second_is_over(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last try is then, and not later."""
    monkeypatch.setattr("random.uniform", lambda *_: AGAIN_FOR_S / 2)
    server = LostServer()
    with pytest.raises(StoreUnavailable):
        await asks(server).ping()
    assert server.asked == 3
    assert clock.now_s == 50 + AGAIN_FOR_S


@pytest.mark.parametrize(
    ("error", "kind", "asked", "given_up"),
    [
        (exceptions.ResponseError("wrong"), StoreRefused, 1, 0),
        (exceptions.AuthenticationError("wrong password"), StoreRefused, 1, 1),
        (exceptions.TimeoutError("slow"), StoreUnavailable, 7, 0),
        (exceptions.ReadOnlyError("a replica"), StoreDeclined, 7, 7),
    ],
)
@pytest.mark.usefixtures("clock")
async def test_only_what_may_pass_is_asked_again(
    error: Exception, kind: type[Exception], asked: int, given_up: int
) -> None:
    """And open connections are given up only where the master may be another by now."""
    server = LostServer(error=error)
    with pytest.raises(kind):
        await asks(server).ping()
    assert (server.asked, server.given_up) == (asked, given_up)


LARGE = CallWrite("call_a", 1, 1, "made", items={"i": bytes(STAGED_FROM_BYTES)}, whole=True)
ONCE: dict[str, tuple[Callable[[RedisStore], Awaitable[Any]], int]] = {
    "a write": (lambda store: store.commit([CallWrite("call_a", 1)]), 0),
    "a large write": (lambda store: store.commit([LARGE]), 0),
    "a claim that has no name": (lambda store: store.claim(Claim("call_a", "pod-b", "green", 5)), 0),
    "the clock of a heartbeat": (lambda store: store.heartbeat(HEARTBEAT, ttl_s=5), 0),
}
AGAIN: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "a claim that has a name": lambda store: store.claim(Claim("call_a", "pod-b", "green", 5, name="b")),
    "a call": lambda store: store.load("call_a"),
    "an erasure": lambda store: store.erase("call_a", 5),
    "a call key": lambda store: store.bind_call_key("k", "call_a"),
    "who has a call key": lambda store: store.find_call_key("k"),
    "a drain request": lambda store: store.request_drain("blue", None),
    "what is requested": lambda store: store.drain_request("blue"),
    "the fleet": lambda store: store.pods(),
    "a value": lambda store: store.get("cutover"),
    "another value": lambda store: store.compare_and_set("cutover", None, b"1", ttl_s=5),
    "an agreement": lambda store: store.get_or_set("secret", b"1"),
}


@pytest.mark.parametrize("what", [*ONCE, *AGAIN])
@pytest.mark.usefixtures("clock")
async def test_what_takes_effect_once_however_often_it_is_asked_is_asked_again(what: str) -> None:
    """Everything else once: the pod asks again itself, and knows what has changed since."""
    server = LostServer()
    ask = AGAIN[what] if what in AGAIN else ONCE[what][0]
    with pytest.raises(StoreUnavailable):
        await ask(asks(server))
    assert (server.asked > 1) is (what in AGAIN)


@pytest.mark.parametrize("lost_at", [1, 2])
@pytest.mark.usefixtures("clock")
async def test_a_heartbeat_is_asked_once(lost_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its scripts is lost: the next heartbeat says more."""
    asked = []

    async def ask_all(_: Any, commands: Any) -> list[Any]:
        asked.append(commands)
        if len(asked) >= lost_at:
            raise exceptions.ConnectionError("lost")
        return [1]

    monkeypatch.setattr(asking, "ask_all", ask_all)
    with pytest.raises(StoreUnavailable):
        await asks(LostServer((1_700_000_000, 0))).heartbeat(HEARTBEAT, ttl_s=5)
    assert len(asked) == lost_at


@pytest.mark.usefixtures("clock")
async def test_a_part_of_a_large_write_is_brought_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brought twice, its events would be refused as held already."""
    asked = []

    async def ask_all(_: Any, commands: Any) -> list[Any]:
        asked.append(commands)
        raise exceptions.ConnectionError("lost")

    monkeypatch.setattr(asking, "ask_all", ask_all)
    with pytest.raises(StoreUnavailable):
        await asks(LostServer(1)).commit([LARGE])
    assert len(asked) == 1


async def test_what_others_ask_goes_on_when_connections_are_given_up(redis_url: str) -> None:
    """Only idle ones lead to a server that is not the master any more without anybody noticing."""
    store = RedisStore(redis_url, ttl_s=10)
    store_redis: Any = store._redis
    waiting = asyncio.create_task(store_redis.blpop("a-list", 0))
    other = RedisStore(redis_url, ttl_s=10)
    other_redis: Any = other._redis
    while not (await other_redis.info("clients"))["blocked_clients"]:
        await asyncio.sleep(0)
    await store._lost(exceptions.ReadOnlyError("a replica"))
    await other_redis.lpush("a-list", "x")
    assert await waiting == (b"a-list", b"x")
    await store.close()
    await other.close()


# --- the server's clock ------------------------------------------------------------


async def test_the_servers_clock_goes_on_between_heartbeats(clock: Clock) -> None:
    """To the millisecond; a claim must arrive a little before its asker gives up."""
    store = RedisStore("redis://h?timeout_s=4", ttl_s=10)
    assert store.wall_ms() is None
    assert await store._server_ms() is None
    store._redis = LostServer((1_700_000_000, 250_000))  # type: ignore[assignment]
    await store._read_clock()
    clock.now_s += 1.5
    assert store.wall_ms() == pytest.approx(1_700_000_001_750, abs=0.01)
    assert await store._server_ms() == pytest.approx(1_700_000_001_750 + 4000 - CLAIM_MARGIN_MS, abs=1)


# --- small things ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "memory"),
    [({"used_memory": 5, "maxmemory": 7}, StoreMemory(5, 7)), ({"used_memory": "5"}, StoreMemory(5, 0))],
)
async def test_a_server_that_names_no_limit_has_none(info: dict[str, Any], memory: StoreMemory) -> None:
    """Managed ones may say less."""
    assert await asks(LostServer(info)).memory() == memory


async def test_of_two_who_propose_at_once_the_first_is_agreed_on(redis_url: str) -> None:
    """Both have seen that nothing is agreed yet."""
    one, other = (RedisStore(redis_url, ttl_s=10) for _ in range(2))
    get: Any = one._redis.get

    async def slow(key: str) -> Any:
        one._redis.get = get  # type: ignore[method-assign]
        seen = await get(key)
        assert await other.get_or_set("secret", b"other") == b"other"
        return seen

    one._redis.get = slow  # type: ignore[method-assign, assignment]
    assert await one.get_or_set("secret", b"one") == b"other"
    await one.close()
    await other.close()


async def test_a_store_that_keeps_nothing_is_not_asked_for_ever() -> None:
    """One that evicts whatever comes; the start of a pod waits for the answer."""
    server = LostServer(*[None, True] * 50)
    with pytest.raises(StoreUnavailable, match="does not keep"):
        await asks(server).get_or_set("secret", b"one")
    assert server.asked == 2 * TRIES_TO_AGREE


async def test_what_was_agreed_and_is_gone_is_agreed_anew() -> None:
    """A failover may lose it between two looks at it."""
    server = LostServer(None, True, None, None, b"other")
    assert await asks(server).get_or_set("secret", b"one") == b"other"


async def test_exactly_so_many_pods_are_listed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose heartbeats came last."""
    monkeypatch.setattr("voice_agent.stores.redis_fleet.MAX_PODS", 2)
    store = RedisStore(redis_url, ttl_s=10)
    names = ("pod-c", "pod-b", "pod-a")
    for name in names:
        await store.heartbeat(PodHeartbeat(name, "blue", "1", "ok", 0, 0, 1, 0, 1), ttl_s=5)
    await store._redis.zadd(store.keys.pods, {name: at for at, name in enumerate(names)})
    assert [heartbeat.name for heartbeat in await store.pods()] == ["pod-a", "pod-b"]
    await store.close()


async def test_a_refusal_names_the_record_of_the_call(redis_url: str) -> None:
    """Whichever key of it the server means."""
    store = RedisStore(redis_url, ttl_s=10)
    await store._redis.set("call:{call_a}", "somebody else's")
    with pytest.raises(StoreRefused, match="refuses: call:{call_a}: "):
        await store.claim(Claim("call_a", "pod-b", "green", 5))
    await store.close()


async def test_a_store_that_is_closed_has_no_connections(redis_url: str) -> None:
    """It may be closed twice."""
    watch, store = RedisStore(redis_url, ttl_s=10), RedisStore(redis_url, ttl_s=10)
    watching: Any = watch._redis

    async def connected() -> set[str]:
        return {client["id"] for client in await watching.client_list()}

    before = await connected()
    await asyncio.gather(store.ping(), store.ping())
    its = await connected() - before
    assert len(its) == 2
    for _ in range(2):
        await store.close()
    while its & await connected():
        pass
    await watch.close()


# --- large writes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "size", "ends", "retention_s", "is_staged"),
    [
        (True, STAGED_FROM_BYTES, False, 10, True),
        (True, STAGED_FROM_BYTES, False, 0, True),
        (True, STAGED_FROM_BYTES, True, 10, True),
        (True, STAGED_FROM_BYTES, True, 0, False),
        (True, STAGED_FROM_BYTES - 1, False, 10, False),
        (False, STAGED_FROM_BYTES, False, 10, False),
    ],
)
async def test_large_whole_writes_are_brought_in_parts(
    whole: bool, size: int, ends: bool, retention_s: int, is_staged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But those of which nothing would be kept; a change is put onto what is held."""
    store = RedisStore("redis://h", ttl_s=10)
    store.retention_s = retention_s
    parts = []

    async def stage(keys: Any, part: Any) -> bool:
        parts.append((keys, part))
        return True

    async def unlink(keys: Any) -> None:
        assert not parts

    monkeypatch.setattr(store, "_stage", stage)
    monkeypatch.setattr(store, "_unlink", unlink)
    write = CallWrite("call_a", 1, 3, "made", items={"i": bytes(size)}, whole=whole, ends=ends)
    keys, arguments = await store._in_parts(write) if store._is_large(write) else store._at_once(write)
    assert bool(parts) is is_staged
    plain = store.keys.of_call("call_a")
    assert keys == ([*plain, *(f"{key}:made.1.3" for key in plain[1:])] if is_staged else plain)
    assert (arguments[-3:] == [1, 0, 0]) is is_staged


def large(revision: int) -> CallWrite:
    """A whole write in three parts, with events."""
    items = {f"item_{n}": bytes(500_000) for n in range(4)}
    events = [OutboxEntry(n, b"{}", bytes(200_000)) for n in range(1, 5)]
    return CallWrite("call_a", 1, revision, "made", items=items, events=events, speech=[], whole=True)


async def test_a_large_write_is_brought_anew_after_one_that_broke_off(redis_url: str) -> None:
    """What it has left beside the call is taken away first: its entries would be refused as held already."""
    store = RedisStore(redis_url, ttl_s=10)
    await store._in_parts(large(1))  # And no more: its pod died.
    stage, brought = store._stage, []

    async def noted(keys: Any, part: Any) -> bool:
        brought.append(await stage(keys, part))
        return brought[-1]

    store._stage = noted  # type: ignore[method-assign]
    assert await store.commit([large(1)]) == [WriteOutcome.COMMITTED]
    assert brought == [True] * 3
    held = await store.load("call_a")
    assert held is not None
    assert (held.items, held.outbox) == (large(1).items, large(1).events)
    await store.close()


@pytest.mark.parametrize("how", ["full", "refused"])
async def test_a_large_write_of_which_a_part_cannot_be_brought_leaves_none(redis_url: str, how: str) -> None:
    """It is asked as a whole then, which is told why, or taken."""
    store = RedisStore(redis_url, ttl_s=10)
    run, parts = store._run, []

    async def second_fails(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "stage":
            parts.append(name)
            if len(parts) == 2:
                if how == "full":
                    return b"full"
                raise StoreRefused("a part")
        return await run(name, *arguments, **more)

    store._run = second_fails  # type: ignore[method-assign]
    assert await store.commit([large(1)]) == [WriteOutcome.COMMITTED]
    assert len(parts) == 2
    keys: Any = await store._redis.keys("*")
    assert {key.decode() for key in keys} == {"call:{call_a}", "call:{call_a}:items", "call:{call_a}:out"}
    assert await store.commit([CallWrite("call_a", 1, 2, "made")]) == [WriteOutcome.COMMITTED]
    await store.close()


async def test_a_large_change_is_put_onto_what_is_held(redis_url: str) -> None:
    """It replaces nothing but what it names."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([CallWrite("call_a", 1, 1, "made", items={"kept": b"1"}, whole=True)])
    items = {f"item_{n}": bytes(500_000) for n in range(5)}
    assert await store.commit([CallWrite("call_a", 1, 2, "made", items=items)]) == [WriteOutcome.COMMITTED]
    held = await store.load("call_a")
    assert held is not None
    assert held.items == {"kept": b"1", **items}
    await store.close()


async def test_nothing_is_taken_away_after_a_large_write_that_is_in_place(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question less; of one that is refused the parts are taken away."""
    store = RedisStore(redis_url, ttl_s=10)
    unlink, taken = store._unlink, []

    async def counted(keys: Any) -> None:
        taken.append(keys)
        await unlink(keys)

    monkeypatch.setattr(store, "_unlink", counted)
    assert await store.commit([large(1)]) == [WriteOutcome.COMMITTED]
    assert len(taken) == 1
    await store.claim(Claim("call_a", "pod-b", "green", 5))
    assert await store.commit([large(2), CallWrite("call_b", 1)]) == [WriteOutcome.SUPERSEDED, WriteOutcome.UNKNOWN]
    assert len(taken) == 3
    assert await store.claim(Claim("call_b", "pod-b", "green", 5)) is NotClaimed.UNKNOWN
    await store.close()
