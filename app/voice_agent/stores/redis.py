"""Call state in Redis or Valkey: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`.

The verbs of a store are in `redis_calls` and `redis_fleet`, how they are asked in `redis_client`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from redis.asyncio.sentinel import SentinelConnectionPool

from voice_agent.errors import StoreRefused, StoreUnfit
from voice_agent.stores.base import StoreMemory
from voice_agent.stores.redis_calls import RedisCalls
from voice_agent.stores.redis_errors import without_password
from voice_agent.stores.redis_fitness import COMMANDS, Facts, facts_of, lack, shortcomings
from voice_agent.stores.redis_fleet import RedisFleet


class RedisStore(RedisCalls, RedisFleet):
    """One pool of connections; every method is at most one round trip, but where a script has to be loaded."""

    needs_limit = True
    """Whether the server should have a memory limit of its own."""

    @property
    def kind(self) -> str:
        """``redis`` or ``sentinel``."""
        return "sentinel" if "+sentinel://" in self._url.lower() else "redis"

    async def open(self) -> None:
        """Check that the server answers and runs scripts."""
        await self.ping()

    async def close(self) -> None:
        """Give the connections back."""
        pool = self._redis.connection_pool
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()

    async def ping(self) -> None:
        """One round trip."""
        await self._ask(self._redis.ping)

    async def memory(self) -> StoreMemory | None:
        """One INFO."""
        info: Any = await self._ask(lambda: self._redis.info("memory"))
        return StoreMemory(int(info["used_memory"]), int(info.get("maxmemory", 0)))

    async def shortcomings(self, calls: int) -> list[str]:
        """INFO, CONFIG GET and COMMAND INFO of every server that takes writes; what is not allowed is not known."""
        found: dict[str, None] = {}
        for node in await self._servers():
            facts = await self._facts(node)
            if lacking := lack(facts):
                raise StoreUnfit(f"the store at {without_password(self._url)} cannot keep calls: {lacking}")
            found.update(dict.fromkeys(shortcomings(facts, calls, needs_limit=self.needs_limit)))
        return list(found)

    async def _facts(self, node: Any) -> Facts:
        info = await self._if_allowed(node.info)
        config = await self._if_allowed(partial(node.config_get, "maxmemory*", "save"))
        commands = await self._if_allowed(partial(node.execute_command, "COMMAND INFO", *COMMANDS))
        return facts_of(info or {}, config or {}, commands or ())

    async def _if_allowed(self, question: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._ask(question)
        except StoreRefused:
            return None
