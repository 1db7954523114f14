"""Becoming the owner of a call: making a new one, or taking one over.

A take-over is one round trip to the store, which adds one to the epoch and hands back
everything it holds. If this pod has the call in memory and nobody else owned it in
between, memory wins, for it may know more than the store; else the snapshot does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from voice_agent.agents.base import Agent
from voice_agent.call.codec import READS_SCHEMAS, restore
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import is_surely_newest, nobody_had_it_since, resume_kind
from voice_agent.call.record import Call, Status
from voice_agent.call.session_config import new_session
from voice_agent.errors import ConnectionRefused, RecordUnreadable, StoreError
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission, new_call_id, record_unreadable, store_failed, unavailable
from voice_agent.runtime.pod.ended import EndedCalls
from voice_agent.runtime.ports import Clock, Observer, ResumeCall, StartCall
from voice_agent.stores.base import Claim, Claimed, NotClaimed, Store

KEEP_KEY_AGAIN_S = 1.0
LONG_CONVERSATION = 500
"""Items of a call that is read in a thread: twenty thousand take as long to read as other calls may have to wait."""

log = structlog.get_logger(__name__)


class Agents(Protocol):
    """Where agents come from."""

    def agent(self, model: str) -> Agent:
        """The agent that answers to `model`; raises `ConnectionRefused` (400) for an unknown one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What a pod's calls have in common."""

    pod: str
    color: str
    voice: str = "alloy"
    ttl_s: int = 1800
    resume_window_s: int = 120
    max_call_s: int = 3600
    idle_timeout_s: float = 0
    checkpoint_ms: int = 200
    outbox_bytes: int = 1024 * 1024
    max_audio_bytes: int = 15 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ResumedCall:
    """A call taken over, and what its record said before."""

    live: LiveCall
    kind: str
    """handoff, drop or crash."""
    left_at_ms: int
    """When the old connection was last known to work."""


