"""A call as an operator reads it: its record and its transcript."""

from __future__ import annotations

from typing import Any

from voice_agent.call.changes import Snapshot
from voice_agent.call.codec import epoch_of, keeps_what_was_said, restore
from voice_agent.call.record import Call


def describe(source: Call | Snapshot) -> dict[str, Any]:
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
        "model": call.model,
        "status": call.status.value,
        "outcome": call.outcome or None,
        "owner": call.owner,
        "color": call.color,
        "epoch": call.epoch,
        "events": call.seq,
        "turns": call.turns,
        "resumable": call.resumable,
        "started_at_ms": call.created_at_ms,
        "left_at_ms": call.left_at_ms or None,
        "ended_at_ms": call.ended_at_ms or None,
        "session": call.session if is_kept else None,
        "agent_state": call.agent_state if is_kept else None,
        "transcript": [_line(item) for item in call.conversation.items()],
    }


def _line(item: Any) -> dict[str, Any]:
    said = [part.get("transcript") or part.get("text") for part in item.get("content", ())]
    line: dict[str, Any] = {"id": item["id"], "type": item["type"], "status": item.get("status")}
    if item["type"] == "message":
        return line | {"role": item["role"], "text": " ".join(filter(None, said))}
    return line | {key: item[key] for key in ("name", "call_id", "arguments", "output") if key in item}
