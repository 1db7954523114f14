"""Ids of items and responses count up."""

from __future__ import annotations

from tests.call.calls import CALL_ID, attach, item_id, new_call, response_id
from voice_agent.call.conversation import Conversation
from voice_agent.call.ids import IdSequence


def test_ids_of_forgotten_events_are_passed_over_one_by_one() -> None:
    """No more than those: ids stay short, and an older owner's are not met."""
    ids = IdSequence.of(CALL_ID)
    ids.pass_over(3)
    assert (ids.items_made, ids.responses_made) == (3, 3)
    assert ids.new_item(Conversation()) == item_id(4)
    assert ids.new_response() == response_id(4)


def test_a_client_that_knows_more_events_makes_ids_pass_over_them() -> None:
    """The next write carries the new counts."""
    call = new_call()
    attach(call, call.outbox.seq + 3, 0, resumable=True)
    assert (call.ids.items_made, call.ids.responses_made) == (3, 3)
    assert "counts" in call.record.dirty


def test_an_id_that_a_client_has_taken_is_left_out() -> None:
    """Clients name items as they like."""
    taken = Conversation()
    taken.add({"id": item_id(1), "type": "message", "role": "user", "content": []})
    assert IdSequence.of(CALL_ID).new_item(taken) == item_id(2)