class Ownership:
    """Makes and takes over calls; keeps the pod's calls by id."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        committer: Committer,
        clock: Clock,
        observer: Observer,
        settings: CallSettings,
        random_bytes: Callable[[int], bytes],
        admission: Admission,
        revoked: frozenset[str],
        budget: Budget,
    ) -> None:
        """`revoked`: hashes of API keys whose calls nobody may take up again."""
        self._budget = budget
        self.calls: dict[str, LiveCall] = {}
        self.ended = EndedCalls()
        """Those whose conversation the store still keeps."""
        self._store = store
        self._agents = agents
        self._committer = committer
        self._clock = clock
        self._observer = observer
        self._settings = settings
        self._random_bytes = random_bytes
        self._admission = admission
        self._revoked = revoked
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._taking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def make(self, request: StartCall) -> LiveCall:
        """A new call, durable before anybody hears of it; while the store is away, from memory."""
        agent = self._agents.agent(request.model)
        settings = self._settings
        now_ms = self._clock.wall_ms()
        call_id = new_call_id(self._random_bytes)
        model = request.model or agent.name
        expires_at_s = now_ms // 1000 + settings.max_call_s
        call = Call(
            call_id=call_id,
            epoch=1,
            owner=settings.pod,
            color=settings.color,
            model=model,
            session=new_session(call_id, model, settings.voice, expires_at_s=expires_at_s),
            outbox=Outbox(settings.outbox_bytes),
            created_at_ms=now_ms,
            mirror=agent.mirrors,
            checkpoint_ms=settings.checkpoint_ms,
            api_key_hash=request.api_key_hash,
            call_key_hash=request.call_key_hash or "",
            resumable=request.resumable,
            write_whole=True,
            claim=self._claim_name(),
        )
        live = self._keep(call, agent)
        try:
            await self._committer.flush(live)
        except BaseException:
            # Nobody will ever hear of it: it must not count as a call until it is too old.
            live.finish("unused")
            raise
        return live

    def _keep(self, call: Call, agent: Agent) -> LiveCall:
        live = LiveCall(
            call,
            agent,
            self._committer,
            self._clock,
            self._observer,
            self._forget,
            holder=self._budget.holder(call.api_key_hash),
            max_audio_bytes=self._settings.max_audio_bytes,
        )
        self.calls[call.call_id] = live
        self._admission.quota.add(call.call_id, call.api_key_hash)
        live.weigh_again()
        return live

    def _claim_name(self) -> str:
        return self._random_bytes(12).hex()

    def _forget(self, live: LiveCall) -> None:
        if self.calls.get(live.call.call_id) is live:
            call = live.call
            del self.calls[call.call_id]
            self._admission.quota.remove(call.api_key_hash)
            if call.status is Status.ENDED:
                until_s = self._clock.monotonic_s() + self._store.retention_s
                self.ended.add(call.call_id, call.api_key_hash, call.conversation.packed_bytes, until_s)

    def keep_key(self, live: LiveCall) -> None:
        """Bind a call's key to it again, so that it lives as long as the call; waits out an outage."""
        live.key_kept_at_s = self._clock.monotonic_s()
        if live.call.call_id not in self._keeping:
            self._keeping[live.call.call_id] = asyncio.create_task(self._keep_key(live))

    async def _keep_key(self, live: LiveCall) -> None:
        call = live.call
        try:
            while self.calls.get(call.call_id) is live:
                try:
                    await self._store.bind_call_key(call.call_key_hash, call.call_id)
                    return
                except StoreError:
                    self._observer.store_failed("bind_call_key")
                    await self._clock.sleep(KEEP_KEY_AGAIN_S)
        finally:
            del self._keeping[call.call_id]

    async def unload(self, live: LiveCall) -> None:
        """Let a parked call go from memory; the store keeps it. Does nothing if its caller comes back meanwhile."""
        call = live.call
        async with self._taking.setdefault(call.call_id, asyncio.Lock()):
            if call.status is not Status.PARKED or self._committer.lacks(live):
                return
            await live.stop_work()
            await self._committer.flush(live)
            if call.status is not Status.PARKED:
                return  # Its window ended meanwhile, which is yet to be written.
            if self._committer.lacks(live):
                live.start_what_was_under_way()
            else:
                live.is_fenced = True
                until_ms = call.left_at_ms + self._settings.resume_window_s * 1000
                self._admission.quota.unload(call.call_id, call.api_key_hash, until_ms)
                live.holder.release()
                self._forget(live)

    async def discard(self, live: LiveCall) -> None:
        """Undo `make` for a call that nobody will use."""
        await self._end(live, "unused")

    async def _end(self, live: LiveCall, outcome: str) -> None:
        live.finish(outcome)
        await self._committer.flush(live)

    async def take_over(
        self, call_id: str, request: StartCall | ResumeCall, *, api_key_hash: str | None
    ) -> ResumedCall | NotClaimed:
        """Own a call that exists. Raises `ConnectionRefused`: 503 if the store cannot say, or the caller has left.

        401 if the API key of the call's record was revoked: the call ends then, on whichever pod it was.
        """
        taken = await self._take_over(call_id, request, api_key_hash)
        if isinstance(taken, ResumedCall) and taken.live.call.api_key_hash in self._revoked:
            await self._end(taken.live, "admin")
            raise ConnectionRefused(401, "revoked_api_key", "The API key of this call was revoked; the call has ended.")
        return taken

    async def _take_over(
        self, call_id: str, request: StartCall | ResumeCall, api_key_hash: str | None
    ) -> ResumedCall | NotClaimed:
        lock = self._taking.setdefault(call_id, asyncio.Lock())
        async with lock:
            held = self.calls.get(call_id)
            try:
                if held is not None:
                    await held.pause_writes()
                return await self._claim(call_id, held, api_key_hash, request)
            except RecordUnreadable as error:
                why = {"schema": error.schema, "damage": error.damage}
                log.warning("the record of a call cannot be read", call_id=call_id, **why)
                raise record_unreadable(error) from error
            finally:
                if held is not None:
                    held.resume_writes()

    async def _claim(
        self, call_id: str, live: LiveCall | None, api_key_hash: str | None, request: StartCall | ResumeCall
    ) -> ResumedCall | NotClaimed:
        settings = self._settings
        # The end of a connection is noticed a turn of the loop after what was sent on it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if request.is_gone():
            raise unavailable("caller_left", "The caller left before the call was found.")
        # Asked again under its name, a claim that took effect while its answer was lost counts once.
        name = (live.call.doubted_claim if live is not None else "") or self._claim_name()
        claim = Claim(call_id, settings.pod, settings.color, self._clock.wall_ms(), api_key_hash, name, READS_SCHEMAS)
        if live is not None:
            # Whatever keeps the answer away, a cancellation too: until there is one it may have taken effect.
            live.call.doubted_claim = name
        started_s = self._clock.monotonic_s()
        try:
            claimed = await self._store.claim(claim)
        except StoreError as error:
            self._observer.store_failed("claim")
            if live is None or not self._may_go_on_unasked(live, request.last_event):
                raise store_failed(error) from error
            live.in_doubt = True
            return self._from_memory(live)
        except RecordUnreadable:
            if live is not None:
                live.call.write_whole = True  # Here is what the record lacks: the next write heals it.
            raise
        self._observer.store_call("claim", self._clock.monotonic_s() - started_s)
        if self.calls.get(call_id) is not live:
            live = None  # It ended, or was fenced, meanwhile.
        if claimed is NotClaimed.UNKNOWN and live is not None:
            live.call.own(live.call.epoch + 1, name)
            live.call.write_whole = True
            return self._from_memory(live)
        if isinstance(claimed, NotClaimed):
            return claimed
        if live is not None and nobody_had_it_since(live.call, claimed.epoch):
            live.call.own(claimed.epoch, name)
            return self._from_memory(live)
        if live is not None:
            live.superseded()
        return await self._from_snapshot(claimed)

    def _may_go_on_unasked(self, live: LiveCall, last_event: int | None) -> bool:
        """Only while the store is known to be down; else the claim may have taken effect unanswered."""
        committer = self._committer
        if not committer.degraded or self.calls.get(live.call.call_id) is not live:
            return False
        return is_surely_newest(live.call, given_up_at_ms=committer.degraded_at_ms, last_event=last_event)

    def _from_memory(self, live: LiveCall) -> ResumedCall:
        call = live.call
        return ResumedCall(live, "handoff" if call.handed_off else "drop", call.left_at_ms or self._clock.wall_ms())

    async def _from_snapshot(self, claimed: Claimed) -> ResumedCall:
        settings = self._settings
        restored = partial(
            restore,
            claimed.snapshot,
            epoch=claimed.epoch,
            outbox_bytes=settings.outbox_bytes,
            checkpoint_ms=settings.checkpoint_ms,
        )
        is_long = len(claimed.snapshot.items) > LONG_CONVERSATION
        call = await asyncio.to_thread(restored) if is_long else restored()
        # A pod that died could not say when its caller was left alone: at its last write they still spoke.
        left_at_ms = call.left_at_ms = call.left_at_ms or int(claimed.snapshot.fields.get("updated_at", b"0"))
        kind = resume_kind(
            call,
            previous_status=claimed.previous_status,
            previous_owner=claimed.previous_owner,
            pod=settings.pod,
        )
        if any(call.missing):
            log.warning("the store had lost a part of a call", call_id=call.call_id, **call.missing._asdict())
            for part, count in call.missing._asdict().items():
                if count:
                    self._observer.call_incomplete(part)
        try:
            agent = self._agents.agent(call.model)
        except ConnectionRefused as refused:
            # Not the client's mistake: another pod, of another version, may know the agent.
            raise unavailable("agent_unknown", f"This pod has no agent {call.model!r}; try again.") from refused
        live = self._keep(call, agent)
        live.start_what_was_under_way()
        return ResumedCall(live, kind, left_at_ms)

    async def start_by_key(self, request: StartCall) -> ResumedCall | LiveCall:
        """The call that a call key stands for: the one it is bound to, or a new one bound to it now.

        Two first connects at once make one call: whoever loses the race for the binding
        discards its own and takes over the winner's.
        """
        assert request.call_key_hash is not None
        try:
            bound = await self._store.find_call_key(request.call_key_hash)
        except StoreError as error:
            return self._from_memory_by_key(request, error)
        resumed = await self._resume_bound(bound, request) if bound else None
        if resumed is not None:
            return resumed
        self._admission.check_new(request.api_key_hash)
        live = await self.make(request)
        try:
            winner = await self._store.bind_call_key(request.call_key_hash, live.call.call_id, instead_of=bound)
        except StoreError:
            self.keep_key(live)
            return live
        except BaseException:
            live.finish("unused")
            raise
        if winner == live.call.call_id:
            return live
        await self.discard(live)
        resumed = await self._resume_bound(winner, request)
        if resumed is None:
            raise unavailable("call_key_changed", "The call of this call_key ended just now; connect again.")
        return resumed

    async def _resume_bound(self, call_id: str, request: StartCall) -> ResumedCall | None:
        taken = await self.take_over(call_id, request, api_key_hash=request.api_key_hash)
        if taken is NotClaimed.FOREIGN:
            raise ConnectionRefused(
                403, "foreign_call_key", "This call_key belongs to another API key.", param="call_key"
            )
        return None if isinstance(taken, NotClaimed) else taken

    def _from_memory_by_key(self, request: StartCall, error: StoreError) -> ResumedCall:
        for live in self.calls.values():
            call = live.call
            is_meant = call.call_key_hash == request.call_key_hash and call.api_key_hash == request.api_key_hash
            if is_meant and self._may_go_on_unasked(live, request.last_event):
                live.in_doubt = True
                return self._from_memory(live)
        # It may stand for a call that another pod knows: a new one now would lose that one for good.
        raise store_failed(error) from error
