"""Whose a call is, as far as one pod can tell.

A pod that takes a call up again asks the store, whose answer is final. It may have the
call in memory too, and that may be newer or older than what the store holds::

    the store says                 in memory, epoch e               not in memory
    ───────────────────────────────────────────────────────────────────────────────
    claimed under e+1              memory goes on: no other owner   snapshot
    claimed under e+2 or more      snapshot: others had it since    snapshot
    unknown (it lost the call)     memory goes on, and is written   refused
    nothing (it is down)           memory, if surely the newest     refused for now
"""

from __future__ import annotations

from voice_agent.call.record import Call, Status


def is_next_claim(call: Call, claimed_epoch: int) -> bool:
    """Whether memory knows all that the store knows: the claim just made is the next after this pod's own."""
    return claimed_epoch == call.epoch + 1 and call.status is not Status.ENDED


def is_surely_newest(call: Call, *, given_up_at_ms: int, last_event: int | None) -> bool:
    """Whether a call may go on from memory although the store, given up at a time, cannot say whose it is.

    Only for a caller who was attached here when the store went down, or still is, and has seen nothing
    but what this pod has shown: one that was on another pod meanwhile has seen what this pod does not know.
    """
    if call.status is Status.ENDED:
        return False
    if call.status is Status.PARKED and call.left_at_ms < given_up_at_ms:
        return False
    return last_event is None or last_event <= call.outbox.sent_seq


def resume_kind(call: Call, *, previous_status: str, previous_owner: str, pod: str) -> str:
    """Why a call had to be resumed: ``handoff``, ``crash`` (of another pod) or ``drop`` (of the connection)."""
    if call.handed_off:
        return "handoff"
    return "crash" if previous_status == Status.ATTACHED and previous_owner != pod else "drop"
