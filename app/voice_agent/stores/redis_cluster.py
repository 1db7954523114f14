"""Call state in a Redis or Valkey cluster: `redis+cluster://`.

All keys of a call are in one slot, so every script works here as it does on one server.
A pod's writes go out as one pipeline to each node, side by side. What touches several
slots (the fleet's keys) goes through redis-py's own cluster client, which also knows
where slots are; when a node says that one has moved, or does not answer, the map is read
again, and what takes effect once is asked once more.

The pipelines are not those of redis-py's cluster client, which packs and reads a command at a time
(`stores.redis_pipeline`) and asks again for each command that a node sent elsewhere, one after the other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from voice_agent.errors import SettingsError
from voice_agent.stores.base import StoreMemory
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_connections import options, read_place
from voice_agent.stores.redis_errors import InvalidUrl, unusable
from voice_agent.stores.redis_format import Script
from voice_agent.stores.redis_gathering import AskAll, Question

MOVED = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError)


class ClusterStore(RedisStore):
    """Like `RedisStore`, with a pipeline to each node."""

    def __init__(self, url: str, *, ttl_s: int) -> None:
        place = read_place(url)
        if place.path:
            raise SettingsError(unusable(url, InvalidUrl("a cluster has no numbered databases")))
        common: dict[str, Any] = {**place.tls, **place.credentials, **options(place.tuning)}
        self._node_options = {
            **{key: value for key, value in common.items() if key != "ssl"},
            "max_connections": place.tuning.connections,
            "timeout": place.tuning.timeout_s,
            "connection_class": redis.SSLConnection if place.tls else redis.Connection,
        }
        # Its own retries follow moved slots; beyond that it does not ask twice.
        common["retry"] = Retry(NoBackoff(), 1)
        del common["redis_connect_func"]
        try:
            cluster = RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in place.nodes], **common)
            # TLS options are looked at only when a connection is made: make one now, unconnected.
            pool = redis.BlockingConnectionPool(**self._node_options)
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, exceptions.RedisClusterException, exceptions.RedisError) as error:
            raise SettingsError(unusable(url, error)) from None
        super().__init__(url, ttl_s=ttl_s, made=(cluster, place.tuning))
        self._cluster = cluster
        self._nodes: dict[str, redis.Redis] = {}

    @property
    def kind(self) -> str:
        """``cluster``."""
        return "cluster"

    async def close(self) -> None:
        """Give the connections back."""
        await self._cluster.aclose()
        for node in [*self._nodes.values()]:
            await node.connection_pool.disconnect()

    async def _lost(self, error: Exception) -> None:
        """The map may be wrong: read it again before the next question."""
        if not isinstance(error, exceptions.ResponseError) or isinstance(error, (*MOVED, exceptions.ReadOnlyError)):
            known = {node.name for node in self._cluster.get_nodes()}
            # All at once, before the first await: another question that fails meanwhile must find none of them.
            for gone in [self._nodes.pop(name) for name in self._nodes.keys() - known]:
                await gone.connection_pool.disconnect()
            await self._cluster.aclose()

    async def _run_all(
        self, script: Script, runs: Sequence[Question], *, bind: Sequence[tuple[str, str]] = ()
    ) -> list[Any]:
        await self._cluster.initialize()
        placed: dict[str, list[int]] = defaultdict(list)
        bound: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for at, (keys, _) in enumerate(runs):
            placed[self._name_of(keys[0])].append(at)
        for key, call_id in bind:
            bound[self._name_of(key)].append((key, call_id))
        names = sorted({*placed, *bound})
        answers: list[Any] = [None] * len(runs)
        given = await asyncio.gather(
            *(self._run_on(self._node(name), script, [runs[at] for at in placed[name]], bound[name]) for name in names)
        )
        for name, some in zip(names, given, strict=True):
            for at, answer in zip(placed[name], some, strict=True):
                answers[at] = answer
        return answers

    async def _ask_together(self, name: str, ask: AskAll, question: Question, *, again: bool) -> Any:
        """By itself: calls of other nodes are not to wait for one that does not answer."""
        about = question[0][0]
        [answer] = await self._ask(lambda: ask([question]), again=again, about=about)
        return self._its_own(answer, about)

    async def _node_of(self, key: str) -> redis.Redis:
        await self._cluster.initialize()
        return self._node(self._name_of(key))

    async def memory(self) -> StoreMemory | None:
        """Of the masters the one that is fullest; one without a limit is never full."""
        nodes = RedisCluster.PRIMARIES

        async def run() -> Any:
            return await self._cluster.info("memory", target_nodes=nodes)

        found = await self._ask(run)
        each = [found] if "used_memory" in found else list(found.values())
        told = [StoreMemory(int(info["used_memory"]), int(info.get("maxmemory", 0))) for info in each]
        return max(
            told, key=lambda memory: (memory.used_bytes / (memory.limit_bytes or float("inf")), memory.used_bytes)
        )

    async def _servers(self) -> list[redis.Redis]:
        await self._ask(self._cluster.initialize)
        return [self._node(str(node.name)) for node in self._cluster.get_primaries()]

    def _name_of(self, key: str) -> str:
        node = self._cluster.nodes_manager.get_node_from_slot(self._cluster.keyslot(key))
        return str(node.name)

    def _node(self, name: str) -> redis.Redis:
        if name not in self._nodes:
            host, _, port = name.rpartition(":")
            pool = redis.BlockingConnectionPool(host=host, port=int(port), **self._node_options)
            self._nodes[name] = redis.Redis(connection_pool=pool)
        return self._nodes[name]

    async def _server_ms(self) -> int | None:
        """Every node has a clock of its own, so a claim is not given a time to arrive by."""
        return None
