"""Responses that wait until the one under way is over; of calls whose agent handles events."""

from __future__ import annotations

import pytest

from tests.call.calls import append, emitted, feed, item_id, response_id, spoken_turn, types
from tests.call.engine import done, engine_call, first, kinds, ledger_of, said, taken_over
from voice_agent.call import inputs, responses
from voice_agent.call.effects import CountLimit, DeliverEvents
from voice_agent.call.responses import MAX_LATER

OUTSIDE = inputs.CreateResponse({"conversation": "none", "metadata": {"n": "1"}})
INSIDE = inputs.CreateResponse({})


def test_a_response_outside_the_conversation_waits_for_the_one_under_way() -> None:
    """It is opened, and asked for, with the acknowledgement."""
    call = engine_call()
    assert feed(call, INSIDE, OUTSIDE) == [DeliverEvents()]
    assert types(call).count("response.created") == 1
    assert DeliverEvents() in done(call)
    assert emitted(call)[-1]["response"]["metadata"] == {"n": "1"}
    assert kinds(call) == ["asked"]
    assert ledger_of(call).later == []


def test_a_response_outside_the_conversation_opens_at_once_where_nothing_is_going_on() -> None:
    """As any."""
    call = engine_call()
    assert feed(call, OUTSIDE) == [DeliverEvents()]
    assert call.response is not None


def test_a_response_that_waited_is_of_no_turn_that_a_bound_cut() -> None:
    """Nor has turn detection asked for it."""
    call = engine_call()
    feed(call, INSIDE, OUTSIDE)
    [later] = ledger_of(taken_over(call)).later
    assert (later.of_turn, later.cut) == (False, False)
    done(call)
    assert call.response is not None
    assert not call.response.asked.cut


@pytest.mark.parametrize("given", [inputs.DtmfPressed("1"), *append(10)][:1])
def test_no_event_speaks_into_a_response_outside_the_conversation(given: inputs.Input) -> None:
    """It opens once nothing waits, so what is said unprompted is said to the caller."""
    call = engine_call()
    feed(call, given, OUTSIDE)
    assert call.response is None
    said(call, "note", "Pressed.")
    assert types(call).count("conversation.item.added") == 1
    done(call)
    assert kinds(call) == ["asked"]


def test_a_response_outside_the_conversation_waits_until_what_was_said_is_understood() -> None:
    """And has been handled."""
    call = engine_call(audio={"input": {"turn_detection": None}})
    feed(call, *append(10), inputs.CommitAudio(), OUTSIDE)
    assert (call.response, kinds(call)) == (None, [])
    feed(call, inputs.DeleteItem(item_id(1)))
    assert kinds(call) == ["asked"]


def test_a_response_in_the_conversation_waits_for_one_outside_it() -> None:
    """And goes before the others that wait; another one in it is refused."""
    call = engine_call()
    feed(call, OUTSIDE, OUTSIDE, INSIDE, INSIDE)
    assert emitted(call)[-1]["error"]["code"] == "conversation_already_has_active_response"
    done(call)
    assert emitted(call)[-1]["response"]["conversation_id"] is not None
    done(call)
    assert emitted(call)[-1]["response"]["conversation_id"] is None


def test_a_second_response_in_the_conversation_is_refused() -> None:
    """As without events."""
    call = engine_call()
    feed(call, INSIDE, INSIDE)
    assert response_id(1) in emitted(call)[-1]["error"]["message"]
    assert ledger_of(call).later == []


def test_a_turn_is_answered_after_a_response_outside_the_conversation() -> None:
    """Where the caller's voice does not interrupt it."""
    call = engine_call(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    feed(call, OUTSIDE)
    spoken_turn(call)
    feed(call, inputs.Transcribed(item_id(1), "hello"))
    assert kinds(call) == ["asked", "heard"]
    done(call)
    assert kinds(call) == ["heard", "asked"]
    assert call.response is not None
    assert call.response.asked.clip_id == item_id(1)


def test_so_many_responses_wait_for_their_turn() -> None:
    """One more is refused, by the name of the limit."""
    call = engine_call()
    assert feed(call, INSIDE, *[OUTSIDE] * MAX_LATER) == [DeliverEvents()]
    assert feed(call, OUTSIDE) == [CountLimit("responses_waiting")]
    assert emitted(call)[-1]["error"]["code"] == "conversation_already_has_active_response"
    assert len(ledger_of(call).later) == MAX_LATER


def test_what_waits_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the responses bring along, together."""
    call = engine_call()
    monkeypatch.setattr(responses, "MAX_LATER_BYTES", 80)
    assert feed(call, INSIDE, OUTSIDE, OUTSIDE) == [DeliverEvents(), CountLimit("responses_waiting")]
    assert emitted(call)[-1]["error"]["code"] == "response_too_large"


def test_what_waits_is_asked_for_on_the_next_pod() -> None:
    """In its order."""
    call = engine_call()
    feed(call, INSIDE, OUTSIDE)
    moved = taken_over(call)
    done(moved)
    assert (first(moved).kind, kinds(moved)) == ("started", ["started"])
    done(moved)
    assert kinds(moved) == ["asked"]
    assert moved.response is not None
    assert moved.response.asked.params["metadata"] == {"n": "1"}


def test_a_cancelled_response_makes_room_for_the_one_that_waits() -> None:
    """One in the conversation is opened at once; one outside it, when the handler is through."""
    call = engine_call()
    feed(call, OUTSIDE, INSIDE, inputs.CancelResponse())
    assert call.response is not None
    assert kinds(call) == ["asked", "asked"]
    assert call.response.response_id == response_id(2)
