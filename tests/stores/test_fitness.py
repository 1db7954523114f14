"""Whether a server is fit to keep calls: what is told on start, with a remedy that works, and what keeps a pod away.

Tests of `redis_fitness`, too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.replicated import BUSY_S, cluster_set, sentinel_set
from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import rig
from tests.servers import RedisServer, binaries, redis_server
from voice_agent.errors import StoreUnfit
from voice_agent.runtime.durability.store_fitness import LOOK_AGAIN_S
from voice_agent.stores.embedded import EmbeddedStore
from voice_agent.stores.factory import open_store
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_fitness import CALL_BYTES, COMMANDS, OLDEST, Facts, facts_of, lack, shortcomings

CALLS = 50
NEEDED = {"maxmemory": "200mb", "maxmemory-policy": "noeviction", "appendonly": "yes"}
TOLD = "the store is not as calls need it"


@pytest.fixture(params=binaries())
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    """On a server that is as calls need it."""
    with redis_server(request.param) as server:
        made = RedisStore(server.url, ttl_s=100)
        await put(made, **NEEDED)
        yield made
        await made.close()


async def put(store: RedisStore, **settings: str) -> None:
    """Set the server's."""
    for name, value in settings.items():
        await store._redis.config_set(name, value)


async def command(store: RedisStore, text: str) -> Any:
    """As an operator types it."""
    ask: Any = store._redis.execute_command
    return await ask(*text.split())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ""),
        ({"maxmemory-policy": "allkeys-lru"}, "evicts calls (allkeys-lru)"),
        ({"maxmemory-policy": "volatile-ttl"}, "evicts calls (volatile-ttl)"),
        ({"maxmemory": "0"}, "no memory limit"),
        ({"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}, "no memory limit"),
        ({"maxmemory": "20mb"}, "for 10 calls at once, of 50"),
        ({"appendonly": "no"}, "a restart loses all calls"),
        ({"appendonly": "no", "save": "60 1"}, ""),
    ],
)
async def test_what_is_unfit_is_told_with_a_remedy_that_works(
    store: RedisStore, settings: dict[str, str], told: str
) -> None:
    """Carried out as it is told, nothing speaks against the server any more."""
    await put(store, **settings)
    found = await store.shortcomings(CALLS)
    assert [told in text for text in found] == ([True] if told else [])
    for text in found:
        await command(store, text.rpartition(": ")[2])
    rest = await store.shortcomings(CALLS)
    assert rest == ([] if settings.keys() != {"maxmemory", "maxmemory-policy"} else rest)


async def test_where_config_is_forbidden_the_server_is_judged_by_info(store: RedisStore) -> None:
    """As on managed servers; and by CONFIG where INFO is forbidden. Where neither is allowed nothing is said."""
    await put(store, maxmemory="20mb", **{"maxmemory-policy": "allkeys-lru"})
    both = await store.shortcomings(CALLS)
    assert len(both) == 2
    for forbidden, found in (("-config", both), ("-command", both), ("-info", [])):
        await command(store, f"ACL SETUSER default {forbidden}")
        assert await store.shortcomings(CALLS) == found
    await command(store, "ACL SETUSER default +config")
    assert await store.shortcomings(CALLS) == both


async def test_a_pod_tells_it_in_one_line_and_once(store: RedisStore) -> None:
    """On start; again only when something else is unfit: after a minute, or after the store was away."""
    clock = LeapingClock()
    await put(store, maxmemory="20mb", **{"maxmemory-policy": "allkeys-lru"})
    with capture_logs() as lines:
        async with rig(store) as its:
            pod = await its.pod("a", clock=clock, capacity=CALLS)
            clock.leap(LOOK_AGAIN_S)
            await pod.heartbeat.heartbeat()
            told = [line for line in lines if line["event"] == TOLD]
            assert [line["log_level"] for line in told] == ["warning"]
            assert told[0]["why"].count("CONFIG SET") == 2
            await put(store, maxmemory="200mb")
            clock.leap(LOOK_AGAIN_S)
            await pod.heartbeat.heartbeat()
            await put(store, **{"maxmemory-policy": "noeviction"})
            await store._redis.set("voice:pods", "x")
            await pod.heartbeat.heartbeat()
            await store._redis.delete("voice:pods")
            await pod.heartbeat.heartbeat()
    told = [line for line in lines if line["event"] == TOLD]
    assert [line["why"].count("CONFIG SET") for line in told] == [2, 1]
    assert len([line for line in lines if line["event"] == "the store is as calls need it"]) == 1


@contextlib.contextmanager
def server_without(name: str, lacking: str, directory: Path) -> Iterator[RedisServer]:
    """A server that does not know a command."""
    with redis_server(name) as found:
        server = RedisServer(found.binary, directory, found.port, options=["--rename-command", lacking, ""])
        found.stop()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.mark.parametrize("name", binaries())
async def test_a_server_that_lacks_a_command_keeps_a_pod_from_starting(name: str, tmp_path: Path) -> None:
    """In one line that names it. The same server found by a pod that runs ends nothing."""
    with server_without(name, "GETEX", tmp_path) as server:
        store = RedisStore(server.url, ttl_s=100)
        async with rig(store) as its:
            with pytest.raises(
                StoreUnfit, match=r"cannot keep calls: .* has no GETEX: take Redis 6\.2 or later"
            ) as told:
                await its.pod("a")
            assert "\n" not in str(told.value)
            with capture_logs() as lines:
                for _ in range(2):
                    await its.unopened_pod("b").heartbeat.heartbeat()
            assert "GETEX" in next(line["why"] for line in lines if line["event"] == TOLD)
        await store.close()


