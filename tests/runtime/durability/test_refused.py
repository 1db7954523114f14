"""A store that answers and refuses: told as refused, with its reason, and never as one that cannot be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.rig import rig
from tests.servers import redis_server
from voice_agent.errors import ConnectionRefused
from voice_agent.observe.metrics import Metrics
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import DrainRequest
from voice_agent.stores.redis import RedisStore

ALL = ("allkeys", "allcommands")


@dataclass
class Refusal:
    """What makes a server refuse heartbeats, what ends that, and what is told meanwhile."""

    begin: Callable[[Any], Awaitable[Any]]
    end: Callable[[Any], Awaitable[Any]]
    reason: str
    state: StoreState = StoreState.REFUSED


REFUSALS = {
    "another program's list of pods": Refusal(
        lambda it: it.set("voice:pods", "x"), lambda it: it.delete("voice:pods"), "voice:pods: WRONGTYPE"
    ),
    "another program's heartbeat": Refusal(
        lambda it: it.set("voice:pod:a", "x"), lambda it: it.delete("voice:pod:a"), "voice:pod:a: WRONGTYPE"
    ),
    "no permission": Refusal(
        lambda it: it.acl_setuser("default", commands=["-hset"]),
        lambda it: it.acl_setuser("default", commands=["+@all"]),
        "permission",
    ),
    "a replica": Refusal(
        lambda it: it.execute_command("REPLICAOF", "127.0.0.1", "1"),
        lambda it: it.execute_command("REPLICAOF", "NO", "ONE"),
        "read only replica",
    ),
    "too few replicas": Refusal(
        lambda it: it.config_set("min-replicas-to-write", 1),
        lambda it: it.config_set("min-replicas-to-write", 0),
        "NOREPLICAS",
    ),
    "no memory for what was agreed": Refusal(
        lambda it: it.config_set("maxmemory", 1), lambda it: it.config_set("maxmemory", 0), "maxmemory", StoreState.FULL
    ),
}


@pytest.fixture
async def store() -> AsyncIterator[RedisStore]:
    """On a server of its own, which is to be changed."""
    with redis_server() as server:
        made = RedisStore(server.url, ttl_s=100)
        yield made
        await made.close()


@pytest.mark.parametrize("cause", REFUSALS)
async def test_a_refused_heartbeat_is_told_as_refused(store: RedisStore, cause: str) -> None:
    """In health, with the server's reason, as a metric, and in the log once, however often it is tried."""
    refusal = REFUSALS[cause]
    admin = store._redis
    async with rig(store) as its:
        pod = its.unopened_pod("a")
        metrics = Metrics(version="1", color="blue")
        metrics.registry.watch(pod.status, pod.view.calls_not_resumable)
        await pod.heartbeat.heartbeat()
        assert pod.status().store == "redis:ok"
        if refusal.state is StoreState.FULL:
            pod.heartbeat.agreed["new"] = b"x"
        await refusal.begin(admin)
        with capture_logs() as lines:
            for _ in range(3):
                await pod.heartbeat.heartbeat()
        status = pod.status()
        assert (status.status, status.store_state) == ("degraded", refusal.state)
        assert (refusal.reason in status.store) == (refusal.state is StoreState.REFUSED)
        assert "127.0.0.1" not in status.store
        assert "user_script" not in status.store
        told = [line for line in lines if line["event"] == "the store does not do what a heartbeat asks"]
        assert [(line["state"], refusal.reason in line["error"]) for line in told] == [(refusal.state.value, True)]
        page = metrics.registry.page().decode()
        assert f'state="{refusal.state}",version="1"}} 1' in page
        assert 'state="unreachable",version="1"} 0' in page
        await refusal.end(admin)
        with capture_logs() as lines:
            await pod.heartbeat.heartbeat()
        assert [line["event"] for line in lines].count("the store takes heartbeats again") == 1
        assert pod.status().store == "redis:ok"


async def test_a_drain_request_is_applied_though_the_heartbeat_is_refused(store: RedisStore) -> None:
    """What the store refuses keeps nothing else from being asked."""
    await store._redis.set("voice:pods", "x")
    async with rig(store) as its:
        pod = its.unopened_pod("a")
        await store.request_drain("blue", DrainRequest("finish", 60, 1))
        await pod.heartbeat.heartbeat()
        assert pod.draining
        assert pod.status().store.startswith("redis:refused (voice:pods: WRONGTYPE")


async def test_whoever_needs_what_the_store_refuses_is_told_that_it_refuses(store: RedisStore) -> None:
    """A call, or a call key, whose place in the store holds something else: of these callers alone."""
    await store._redis.set("call:{call_odd}", "x")
    await store._redis.rpush("voice:callkey:odd", "x")
    async with rig(store) as its:
        pod = await its.pod("a")
        for asked in (its.resume(pod, "call_odd"), its.start(pod, call_key_hash="odd")):
            with pytest.raises(ConnectionRefused) as refused, capture_logs() as lines:
                await asked
            assert (refused.value.status, refused.value.code) == (503, "store_refused")
            assert "WRONGTYPE" in lines[0]["error"]
        await (await its.start(pod, call_key_hash="fine")).greeting()
        assert pod.status().store == "redis:ok"


async def test_a_claim_that_a_replica_refuses_is_not_told_as_a_store_out_of_reach(store: RedisStore) -> None:
    """It may succeed later, elsewhere, and is asked again: but somebody answers."""
    async with rig(store) as its:
        caller = await its.start(await its.pod("a"))
        await caller.gone()
        await REFUSALS["a replica"].begin(store._redis)
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(its.unopened_pod("b"), caller.call_id)
        assert refused.value.code == "store_refused"
