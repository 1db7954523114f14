"""How full the store is, and what this pod does about it before writes are refused.

::

    used of maxmemory      what happens
    ─────────────────────────────────────────────────────────────────────────────────────────────
    above 80 %             calls store less (see `call.memory_pressure`), until it was below 70 % for half a minute
    above 95 %, until 90   and new calls are refused with 503 ``store_nearly_full``; those that come back never

A server that has no limit is never full. It is asked with each heartbeat, and sooner once this pod has
written a share of the limit: fifty callers who talk faster than real time fill 64 MiB within a second.
"""

from __future__ import annotations

import asyncio

import structlog

from voice_agent.runtime.ports import Clock, Observer
from voice_agent.stores.base import Store

SCARCE = 0.80
AMPLE = 0.70
AMPLE_FOR_S = 30.0
"""How long there must be memory again before calls keep more in it, so that this does not change from second to
second."""
NEARLY_FULL = (0.95, 0.90)
"""From which share on new calls are refused, and until which."""
LOOK_SHARE = 64
"""After a 64th of the limit was written, the store is asked again."""
ROUND_SHARE = 32
"""A round trip carries a 32nd of the limit at most: what is on its way takes memory, too."""
MIN_ROUND_BYTES = 256 * 1024
ANSWER_S = 1.0

log = structlog.get_logger(__name__)


class StoreMemoryWatch:
    """What is known of the store's memory."""

    def __init__(self, store: Store, clock: Clock, observer: Observer) -> None:
        self.is_scarce = False
        self.is_nearly_full = False
        self._store = store
        self._clock = clock
        self._scarce_at_s = 0.0
        """When there was less than `AMPLE` left last."""
        self._observer = observer
        self._limit_bytes = 0
        self._written_bytes = 0

    def round_bytes(self, most: int) -> int:
        """How much one round trip may carry, if it may carry `most` to a server that has memory enough."""
        return min(most, max(MIN_ROUND_BYTES, self._limit_bytes // ROUND_SHARE)) if self._limit_bytes else most

    async def wrote(self, size_bytes: int) -> None:
        """Count what was written, and look if that is much."""
        self._written_bytes += size_bytes
        if self._limit_bytes and self._written_bytes >= self._limit_bytes // LOOK_SHARE:
            await self.look()

    async def look(self) -> None:
        """Ask the store. What is known stays while it does not answer."""
        self._written_bytes = 0
        try:
            async with asyncio.timeout(ANSWER_S):
                memory = await self._store.memory()
        except Exception as error:  # noqa: BLE001 - to know is not worth a failure; writes will tell
            log.debug("the store did not say how full it is", error=str(error))
            return
        self._limit_bytes = memory.limit_bytes if memory is not None else 0
        share = memory.used_bytes / memory.limit_bytes if memory is not None and memory.limit_bytes else 0.0
        self.is_nearly_full = share > NEARLY_FULL[self.is_nearly_full]
        now_s = self._clock.monotonic_s()
        if share > AMPLE:
            self._scarce_at_s = now_s
        if share > SCARCE and not self.is_scarce:
            self.is_scarce = True
            self._observer.limit_reached("store_memory")
            log.warning("the store's memory is scarce: calls keep less in it", used_share=round(share, 2))
        elif self.is_scarce and now_s - self._scarce_at_s >= AMPLE_FOR_S:
            self.is_scarce = False
            log.info("the store has memory again", used_share=round(share, 2))