async def test_the_embedded_store_is_as_calls_need_it(tmp_path: Path) -> None:
    """Its memory is the machine's, which is its user's."""
    store = EmbeddedStore(f"embedded://{tmp_path}", ttl_s=100)
    await store.open()
    assert await store.shortcomings(CALLS) == []
    await store.close()


def test_a_server_that_is_too_old_is_told() -> None:
    """By the version that it says it is compatible with."""
    assert shortcomings(Facts("Redis 6.0.16", (6, 0)), CALLS) == ["Redis 6.0.16 is older than 6.2: take a later one"]
    assert shortcomings(Facts("Valkey 9.1.0", (7, 2)), CALLS) == []


NEVER = "it keeps nothing on disk, so a restart loses all calls: CONFIG SET appendonly yes"
NO_LIMIT = "it has no memory limit but the machine's: CONFIG SET maxmemory 133mb"
EVICTS = "when it is full it evicts calls (allkeys-lru): CONFIG SET maxmemory-policy noeviction"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, []),
        ({"version": OLDEST}, []),
        ({"version": (6, 1)}, ["the server is older than 6.2: take a later one"]),
        ({"limit_bytes": 0}, [NO_LIMIT]),
        ({"limit_bytes": 0, "policy": "allkeys-lru"}, [NO_LIMIT]),
        ({"limit_bytes": CALLS * CALL_BYTES}, []),
        (
            {"limit_bytes": CALLS * CALL_BYTES - 1},
            ["its memory is for 49 calls at once, of 50: CONFIG SET maxmemory 133mb"],
        ),
        ({"limit_bytes": CALLS * CALL_BYTES, "policy": "allkeys-lru"}, [EVICTS]),
        ({"limit_bytes": CALLS * CALL_BYTES, "policy": "noeviction"}, []),
        ({"policy": "allkeys-lru"}, []),
        ({"is_persistent": True}, []),
        ({"is_persistent": False}, [NEVER]),
    ],
)
def test_each_fact_is_judged_by_itself(facts: dict[str, Any], told: list[str]) -> None:
    """What is not known speaks against nothing; a third more than calls need is what the remedy sets."""
    assert shortcomings(Facts(**facts), CALLS) == told


def test_a_server_of_this_machine_alone_needs_no_limit() -> None:
    """But if it has one, that must be enough."""
    assert shortcomings(Facts(limit_bytes=0), CALLS, needs_limit=False) == []
    assert len(shortcomings(Facts(limit_bytes=1), CALLS, needs_limit=False)) == 1


@pytest.mark.parametrize(
    ("info", "config", "facts"),
    [
        ({}, {}, {"name": "Redis"}),
        ({"redis_version": "7.2.4"}, {}, {"name": "Redis 7.2.4", "version": (7, 2)}),
        (
            {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.0"},
            {},
            {"name": "Valkey 9.1.0", "version": (7, 2)},
        ),
        ({"redis_version": "unstable"}, {}, {"name": "Redis unstable"}),
        ({"maxmemory": 0}, {"maxmemory": "5"}, {"name": "Redis", "limit_bytes": 0}),
        ({}, {"maxmemory": "5"}, {"name": "Redis", "limit_bytes": 5}),
        ({"maxmemory_policy": "noeviction"}, {"maxmemory-policy": "x"}, {"name": "Redis", "policy": "noeviction"}),
        ({}, {"maxmemory-policy": "x"}, {"name": "Redis", "policy": "x"}),
        ({"aof_enabled": 1}, {}, {"name": "Redis"}),
        ({}, {"save": "60 1"}, {"name": "Redis"}),
        ({"aof_enabled": 0}, {"save": ""}, {"name": "Redis", "is_persistent": False}),
        ({"aof_enabled": 1}, {"save": ""}, {"name": "Redis", "is_persistent": True}),
        ({"aof_enabled": 0}, {"save": "60 1"}, {"name": "Redis", "is_persistent": True}),
    ],
)
def test_facts_are_what_a_server_says_of_itself(
    info: dict[str, Any], config: dict[str, str], facts: dict[str, Any]
) -> None:
    """None of it is guessed where it says nothing."""
    assert facts_of(info, config, ()) == Facts(**facts)


def test_a_command_that_a_server_does_not_know_is_missing() -> None:
    """Answered by nothing in its place; what was not asked is not missing."""
    assert facts_of({}, {}, [["del"], None, ["exists"], None]).missing == (COMMANDS[1], COMMANDS[3])
    assert facts_of({}, {}, ()).missing == ()
    assert lack(Facts()) == ""
    assert lack(Facts("Redis 6.0", missing=("GETEX",))) == "Redis 6.0 has no GETEX: take Redis 6.2 or later, or Valkey"


def test_all_commands_of_the_scripts_are_asked_for() -> None:
    """A new one must not be found missing by callers."""
    scripts = files("voice_agent.stores").joinpath("lua").iterdir()
    used = {name for script in scripts for name in re.findall(r"redis\.p?call\('([A-Z]+)'", script.read_text())}
    assert used
    assert used <= set(COMMANDS)


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_every_server_that_takes_writes_is_looked_at(kind: str) -> None:
    """Of a cluster one that evicts is enough; of a set with sentinels the master counts."""
    with (sentinel_set if kind == "sentinel" else cluster_set)(lost_after_s=BUSY_S) as servers:
        store = open_store(servers.url, ttl_s=100)
        assert isinstance(store, RedisStore)
        nodes = await store._servers()
        assert len(nodes) == (1 if kind == "sentinel" else 3)
        for node in nodes:
            for name, value in NEEDED.items():
                await node.config_set(name, value)
        assert await store.shortcomings(CALLS) == []
        await nodes[-1].config_set("maxmemory-policy", "allkeys-lru")
        assert len(await store.shortcomings(CALLS)) == 1
        await store.close()
