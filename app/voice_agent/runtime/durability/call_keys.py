"""Which call a call key stands for, as the store says; the binding runs out unless it is made again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import repeat
from math import inf

from voice_agent.call.record import CallRecord
from voice_agent.errors import StoreError
from voice_agent.retry import retry
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.stores.base import Store

KEEP_AGAIN_S = 1.0
"""How long after a binding that the store did not take it is tried again."""


class CallKeys:
    """One pod's view of all call keys; they are known by their hashes."""

    def __init__(self, store: Store, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._keeping: dict[str, asyncio.Task[None]] = {}

    async def find(self, call_key_hash: str) -> str | None:
        """The call's id; None: the key stands for none. Raises `StoreError`."""
        return await self._store.find_call_key(call_key_hash)

    async def bind(self, call: CallRecord, *, instead_of: str | None) -> str:
        """Have a call's key stand for it, unless it stands for a call other than `instead_of` by now.

        Returns for which call it stands from now on. Raises `StoreError`: it is not known for which.
        """
        return await self._store.bind_call_key(call.identity.call_key_hash, call.call_id, instead_of=instead_of)

    def keep(self, call: CallRecord, is_ours: Callable[[], bool]) -> None:
        """Bind a call's key to it again, in a task that waits out an outage while the call `is_ours`."""
        if call.call_id not in self._keeping:
            self._keeping[call.call_id] = asyncio.create_task(self._keep(call, is_ours))

    async def _keep(self, call: CallRecord, is_ours: Callable[[], bool]) -> None:
        async def bind() -> None:
            if is_ours():
                await self._store.bind_call_key(call.identity.call_key_hash, call.call_id)

        try:
            await retry(
                bind,
                repeat(KEEP_AGAIN_S),
                for_s=lambda error: inf if isinstance(error, StoreError) else 0.0,
                now_s=self._clock.monotonic_s,
                sleep=self._clock.sleep,
                on_failure=lambda error: self._observer.store_failed("bind_call_key"),
            )
        finally:
            del self._keeping[call.call_id]
