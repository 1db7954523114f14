"""Whose a call is, and why it had to be resumed, as far as one pod can tell."""

from __future__ import annotations

import pytest

from tests.call.calls import feed, new_call
from voice_agent.call import inputs
from voice_agent.call.ownership import is_next_claim, is_surely_newest, resume_kind
from voice_agent.call.record import CallRecord

GIVEN_UP_MS = 5000


def left(now_ms: int, *, planned: bool = False, hung_up: bool = False) -> CallRecord:
    """A call whose connection was lost at a time."""
    call = new_call()
    feed(call, inputs.ConnectionLost(hung_up, planned), now_ms=now_ms)
    return call


@pytest.mark.parametrize(
    ("call", "status", "owner", "kind"),
    [
        (new_call(), "attached", "pod-b", "crash"),
        (new_call(), "attached", "pod-a", "drop"),
        (left(1), "parked", "pod-b", "drop"),
        (left(1), "parked", "pod-a", "drop"),
        (left(1, planned=True), "parked", "pod-b", "handoff"),
        (left(1, planned=True), "attached", "pod-b", "handoff"),
    ],
)
def test_a_resume_is_counted_by_what_made_it_necessary(call: CallRecord, status: str, owner: str, kind: str) -> None:
    """A crash is another pod's, with the caller still on it; a pod whose own caller comes back did not crash."""
    assert resume_kind(call.lifecycle, previous_status=status, previous_owner=owner, pod="pod-a") == kind


@pytest.mark.parametrize(
    ("call", "last_event", "is_newest"),
    [
        (new_call(), None, True),
        (left(GIVEN_UP_MS), None, True),
        (left(GIVEN_UP_MS - 1), None, False),
        (left(GIVEN_UP_MS, hung_up=True), None, False),
        (new_call(), 0, True),
        (new_call(), 1, False),
    ],
)
def test_memory_is_surely_newest_for_whom_nobody_else_can_have_served(
    call: CallRecord, last_event: int | None, is_newest: bool
) -> None:
    """Here when the store was given up, and with no event that this pod did not show."""
    assert is_newest is is_surely_newest(
        call.lifecycle, sent_seq=call.outbox.sent_seq, given_up_at_ms=GIVEN_UP_MS, last_event=last_event
    )


@pytest.mark.parametrize(("epoch", "is_so"), [(1, False), (2, True), (3, False)])
def test_memory_goes_on_after_the_next_epoch_and_no_later_one(epoch: int, is_so: bool) -> None:
    """Each take-over adds one; a call that has ended in memory is read from the store."""
    kept, ended = new_call(), left(1, hung_up=True)
    assert is_next_claim(kept.owner, kept.lifecycle, epoch) is is_so
    assert not is_next_claim(ended.owner, ended.lifecycle, epoch)
