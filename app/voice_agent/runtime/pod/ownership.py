"""Becoming the owner of a call: making a new one, or taking one over.

A take-over is one round trip to the store (see `durability.claims`). If this pod has the call in memory and nobody else
owned it in between, memory wins, for it may know more than the store; else the snapshot does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from voice_agent.agents.loopback import Loopback
from voice_agent.call.beginnings import CallClaimed, CallMade, begin
from voice_agent.call.inputs import ClaimGranted, WriteLost
from voice_agent.call.ownership import is_next_claim, is_surely_newest, resume_kind
from voice_agent.call.restoring import model_of
from voice_agent.errors import ConnectionRefused, RecordUnreadable, StoreError
from voice_agent.kit.agent import Agent
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.claims import Claims
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission, new_call_id, record_unreadable, store_failed, unavailable
from voice_agent.runtime.pod.options import CallSettings, PodPorts
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.base import Claimed, NotClaimed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ResumedCall:
    """A call taken over, and what its record said before."""

    live: LiveCall
    kind: str
    """handoff, drop or crash."""
    left_at_ms: int
    """When the old connection was last known to work."""


class Ownership:
    """Makes and takes over calls; those of this pod are in `OwnedCalls`."""

    def __init__(
        self,
        ports: PodPorts,
        owned: OwnedCalls,
        committer: Committer,
        admission: Admission,
        settings: CallSettings,
        revoked: frozenset[str],
    ) -> None:
        """`revoked`: hashes of API keys whose calls nobody may take up again."""
        self._ports = ports
        self._owned = owned
        self._claims = Claims(
            ports.store,
            ports.clock,
            ports.observer,
            ports.random_bytes,
            pod=settings.pod,
            color=settings.color,
            schemas=settings.reads_schemas,
        )
        self._committer = committer
        self._admission = admission
        self._settings = settings
        self._revoked = revoked

    async def make(self, request: StartCall) -> LiveCall:
        """A new call, durable before anybody hears of it; while the store is away, from memory."""
        agent = self._ports.agents.agent(request.model)
        settings = self._settings
        now_ms = self._ports.clock.wall_ms()
        made = CallMade(
            call_id=new_call_id(self._ports.random_bytes),
            claim=self._claims.new_name(),
            owner=settings.pod,
            color=settings.color,
            model=request.model or agent.name,
            voice=settings.voice,
            created_at_ms=now_ms,
            expires_at_s=now_ms // 1000 + settings.max_call_s,
            outbox_bytes=settings.outbox_bytes,
            schema=self._committer.schema,
            checkpoint_ms=settings.checkpoint_ms,
            mirror=_mirrors(agent),
            api_key_hash=request.api_key_hash,
            call_key_hash=request.call_key_hash or "",
            resumable=request.resumable,
            caller=request.caller,
            turn_detection=agent.turn_detection,
        )
        live = self._owned.add(begin(made), made, agent)
        try:
            await self._committer.flush(live.writer)
        except BaseException:
            # Nobody will ever hear of it: it must not count as a call until it is too old.
            live.finish("unused")
            raise
        return live

    async def start(self, request: StartCall) -> LiveCall:
        """A new call that has no key. Raises `ConnectionRefused` (503) if the caller has left while it was made."""
        live = await self.make(request)
        if request.is_gone():
            # Whoever waited too long has asked another pod. Nobody knows the id of this one: it would wait in vain.
            await self._owned.end(live, "unused")
            raise unavailable("caller_left", "The caller left before its call was made.")
        return live

    async def take_over(
        self, call_id: str, request: StartCall | ResumeCall, *, api_key_hash: str | None
    ) -> ResumedCall | NotClaimed:
        """Own a call that exists. Raises `ConnectionRefused`: 503 if the store cannot say, or the caller has left.

        401 if the API key of the call's record was revoked: the call ends then, on whichever pod it was.
        """
        taken = await self._take_over(call_id, request, api_key_hash)
        if isinstance(taken, ResumedCall) and taken.live.call.identity.api_key_hash in self._revoked:
            await self._owned.end(taken.live, "admin")
            raise ConnectionRefused(401, "revoked_api_key", "The API key of this call was revoked; the call has ended.")
        return taken

    async def _take_over(
        self, call_id: str, request: StartCall | ResumeCall, api_key_hash: str | None
    ) -> ResumedCall | NotClaimed:
        async with self._owned.lock(call_id):
            held = self._owned.get(call_id)
            try:
                if held is not None:
                    await held.writer.pause_writes()
                return await self._claim(call_id, held, api_key_hash, request)
            except RecordUnreadable as error:
                why = {"schema": error.schema, "damage": error.damage}
                log.warning("the record of a call cannot be read", call_id=call_id, **why)
                raise record_unreadable(error) from error
            finally:
                if held is not None:
                    held.writer.resume_writes()

    async def _claim(
        self, call_id: str, live: LiveCall | None, api_key_hash: str | None, request: StartCall | ResumeCall
    ) -> ResumedCall | NotClaimed:
        # The end of a connection is noticed a turn of the loop after what was sent on it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if request.is_gone():
            raise unavailable("caller_left", "The caller left before the call was found.")
        try:
            claimed, name = await self._claims.claim(call_id, live, api_key_hash=api_key_hash)
        except StoreError as error:
            if live is None or not self._may_go_on_unasked(live, request.last_event):
                raise store_failed(error) from error
            live.writer.in_doubt = True
            return self._from_memory(live)
        if live is not None and not self._owned.has(live):
            live = None  # It ended, or was fenced, meanwhile.
        if claimed is NotClaimed.UNKNOWN and live is not None:
            live.feed(ClaimGranted(live.call.owner.epoch + 1, name))
            live.feed(WriteLost())
            return self._from_memory(live)
        if isinstance(claimed, NotClaimed):
            return claimed
        if live is not None and is_next_claim(live.call.owner, live.call.lifecycle, claimed.epoch):
            live.feed(ClaimGranted(claimed.epoch, name))
            return self._from_memory(live)
        if live is not None:
            live.writer.superseded()
        return await self._from_snapshot(claimed)

    def _may_go_on_unasked(self, live: LiveCall, last_event: int | None) -> bool:
        """Only while the store is known to be down; else the claim may have taken effect unanswered."""
        committer = self._committer
        if not committer.degraded or not self._owned.has(live):
            return False
        return is_surely_newest(
            live.call.lifecycle,
            sent_seq=live.call.outbox.sent_seq,
            given_up_at_ms=committer.write_back.given_up_at_ms,
            last_event=last_event,
        )

    def _from_memory(self, live: LiveCall) -> ResumedCall:
        call = live.call
        left_at_ms = call.lifecycle.left_at_ms or self._ports.clock.wall_ms()
        return ResumedCall(live, "handoff" if call.lifecycle.handed_off else "drop", left_at_ms)

    async def _from_snapshot(self, claimed: Claimed) -> ResumedCall:
        settings = self._settings
        agent = self._agent_of(claimed)
        beginning = CallClaimed(
            snapshot=claimed.snapshot,
            epoch=claimed.epoch,
            outbox_bytes=settings.outbox_bytes,
            checkpoint_ms=settings.checkpoint_ms,
            schemas=settings.reads_schemas,
        )
        call = await self._claims.read(beginning)
        left_at_ms = call.lifecycle.left_at_ms
        kind = resume_kind(
            call.lifecycle,
            previous_status=claimed.previous_status,
            previous_owner=claimed.previous_owner,
            pod=settings.pod,
        )
        live = self._owned.add(call, beginning, agent)
        live.resume_work()
        return ResumedCall(live, kind, left_at_ms)

    def _agent_of(self, claimed: Claimed) -> Agent:
        model = model_of(claimed.snapshot)
        try:
            return self._ports.agents.agent(model)
        except ConnectionRefused as refused:
            # Not the client's error: another pod, of another version, may know the agent.
            raise unavailable("agent_unknown", f"This pod has no agent {model!r}; try again.") from refused

    async def start_by_key(self, request: StartCall) -> ResumedCall | LiveCall:
        """The call that a call key stands for: the one it is bound to, or a new one bound to it now.

        Two first connects at once make one call: whoever loses the race for the binding
        discards its own and takes over the winner's.
        """
        assert request.call_key_hash is not None
        try:
            bound = await self._owned.call_keys.find(request.call_key_hash)
        except StoreError as error:
            return self._from_memory_by_key(request, error)
        resumed = await self._resume_bound(bound, request) if bound else None
        if resumed is not None:
            return resumed
        self._admission.check_new(request.api_key_hash)
        live = await self.make(request)
        try:
            winner = await self._owned.call_keys.bind(live.call, instead_of=bound)
        except StoreError:
            self._owned.keep_key(live)
            return live
        except BaseException:
            live.finish("unused")
            raise
        if winner == live.call.call_id:
            return live
        await self._owned.end(live, "unused")
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
        for live in self._owned:
            known = live.call.identity
            is_meant = known.call_key_hash == request.call_key_hash and known.api_key_hash == request.api_key_hash
            if is_meant and self._may_go_on_unasked(live, request.last_event):
                live.writer.in_doubt = True
                return self._from_memory(live)
        # It may stand for a call that another pod knows: a new one now would lose that one for good.
        raise store_failed(error) from error


def _mirrors(agent: Agent) -> bool:
    return isinstance(agent, Loopback)
