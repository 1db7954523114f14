"""How a call begins in the memory of its owner: it is made, or it is what the store holds of it.

A beginning holds all that comes from outside: settings, the time, and the ids that chance gave. So the same beginning
and the same inputs after it always give the same call (see `recording`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call import agent_events, metering
from voice_agent.call.agent_ledger import AgentLedger, EventKind
from voice_agent.call.changes import Snapshot
from voice_agent.call.ids import IdSequence
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.record import CallRecord, Identity
from voice_agent.call.restoring import restore
from voice_agent.call.schema import READS_SCHEMAS, SCHEMA
from voice_agent.call.session_config import SessionConfig, new_session
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.status import Lifecycle, Status
from voice_agent.call.stored_record import StoredRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMade:
    """A new call. `claim` names its first ownership."""

    call_id: str
    claim: str
    owner: str
    color: str
    model: str
    voice: str
    created_at_ms: int
    expires_at_s: int
    outbox_bytes: int
    checkpoint_ms: int
    mirror: bool = False
    api_key_hash: str = ""
    call_key_hash: str = ""
    caller: dict[str, Any] = field(default_factory=dict)
    """See `Identity.caller`; of `MAX_CALLER_BYTES` at most."""
    resumable: bool = False
    schema: int = SCHEMA
    turn_detection: str = "server_vad"
    """Which the session begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallClaimed:
    """A call that the store handed over under `epoch`."""

    snapshot: Snapshot
    epoch: int
    outbox_bytes: int
    checkpoint_ms: int
    schemas: tuple[int, int] = READS_SCHEMAS
    """The oldest and the newest that the pod reads."""


Beginning = CallMade | CallClaimed


def begin(beginning: Beginning) -> CallRecord:
    """The call; one that was claimed says when its client was left alone. Raises `RecordUnreadable`."""
    return _made(beginning) if isinstance(beginning, CallMade) else _claimed(beginning)


def _made(made: CallMade) -> CallRecord:
    call = CallRecord(
        call_id=made.call_id,
        identity=Identity(
            model=made.model,
            created_at_ms=made.created_at_ms,
            mirror=made.mirror,
            api_key_hash=made.api_key_hash,
            call_key_hash=made.call_key_hash,
            caller=made.caller,
        ),
        owner=Owner(1, made.owner, made.color, made.claim),
        ids=IdSequence.of(made.call_id),
        session=SessionConfig(
            new_session(
                made.call_id,
                made.model,
                made.voice,
                expires_at_s=made.expires_at_s,
                turn_detection=made.turn_detection,
            )
        ),
        outbox=Outbox(made.outbox_bytes),
        speech=SpeechLog(made.checkpoint_ms),
        record=StoredRecord(made.schema, write_whole=True),
        lifecycle=Lifecycle(resumable=made.resumable),
    )
    if not made.mirror:
        call.agent = AgentLedger()
        agent_events.queue(call, EventKind.STARTED, made.created_at_ms, {"resumed": False})
    return call


def _claimed(claimed: CallClaimed) -> CallRecord:
    call = restore(
        claimed.snapshot,
        epoch=claimed.epoch,
        outbox_bytes=claimed.outbox_bytes,
        checkpoint_ms=claimed.checkpoint_ms,
        schemas=claimed.schemas,
    )
    # A pod that died could not say when its caller was left alone: at its last write they still spoke.
    fields = claimed.snapshot.fields
    call.lifecycle.left_at_ms = call.lifecycle.left_at_ms or int(fields.get("updated_at_ms", b"0"))
    if call.lifecycle.status is Status.ENDED:
        return call
    metering.take_over(call)
    if not call.identity.mirror:
        call.agent = call.agent or AgentLedger()
        agent_events.take_over(call, int(fields.get("claimed_at_ms") or fields.get("updated_at_ms", b"0")))
    return call
