"""How a call ended, for a client that comes back and has not seen it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voice_agent.call.event_ids import event_id


def ending(record: Mapping[str, bytes]) -> dict[str, Any]:
    """``outcome`` of an ended call's record, ``last_event_id``, and ``transfer`` where the client is to call somebody.

    That is what its last event, ``call.transfer``, says, of which the number is the last one. A damaged record tells
    as much as it holds.
    """
    told: dict[str, Any] = {"outcome": record.get("outcome", b"").decode(errors="replace")}
    seq = record.get("seq") or b"0"
    if seq.isdigit():
        told["last_event_id"] = event_id(int(seq))
    if target := record.get("transfer", b"").decode(errors="replace"):
        told["transfer"] = {"target": target}
    return told


def transfer_event(refusal: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last event of a call that was transferred, from the ``error`` of a resume's 410; None of any other."""
    transfer, last = refusal.get("transfer"), refusal.get("last_event_id")
    target = transfer.get("target") if isinstance(transfer, dict) else None
    if not isinstance(target, str) or not isinstance(last, str):
        return None
    return {"event_id": last, "type": "call.transfer", "target": target}
