"""Whether the store is fit for this pod's calls.

Looked at when the pod starts, and now and then: a failover, or an operator, may bring another one.
"""

from __future__ import annotations

import structlog

from voice_agent.errors import StoreError, StoreUnfit
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store

LOOK_AGAIN_S = 60.0

log = structlog.get_logger(__name__)


class StoreFitness:
    """One line in the log when what speaks against the store changes, and one when nothing does any more."""

    def __init__(self, store: Store, clock: Clock, calls: int) -> None:
        """`calls`: how many the pod takes at once."""
        self._store = store
        self._clock = clock
        self._calls = calls
        self._told: list[str] = []
        self._next_s = float("-inf")

    async def begin(self) -> None:
        """When the pod starts. Raises `StoreUnfit`; what else is wrong with the store, heartbeats will tell."""
        try:
            await self.look()
        except StoreUnfit:
            raise
        except StoreError as error:
            log.debug("the store did not say how it is", error=str(error))

    async def look(self) -> None:
        """Now. Raises `StoreUnfit` if it cannot keep calls at all, else another `StoreError`."""
        self._next_s = self._clock.monotonic_s() + LOOK_AGAIN_S
        found = await self._store.shortcomings(self._calls)
        if found and found != self._told:
            log.warning("the store is not as calls need it", store=self._store.kind, why="; ".join(found))
        elif self._told and not found:
            log.info("the store is as calls need it", store=self._store.kind)
        self._told = found

    async def look_again(self) -> None:
        """If it is time. What is found then ends no pod. Raises `StoreError`."""
        if self._clock.monotonic_s() < self._next_s:
            return
        try:
            await self.look()
        except StoreUnfit as error:
            if self._told != [str(error)]:
                log.warning("the store is not as calls need it", store=self._store.kind, why=str(error))
            self._told = [str(error)]

    def is_another(self) -> None:
        """The store was away: it may be another server now."""
        self._next_s = float("-inf")
