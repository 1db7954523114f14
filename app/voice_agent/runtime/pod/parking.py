"""What calls without a caller may keep: parked ones in this pod's memory and in the store, ended ones in the store.

A caller who connects, says much and drops the connection, again and again, leaves a parked call each time. In memory
they may be as many as there are places, and take a quarter of the budget, their events for replay included; what
exceeds that is unloaded and stays in the store. In the store the large ones of one API key may take `STORED_BYTES`,
as far as this pod has parked them; beyond it the largest ends as abandoned. Small calls are not counted: there may be
many when a network fails. What ended calls may keep is said in `ended`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import structlog

from voice_agent.call.status import Status
from voice_agent.errors import StoreError, StoreRefused
from voice_agent.runtime.budget import FLOOR_BYTES, Budget
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.owned_calls import OwnedCalls

MEMORY_SHARE = 4
"""Parked calls take at most the budget divided by this."""
STORED_BYTES = 64 * 1024 * 1024
"""Of one API key's large parked calls: stops connect-and-drop loops from filling the store."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Unloaded:
    api_key_hash: str
    size_bytes: int
    until_s: float
    """When the store has forgotten it, if nobody has come back."""


class Parking:
    """One pod's parked calls; `enforce` is called about once a second."""

    def __init__(
        self,
        ports: PodPorts,
        owned: OwnedCalls,
        committer: Committer,
        budget: Budget,
        admission: Admission,
        *,
        ttl_s: int,
        stored_bytes: int = STORED_BYTES,
    ) -> None:
        """`ttl_s` is how long the store keeps a call that is not written."""
        self._ports = ports
        self._owned = owned
        self._committer = committer
        self._budget = budget
        self._admission = admission
        self._ttl_s = ttl_s
        self._stored_bytes = stored_bytes
        self._unloaded: dict[str, _Unloaded] = {}

    async def enforce(self) -> None:
        """Erase, end and unload what exceeds the bounds."""
        await self._bound_ended()
        await self._bound_store()
        await self._bound_memory()

    async def _bound_ended(self) -> None:
        ports, ended = self._ports, self._owned.ended
        while (call_id := ended.surplus(ports.clock.monotonic_s())) is not None:
            try:
                await ports.store.erase(call_id, ports.clock.wall_ms())
                ports.recordings.erase(call_id)
            except StoreRefused as refused:
                # Tried again and again, it would stand before all others for ever. The store lets go of it by its TTL.
                log.warning("an ended call cannot be erased", call_id=call_id, error=str(refused))
                ended.remove(call_id)
                continue
            except StoreError:
                return  # It is tried again in a second.
            ended.remove(call_id)
            ports.observer.limit_reached("ended_bytes")
            log.warning(
                "ended calls of one key take too much of the store; the oldest is erased",
                call_id=call_id,
                limit_bytes=ended.limit_bytes,
            )

    async def _bound_store(self) -> None:
        now_s = self._ports.clock.monotonic_s()
        self._unloaded = {
            call_id: unloaded
            for call_id, unloaded in self._unloaded.items()
            if unloaded.until_s > now_s and self._owned.get(call_id) is None
        }
        stored: dict[str, int] = defaultdict(int)
        for unloaded in self._unloaded.values():
            stored[unloaded.api_key_hash] += unloaded.size_bytes
        large: dict[str, list[LiveCall]] = defaultdict(list)
        for live in self._owned.parked():
            if live.memory.held_bytes > FLOOR_BYTES and not live.writer.writes_paused:
                large[live.call.identity.api_key_hash].append(live)
                stored[live.call.identity.api_key_hash] += live.memory.held_bytes
        for key, lives in large.items():
            for live in sorted(lives, key=lambda live: live.memory.held_bytes, reverse=True):
                if stored[key] <= self._stored_bytes:
                    break
                # Its client may have come back while others ended.
                if live.call.lifecycle.status is Status.PARKED and not live.writer.writes_paused:
                    stored[key] -= live.memory.held_bytes
                    await self._abandon(live)

    async def _abandon(self, live: LiveCall) -> None:
        log.warning(
            "parked calls of one key take too much of the store; the largest ends",
            call_id=live.call.call_id,
            size_bytes=live.memory.held_bytes,
            limit_bytes=self._stored_bytes,
        )
        self._ports.observer.limit_reached("parked_bytes")
        live.finish("abandoned")
        # Until the end is written, a resume would find the call parked.
        await self._committer.flush(live.writer)

    async def _bound_memory(self) -> None:
        """The largest go first, then the oldest. They can be resumed from the store until their TTL ends."""
        parked = sorted(self._owned.parked(), key=lambda live: (-_memory_bytes(live), live.call.lifecycle.left_at_ms))
        size_bytes = sum(map(_memory_bytes, parked))
        limit_bytes = self._budget.limit_bytes // MEMORY_SHARE
        while parked and size_bytes > limit_bytes:
            live = parked.pop(0)
            size_bytes -= _memory_bytes(live)
            await self._unload(live)
        surplus = len(parked) - self._admission.capacity
        for live in sorted(parked, key=lambda live: live.call.lifecycle.left_at_ms)[: max(0, surplus)]:
            await self._unload(live)

    async def _unload(self, live: LiveCall) -> None:
        size_bytes = live.memory.held_bytes
        await self._owned.unload(live)
        if size_bytes > FLOOR_BYTES and not self._owned.has(live):
            until_s = self._ports.clock.monotonic_s() + self._ttl_s
            self._unloaded[live.call.call_id] = _Unloaded(live.call.identity.api_key_hash, size_bytes, until_s)


def _memory_bytes(live: LiveCall) -> int:
    return live.memory.held_bytes + live.call.outbox.size_bytes
