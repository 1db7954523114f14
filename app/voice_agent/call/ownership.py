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

from dataclasses import dataclass

from voice_agent.call.status import Lifecycle, Status


@dataclass(slots=True)
class Owner:
    """The pod that owns a call, and by which claim."""

    epoch: int
    pod: str
    color: str
    claim: str = ""
    """Name of the claim, or of the making, by which this pod owns the call."""
    doubted_claim: str = ""
    """A later claim of this pod whose answer was lost: it may have taken effect."""

    def go_on_under(self, epoch: int, claim: str) -> None:
        """The pod has claimed the call again."""
        self.epoch, self.claim, self.doubted_claim = epoch, claim, ""


def is_next_claim(owner: Owner, lifecycle: Lifecycle, claimed_epoch: int) -> bool:
    """Whether memory knows all that the store knows: the claim just made is the next after this pod's own."""
    return claimed_epoch == owner.epoch + 1 and lifecycle.status is not Status.ENDED


def is_surely_newest(lifecycle: Lifecycle, *, sent_seq: int, given_up_at_ms: int, last_event: int | None) -> bool:
    """Whether a call may go on from memory although the store, given up at a time, cannot say whose it is.

    Only for a caller who was attached here when the store went down, or still is, and has seen nothing but what this
    pod has shown, up to the event `sent_seq`: one that was on another pod meanwhile has seen what it does not know.
    """
    if lifecycle.status is Status.ENDED:
        return False
    if lifecycle.status is Status.PARKED and lifecycle.left_at_ms < given_up_at_ms:
        return False
    return last_event is None or last_event <= sent_seq


def resume_kind(lifecycle: Lifecycle, *, previous_status: str, previous_owner: str, pod: str) -> str:
    """Why a call had to be resumed: ``handoff``, ``crash`` (of another pod) or ``drop`` (of the connection)."""
    if lifecycle.handed_off:
        return "handoff"
    return "crash" if previous_status == Status.ATTACHED and previous_owner != pod else "drop"
