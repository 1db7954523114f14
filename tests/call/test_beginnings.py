"""A call begins as it was made, or as the store held it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.call.calls import CALL_ID, append, feed, new_call, stored
from voice_agent.call.beginnings import CallClaimed, CallMade, begin
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import ConnectionLost, EndCall, TakeWrite
from voice_agent.call.ownership import Owner
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.errors import RecordUnreadable

MADE = CallMade(
    call_id=CALL_ID,
    claim="first",
    owner="pod-a",
    color="blue",
    model="echo",
    voice="ash",
    created_at_ms=5,
    expires_at_s=9,
    outbox_bytes=1000,
    checkpoint_ms=100,
    api_key_hash="key",
    resumable=True,
)


def claimed(snapshot: Snapshot) -> CallRecord:
    return begin(CallClaimed(snapshot=snapshot, epoch=7, outbox_bytes=1000, checkpoint_ms=100))


def test_a_new_call_is_all_that_was_asked_for() -> None:
    """Settings, time and chance come from outside; it is written whole, by the pod that made it."""
    call = begin(MADE)
    assert (call.call_id, call.owner) == (CALL_ID, Owner(1, "pod-a", "blue", "first"))
    assert (call.identity.model, call.identity.created_at_ms) == ("echo", 5)
    assert (call.speech.checkpoint_ms, call.lifecycle.resumable) == (100, True)
    assert call.session.fields["audio"]["output"]["voice"] == "ash"
    assert call.session.fields["expires_at"] == 9
    assert call.record.write_whole
    assert begin(replace(MADE, mirror=True)).identity.mirror


def test_a_claimed_call_was_left_when_it_was_written_last_unless_it_says_when() -> None:
    """A pod that died could not say when its client was left alone."""
    call = new_call()
    assert call.lifecycle.status is Status.ATTACHED
    call.record.write_whole = True
    snapshot = stored(call)
    snapshot.fields["updated_at_ms"] = b"77"
    assert (claimed(snapshot).lifecycle.left_at_ms, claimed(snapshot).owner.epoch) == (77, 7)
    feed(call, *append(), ConnectionLost(hung_up=False), now_ms=50)
    call.record.write_whole = True
    assert claimed(stored(call)).lifecycle.left_at_ms == 50


def test_a_record_that_cannot_be_read_begins_no_call() -> None:
    """It is said so, and the record stays as it is."""
    feed(new_call(), TakeWrite())
    with pytest.raises(RecordUnreadable):
        claimed(Snapshot({}, {}, [], []))


def test_who_calls_is_the_same_on_every_pod_until_the_call_ends() -> None:
    """It stands in the record, and goes from it with what was said."""
    caller = {"number": "+4930123", "query": {"lang": "de"}, "headers": {}}
    call = begin(replace(MADE, caller=caller))
    assert call.identity.caller == caller
    assert claimed(stored(call)).identity.caller == caller
    feed(call, EndCall("admin"), now_ms=50)
    call.record.write_whole = True
    assert b"+4930123" not in b"".join(stored(call).fields.values())
    nobody = new_call()
    nobody.record.write_whole = True
    assert claimed(stored(nobody)).identity.caller == {}


def test_a_call_that_has_ended_begins_without_anything_to_be_handled() -> None:
    """A resume that comes too late is told so, and no agent is started for it."""
    call = begin(MADE)
    feed(call, EndCall("admin"), now_ms=50)
    late = begin(CallClaimed(snapshot=stored(call), epoch=7, outbox_bytes=1000, checkpoint_ms=100))
    assert late.lifecycle.status is Status.ENDED
    assert late.agent is None
