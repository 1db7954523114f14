"""A call as an operator reads it, and erases it: its record and its transcript."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from voice_agent.call.changes import Snapshot
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import epoch_of, keeps_what_was_said, restore
from voice_agent.call.usage import UsageLedger
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.ports import Clock
from voice_agent.runtime.recordings import Recordings
from voice_agent.stores.base import Store

log = structlog.get_logger(__name__)


class CallRecords:
    """All calls of the store, on whichever pod they are; of those that this pod owns it knows best."""

    def __init__(
        self, store: Store, clock: Clock, owned: OwnedCalls, committer: Committer, recordings: Recordings
    ) -> None:
        self._recordings = recordings
        self._store = store
        self._clock = clock
        self._owned = owned
        self._committer = committer

    async def read(self, call_id: str) -> dict[str, Any] | None:
        """A call's record and transcript, from memory or from the store; None: unknown. Raises `StoreError`."""
        live = self._owned.get(call_id)
        if live is not None:
            return describe(live.call)
        snapshot = await self._store.load(call_id)
        return None if snapshot is None else describe(snapshot)

    async def erase(self, call_id: str) -> bool:
        """End a call, and erase what was said, here in its recordings too; False if there is none. Raises `StoreError`.

        Another pod learns of it with its next write, and within `upkeep.ASK_EPOCH_S` and `UPKEEP_S` of a silent call.
        """
        live = self._owned.get(call_id)
        erased = await self._store.erase(call_id, self._clock.wall_ms())
        await asyncio.wrap_future(self._recordings.erase(call_id))
        if not erased and live is not None:
            # The store has lost it, or has not got it yet, or has no memory for it.
            await self._committer.flush(live.writer)
            await self._committer.settle(live.writer)
            await self._store.erase(call_id, self._clock.wall_ms())
        elif not erased:
            return False
        log.info("call erased", call_id=call_id)
        if live is not None:
            live.writer.erased()
        return True


def describe(source: CallRecord | Snapshot) -> dict[str, Any]:
    """The record of a call, live or stored, without secrets and without audio. Raises `RecordUnreadable`.

    Of a call that has ended, its session and state are None once what was said is not kept any more.
    """
    is_kept = True
    if isinstance(source, Snapshot):
        is_kept = keeps_what_was_said(source)
        call = restore(source, epoch=epoch_of(source), outbox_bytes=0, checkpoint_ms=0)
    else:
        call = source
    return {
        "id": call.call_id,
        "model": call.identity.model,
        "status": call.lifecycle.status.value,
        "outcome": call.lifecycle.outcome or None,
        "owner": call.owner.pod,
        "color": call.owner.color,
        "epoch": call.owner.epoch,
        "events": call.outbox.seq,
        "turns": call.dialogue.turns,
        "resumable": call.lifecycle.resumable,
        "started_at_ms": call.identity.created_at_ms,
        "left_at_ms": call.lifecycle.left_at_ms or None,
        "ended_at_ms": call.lifecycle.ended_at_ms or None,
        "usage": _usage(call.usage),
        "session": call.session.fields if is_kept else None,
        "agent_state": call.dialogue.agent_state if is_kept else None,
        "transcript": [_line(item) for item in call.conversation.items()],
    }


def _usage(ledger: UsageLedger | None) -> dict[str, Any] | None:
    """None: no request to a provider was counted."""
    if ledger is None:
        return None
    return {
        "models": ledger.described(),
        "open_requests": list(ledger.open),
        "unknown_requests": ledger.unknown_ids,
    }


def _line(item: Any) -> dict[str, Any]:
    said = [part.get("transcript") or part.get("text") for part in item.get("content", ())]
    line: dict[str, Any] = {"id": item["id"], "type": item["type"], "status": item.get("status")}
    if item["type"] == "message":
        return line | {"role": item["role"], "text": " ".join(filter(None, said))}
    return line | {key: item[key] for key in ("name", "call_id", "arguments", "output") if key in item}
