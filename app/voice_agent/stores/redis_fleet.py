"""What a store in Redis keeps for the pods together: heartbeats, drain requests, the router's weights, values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from voice_agent.call.schema import READS_SCHEMAS, reads
from voice_agent.errors import StoreRefused, StoreUnavailable
from voice_agent.stores.base import AGREED_SCHEMA, DrainRequest, PodHeartbeat, RouterWeights, schema_of
from voice_agent.stores.redis_client import Answer, RedisClient
from voice_agent.stores.redis_fleet_format import (
    DRAIN_FIELDS,
    HEARTBEAT_FIELDS,
    MAX_HASH_BYTES,
    MAX_PODS,
    WEIGHTS_FIELDS,
    heartbeat_fields,
    heartbeat_of,
    request_of,
    weights_of,
)

TRIES_TO_AGREE = 5
"""What a store was told may be gone at once in a failover, and for good in one that evicts everything."""
SCAN_KEYS = 1000
"""How many keys a server looks at for one answer, which keeps it for about a millisecond."""
MOST_SCAN_S = 2.0
"""Stops a start on a server that other programs fill from looking for longer."""
TOLD_AGAIN = b"told again"
"""What stands for a schema where a living pod's next heartbeat tells it."""
KEPT_POD_MS = 3_600_000
"""How long the list of pods keeps a name after its last heartbeat."""


class RedisFleet(RedisClient):
    """The verbs for pods and operators."""

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        """Two scripts, for in a cluster their keys are not on one server, and a look at the server's clock."""
        fields = [ttl_s, *(word for pair in heartbeat_fields(heartbeat).items() for word in pair)]
        await self._ask(self._read_clock, again=False)
        await self._run("heartbeat", [self.keys.pod(heartbeat.name)], fields, again=False)
        await self._run("list_pod", [self.keys.pods], [heartbeat.name, KEPT_POD_MS], again=False)
        return await self.drain_request(heartbeat.color)

    async def pods(self) -> list[PodHeartbeat]:
        """Two round trips: the names, then their heartbeats. A malformed one is passed over."""
        listed: Any = await self._ask(
            lambda: self._redis.zrevrange(self.keys.pods, 0, MAX_PODS - 1), about=self.keys.pods
        )
        names = sorted(name.decode(errors="backslashreplace") for name in listed)
        runs = [([self.keys.pod(name)], [MAX_HASH_BYTES, *HEARTBEAT_FIELDS]) for name in names]
        answers = await self._ask(lambda: self._run_all(self._scripts["read_fields"], runs)) if runs else []
        malformed: dict[str, str] = {}
        heartbeats = [
            heartbeat_of(name, answer, partial(malformed.__setitem__, self.keys.pod(name)))
            for name, answer in zip(names, answers, strict=True)
        ]
        self._passed_over.tell("heartbeats", malformed)
        return [heartbeat for heartbeat in heartbeats if heartbeat is not None]

    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        """One script."""
        await self._run("request_drain", [self.keys.color(color)], [] if request is None else [orjson.dumps(request)])

    async def drain_request(self, color: str) -> DrainRequest | None:
        """One script. A malformed request is passed over."""
        return await self._read_fleet(self.keys.color(color), DRAIN_FIELDS, request_of)

    async def _read_fleet(
        self, key: str, fields: Sequence[str], read: Callable[[Any, Callable[[str], None]], Answer]
    ) -> Answer:
        """What some fields of a key say; what is malformed is named in the log."""
        question = ([key], [MAX_HASH_BYTES, *fields])
        [answer] = await self._ask(lambda: self._run_all(self._scripts["read_fields"], [question]), about=key)
        malformed: dict[str, str] = {}
        found = read(answer, partial(malformed.__setitem__, key))
        self._passed_over.tell(key, malformed)
        return found

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        """One script, which takes the time from the server."""
        await self._run("tell_weights", [self.keys.routing], [orjson.dumps(dict(weights))])

    async def weights(self) -> RouterWeights | None:
        """One script. Malformed weights are passed over."""
        return await self._read_fleet(self.keys.routing, WEIGHTS_FIELDS, weights_of)

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        """GET, and only where nothing is agreed yet SET NX and GET again: a server that is full refuses the SET.

        Raises `StoreUnavailable` for a store that keeps losing what it was told.
        """
        key = self.keys.agreed(name)

        client: Any = self._redis

        async def run() -> bytes:
            for _ in range(TRIES_TO_AGREE):
                if (agreed := await client.get(key)) is not None:
                    return bytes(agreed)
                await client.set(key, proposal, nx=True)
            raise StoreUnavailable(f"the store does not keep {key}")

        return await self._ask(run, about=key)

    async def layout(self, proposal: int | None) -> int | None:
        """A store without a schema in which a pod has left something is of schema 1, or of that of a call there.

        Calls are looked for where nothing else is found: once in the life of a store, as a rule.
        """
        settled = await self._read_value(self.keys.agreed(AGREED_SCHEMA))
        if settled is None and (left := await self._schema_left_behind()) is not None:
            # Looked at again: of what a pod leaves here, its schema comes first.
            settled = await self._read_value(self.keys.agreed(AGREED_SCHEMA)) or left
        return await super().layout(proposal) if settled is None else schema_of(settled)

    async def _schema_left_behind(self) -> bytes | None:
        client: Any = self._redis
        keys = self.keys

        async def look() -> bytes | None:
            names = [name.decode(errors="backslashreplace") for name in await client.zrevrange(keys.pods, 0, MAX_PODS)]
            for name in names:
                if await client.hexists(keys.pod(name), "reads_schemas"):
                    return TOLD_AGAIN
            left = (keys.agreed("secret"), keys.routing, keys.value("cutover"))
            return b"1" if names or any([await client.exists(key) for key in left]) else None

        found: bytes | None = await self._ask(look, about=keys.pods)
        if found == TOLD_AGAIN:
            return None
        return found or await self._schema_of_a_call()

    async def _schema_of_a_call(self) -> bytes | None:
        """That of the first call that says one; None if it is one that is read, or a server forbids to look."""
        try:
            for node in await self._servers():
                if (schema := await self._ask(partial(self._first_schema, node))) is not None:
                    return None if reads(schema_of(schema), READS_SCHEMAS) else schema
        except StoreRefused:
            pass
        return None

    async def _first_schema(self, node: Any) -> bytes | None:
        cursor = 0
        try:
            async with asyncio.timeout(MOST_SCAN_S):
                while True:
                    cursor, keys = await node.scan(cursor, self.keys.records, SCAN_KEYS, "HASH")
                    for key in keys:
                        schema = await node.hget(key, "schema")
                        if schema is not None and schema.isdigit():
                            return bytes(schema)
                    if not cursor:
                        return None
        except TimeoutError:
            return None

    async def _read_value(self, key: str) -> bytes | None:
        found: Any = await self._ask(lambda: self._redis.get(key), about=key)
        return None if found is None else bytes(found)

    async def get(self, name: str) -> bytes | None:
        """One command."""
        return await self._read_value(self.keys.value(name))

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        """One script."""
        arguments = [int(old is not None), old or b"", int(new is not None), new or b"", ttl_s]
        return bool(await self._run("compare_and_set", [self.keys.value(name)], arguments))
