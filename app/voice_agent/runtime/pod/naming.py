"""A pod's name is its own, even where two were given the same one.

Containers that share the network of their host are all ``<host>-1``; under one name two pods would be one heartbeat,
and each would take the other's calls for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from voice_agent.errors import StoreError
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import PodState, Store

RESERVED_S = 10
"""How long a name is kept for a pod that starts; by then its heartbeat shows it."""
LONGEST_WAIT_S = RESERVED_S + 1.0
"""How long a pod waits for a name whose holder gives no sign of life: one that was killed is forgotten by then."""
LOOK_S = 0.25
SUFFIX_BYTES = 3

log = structlog.get_logger(__name__)


class OwnName:
    """The name of one process. `instance` is unique to it."""

    def __init__(self, store: Store, instance: bytes, random_bytes: Callable[[int], bytes], clock: Clock) -> None:
        self._clock = clock
        self._store = store
        self._instance = instance
        self._random_bytes = random_bytes
        self._reserved: list[str] = []

    async def choose(self, wanted: str, parts: Callable[[str], Iterable[str]] = lambda name: (name,)) -> str:
        """`wanted`, or with a random suffix if a living pod has it; without a store it stays.

        `parts` are the names of the pods under a name: one, or one for each worker. A pod that is started again after
        it was killed keeps its name: it waits until its former heartbeat runs out, or another one comes.
        """
        name = wanted
        try:
            if not await self._becomes_free(list(parts(name))):
                name = f"{wanted}-{self._random_bytes(SUFFIX_BYTES).hex()}"
                await self._is_free(list(parts(name)))
        except StoreError:
            return name
        if name != wanted:
            log.warning("another pod has this name", wanted=wanted, taken=name)
        return name

    async def _becomes_free(self, names: list[str]) -> bool:
        """Whether nobody has the names, or nobody any more who was there; False once one of them is heard of."""
        before = await self._heartbeats(names)
        until_s = self._clock.monotonic_s() + LONGEST_WAIT_S
        while not await self._is_free(names):
            if self._clock.monotonic_s() >= until_s:
                return False
            await self._clock.sleep(LOOK_S)
            now = await self._heartbeats(names)
            if any(heartbeat != before.get(name) for name, heartbeat in now.items()):
                return False
        return True

    async def _heartbeats(self, names: list[str]) -> dict[str, int]:
        heartbeats = [
            heartbeat
            for heartbeat in await self._store.pods()
            if heartbeat.name in names and heartbeat.status != PodState.LEFT
        ]
        return {heartbeat.name: heartbeat.heartbeat_at_ms for heartbeat in heartbeats}

    async def _is_free(self, names: list[str]) -> bool:
        if await self._heartbeats(names):
            return False
        for name in names:
            if not await self._store.compare_and_set(f"name:{name}", None, self._instance, ttl_s=RESERVED_S):
                return False
            self._reserved.append(name)
        return True

    async def give_back(self) -> None:
        """The pod has left: its name is free at once."""
        with suppress(StoreError):  # It runs out.
            for name in self._reserved:
                await self._store.compare_and_set(f"name:{name}", self._instance, None, ttl_s=RESERVED_S)
