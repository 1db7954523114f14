"""What a store of several masters asks of redis-py's cluster client, without any server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import exceptions

from voice_agent.stores.base import StoreMemory
from voice_agent.stores.redis_cluster import ClusterStore


class Node:
    """A node of the map."""

    def __init__(self, name: str) -> None:
        self.name = name


class Cluster:
    """A client that knows some nodes, and answers INFO as it is told."""

    def __init__(self, *names: str, info: Any = None) -> None:
        self.names = names
        self.forgotten = 0
        self._info = info

    def get_nodes(self) -> list[Node]:
        """Those of the map."""
        return [Node(name) for name in self.names]

    async def info(self, _: str, **__: Any) -> Any:
        """Of each master, or of the only one."""
        return self._info

    async def aclose(self) -> None:
        """Forget the map."""
        self.forgotten += 1


def asks(cluster: Cluster) -> ClusterStore:
    """A store that asks a client."""
    store = ClusterStore("redis+cluster://a:1", ttl_s=10)
    store._cluster = store._redis = cluster  # type: ignore[assignment]
    return store


def of(used: int, limit: int | None = None) -> dict[str, Any]:
    """What a master says of its memory."""
    return {"used_memory": used} | ({} if limit is None else {"maxmemory": limit})


@pytest.mark.parametrize(
    ("info", "memory"),
    [
        (of(5, 7), StoreMemory(5, 7)),
        (of(5), StoreMemory(5, 0)),
        ({"a": of(50, 100), "b": of(40, 50), "c": of(60, 1000)}, StoreMemory(40, 50)),
        ({"a": of(5, 0), "b": of(7), "c": of(6, 0)}, StoreMemory(7, 0)),
        ({"a": of(9, 0), "b": of(1, 100)}, StoreMemory(1, 100)),
    ],
)
async def test_the_memory_of_a_cluster_is_that_of_its_fullest_master(info: Any, memory: StoreMemory) -> None:
    """By its limit; one that has none is never full, and hides no other that is."""
    assert await asks(Cluster(info=info)).memory() == memory


@pytest.mark.parametrize(
    ("error", "is_read_again"),
    [
        (exceptions.ConnectionError("lost"), True),
        (exceptions.TimeoutError("slow"), True),
        (OSError("lost"), True),
        (exceptions.RedisClusterException("no node"), True),
        (exceptions.MovedError("1 b:1"), True),
        (exceptions.AskError("1 b:1"), True),
        (exceptions.TryAgainError("soon"), True),
        (exceptions.ClusterDownError("down"), True),
        (exceptions.ReadOnlyError("a replica"), True),
        (exceptions.ResponseError("WRONGTYPE"), False),
        (exceptions.OutOfMemoryError("full"), False),
    ],
    ids=repr,
)
async def test_the_map_is_read_again_when_it_may_be_wrong(error: Exception, is_read_again: bool) -> None:
    """And connections to a node that is not in it any more are given up, those to others kept."""
    cluster = Cluster("b:1")
    store = asks(cluster)
    kept, gone = store._node("b:1"), store._node("a:1")
    given_up = []

    async def disconnect() -> None:
        given_up.append("a:1")

    gone.connection_pool.disconnect = disconnect  # type: ignore[method-assign, assignment]
    await store._lost(error)
    assert (cluster.forgotten == 1, given_up == ["a:1"]) == (is_read_again, is_read_again)
    assert store._node("b:1") is kept
    assert (store._node("a:1") is gone) is not is_read_again


async def test_several_questions_may_find_out_at_once_that_nodes_are_gone() -> None:
    """Each says what became of itself, and nothing else."""
    cluster = Cluster()
    store = asks(cluster)

    async def disconnect() -> None:
        await asyncio.sleep(0)

    for name in ("a:1", "b:1"):
        store._node(name).connection_pool.disconnect = disconnect  # type: ignore[method-assign, assignment]
    await asyncio.gather(*(store._lost(exceptions.ConnectionError("lost")) for _ in range(3)))
    assert cluster.forgotten == 3
