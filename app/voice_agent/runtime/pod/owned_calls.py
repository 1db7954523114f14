"""The calls that this pod owns: here they come, here they go, and so here they count against their key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from weakref import WeakValueDictionary

from voice_agent.call.beginnings import Beginning
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.kit.agent import Agent
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.call_keys import CallKeys
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.ended import EndedCalls
from voice_agent.runtime.pod.options import CallSettings, PodPorts
from voice_agent.runtime.pod.quota import KeyQuota


class OwnedCalls:
    """A pod's calls in memory, attached or parked, by id."""

    def __init__(
        self,
        by_id: dict[str, LiveCall],
        ports: PodPorts,
        committer: Committer,
        budget: Budget,
        quota: KeyQuota,
        settings: CallSettings,
    ) -> None:
        """`by_id` is empty, and changed by this object alone; the committer reads it."""
        self.by_id = by_id
        self.ended = EndedCalls()
        """Those whose conversation the store still keeps."""
        self.call_keys = CallKeys(ports.store, ports.clock, ports.observer)
        self._ports = ports
        self._committer = committer
        self.budget = budget
        self._quota = quota
        self._settings = settings
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __iter__(self) -> Iterator[LiveCall]:
        """All that are here now, whatever becomes of them meanwhile."""
        return iter(list(self.by_id.values()))

    def get(self, call_id: str) -> LiveCall | None:
        """The call of an id, if this pod has it."""
        return self.by_id.get(call_id)

    def has(self, live: LiveCall) -> bool:
        """Whether this very call is here still, and not gone or in the place of another one."""
        return self.by_id.get(live.call.call_id) is live

    def attached(self) -> list[LiveCall]:
        """Those that have a connection."""
        return [live for live in self if live.connection is not None]

    def parked(self) -> list[LiveCall]:
        """Those whose connection broke and whose resume window runs."""
        return [live for live in self if live.call.lifecycle.status is Status.PARKED]

    def lock(self, call_id: str) -> asyncio.Lock:
        """Held by whoever takes a call over, or lets it go from memory: one at a time."""
        return self._locks.setdefault(call_id, asyncio.Lock())

    def add(self, call: CallRecord, beginning: Beginning, agent: Agent) -> LiveCall:
        """From now on this pod has the call, which has just begun, in place of another one with its id."""
        live = LiveCall(
            call,
            agent,
            self._committer,
            self._ports.clock,
            self._ports.observer,
            self._forget,
            holder=self.budget.holder(call.identity.api_key_hash),
            max_audio_bytes=self._settings.max_audio_bytes,
        )
        live.record(self._ports.recordings, beginning)
        self.by_id[call.call_id] = live
        self._quota.add(call.call_id, call.identity.api_key_hash)
        live.memory.update()
        return live

    async def change_agent(self, agent: Agent) -> None:
        """Have all calls that are under an agent of this name go on under this one."""
        for live in self:
            old = live.responder.agent
            if old.name != agent.name or old is agent:
                continue
            async with self.lock(live.call.call_id):
                if self.has(live):
                    live.change_agent(agent)

    def _forget(self, live: LiveCall) -> None:
        if self.has(live):
            call = live.call
            del self.by_id[call.call_id]
            self._quota.remove(call.identity.api_key_hash)
            if call.lifecycle.status is Status.ENDED:
                until_s = self._ports.clock.monotonic_s() + self._ports.store.retention_s
                self.ended.add(call.call_id, call.identity.api_key_hash, call.conversation.packed_bytes, until_s)

    def keep_key(self, live: LiveCall) -> None:
        """Bind a call's key to it again, so that it lives as long as the call; waits out an outage."""
        live.writer.key_kept_at_s = self._ports.clock.monotonic_s()
        self.call_keys.keep(live.call, lambda: self.has(live))

    async def end(self, live: LiveCall, outcome: str) -> None:
        """End a call, and return once that is written."""
        live.finish(outcome)
        await self._committer.flush(live.writer)

    async def unload(self, live: LiveCall) -> None:
        """Let a parked call go from memory; the store keeps it. Does nothing if its caller comes back meanwhile."""
        call = live.call
        async with self.lock(call.call_id):
            if call.lifecycle.status is not Status.PARKED or self._committer.lacks(live.writer):
                return
            await live.stop_work()
            await self._committer.flush(live.writer)
            if call.lifecycle.status is not Status.PARKED:
                return  # Its window ended meanwhile, which is yet to be written.
            if self._committer.lacks(live.writer):
                live.resume_work()
            else:
                live.writer.fence()
                until_ms = call.lifecycle.left_at_ms + self._settings.resume_window_s * 1000
                self._quota.unload(call.call_id, call.identity.api_key_hash, until_ms)
                live.memory.release()
                self._forget(live)
