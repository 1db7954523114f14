"""A pod's name is its own, even where two were given the same one.

Containers that share the network of their host are all ``<host>-1``; under one name two pods would be one heartbeat,
and each would take the other's calls for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from app.errors import StoreError
from app.stores.base import Store

RESERVED_S = 10
"""How long a name is kept for a pod that starts; by then its heartbeat shows it."""
SUFFIX_BYTES = 3

log = structlog.get_logger(__name__)


class OwnName:
    """The name of one process. `instance` is unique to it."""

    def __init__(self, store: Store, instance: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._store = store
        self._instance = instance
        self._random_bytes = random_bytes
        self._reserved: list[str] = []

    async def choose(self, wanted: str, parts: Callable[[str], Iterable[str]] = lambda name: (name,)) -> str:
        """`wanted`, or with a random suffix if a living pod has it; without a store it stays.

        `parts` are the names of the pods under a name: one, or one for each worker. A pod that died is taken for
        living until its heartbeat runs out.
        """
        name = wanted
        try:
            while not await self._is_free(list(parts(name))):
                name = f"{wanted}-{self._random_bytes(SUFFIX_BYTES).hex()}"
        except StoreError:
            return name
        if name != wanted:
            log.warning("another pod has this name", wanted=wanted, taken=name)
        return name

    async def _is_free(self, names: list[str]) -> bool:
        living = {beat.name for beat in await self._store.pods()}
        if not living.isdisjoint(names):
            return False
        for name in names:
            if not await self._store.swap_note(f"name:{name}", None, self._instance, ttl_s=RESERVED_S):
                return False
            self._reserved.append(name)
        return True

    async def give_back(self) -> None:
        """The pod has left: its name is free at once."""
        try:
            for name in self._reserved:
                await self._store.swap_note(f"name:{name}", self._instance, None, ttl_s=RESERVED_S)
        except StoreError:
            return  # It runs out.
