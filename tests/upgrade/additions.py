"""What the release after this one adds to calls must stay there, whoever writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import redis.asyncio as redis

from tests.upgrade.releases import ADDED, added_to
from voice_agent.call.status import Status
from voice_agent.stores.redis_keys import Keys


class Additions:
    """Looks at calls in a store now and then."""

    def __init__(self, url: str) -> None:
        self.gone: list[str] = []
        """A sentence each."""
        self._redis: Any = redis.Redis.from_url(url)
        self._keys = Keys()
        self._known: dict[str, set[str]] = defaultdict(set)
        """By call, where something was added: ids of items, "" for the record."""

    @property
    def seen(self) -> int:
        """In how many places."""
        return sum(map(len, self._known.values()))

    async def look(self, call_ids: Iterable[str]) -> None:
        """Compare calls with how they were. One that has ended keeps what belongs to what was said, no more."""
        for call_id in call_ids:
            record, items, *_ = self._keys.of_call(call_id)
            status, added = await self._redis.hmget(record, "status", ADDED)
            if status in (None, Status.ENDED.encode()):
                continue
            held = {item_id.decode(): packed for item_id, packed in (await self._redis.hgetall(items)).items()}
            now = added_to({} if added is None else {ADDED: added}, held)
            known = self._known[call_id]
            for place in sorted(known - now):
                if not place or place in held:
                    self.gone.append(f"{call_id}: what was added to {place or 'the record'} is gone")
                known.discard(place)
            known |= now

    async def close(self) -> None:
        """Give the connection back."""
        await self._redis.aclose()
