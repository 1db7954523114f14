"""How what is between a call and its agent stands in the record, and comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.call.calls import FRAME, feed, response_id, stored
from tests.call.engine import act, claimed, done, engine_call, first, ledger_of, speak, taken_over
from voice_agent.call import inputs
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import take_write
from voice_agent.errors import RecordUnreadable


def busy_call() -> CallRecord:
    """Events wait, acts of every kind, timers, a response that waits."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}), inputs.CreateResponse({"conversation": "none"}), inputs.DtmfPressed("1"))
    number = first(call).number
    speak(call, "reply", "One. ", FRAME)
    feed(
        call,
        inputs.OnceBegun(number, "once"),
        inputs.OnceDone(number, "once", {"n": [1]}),
        inputs.ToolAsked(number, "tool", "look_up", "{}"),
        inputs.TimerSet(number, "timer", "remind", 100),
        inputs.AgentEventSent(number, "send", {"type": "agent.x"}),
    )
    return call


def known(call: CallRecord) -> tuple[Any, ...]:
    """What the next owner must know."""
    ledger = ledger_of(call)
    assert call.response is not None
    told = (ledger.made, ledger.waiting, ledger.acts, ledger.timers, ledger.later)
    return (*told, call.response.event_number, call.response.replay_from, call.response.said.pieces)


def with_fields(call: CallRecord, **fields: bytes) -> CallRecord:
    """The call as it is restored from a record in which some fields are others."""
    call.record.write_whole = True
    held = stored(call)
    return claimed(
        replace(held, fields={**held.fields, **{name.replace("__", ":"): to for name, to in fields.items()}})
    )


def test_all_of_it_is_read_as_it_was_written() -> None:
    """But for the start that a take-over adds."""
    call = busy_call()
    moved = taken_over(call)
    ledger = ledger_of(moved)
    assert ledger.waiting.pop().data == {"resumed": True}
    ledger.made -= 1
    assert known(moved) == known(call)


def test_an_act_costs_no_more_the_more_there_are() -> None:
    """A write carries those that changed."""
    call = engine_call(started=False)
    number = first(call).number
    sizes = []
    for n in range(200):
        feed(call, inputs.OnceBegun(number, f"k{n:03}"), inputs.OnceDone(number, f"k{n:03}", "x" * 50))
        sizes.append(take_write(call, 0).size_bytes)
    assert max(sizes) < sizes[0] + 30


def test_acts_are_taken_out_of_the_record_with_their_event() -> None:
    """What they gave is nobody's business any more."""
    call = busy_call()
    take_write(call, 0)
    done(call)
    fields = take_write(call, 0).fields
    assert {name: value for name, value in fields.items() if name.startswith("act")} == {
        "acts": b"0",
        **{f"act:{n}": b"" for n in range(5)},
    }


def test_pieces_are_taken_out_of_the_record_with_their_response() -> None:
    """The next response begins without."""
    call = busy_call()
    assert take_write(call, 0).fields["pieces_size"] == b"%s 1" % response_id(1).encode()
    done(call)
    fields = take_write(call, 0).fields
    assert (fields["pieces_size"], fields["pieces:0"]) == (b"", b"")


def test_pieces_of_another_response_are_not_read() -> None:
    """A release that knows none left them."""
    moved = with_fields(busy_call(), pieces_size=b"resp_other 9")
    assert moved.response is not None
    assert moved.response.said.pieces == []


def test_what_a_newer_version_added_is_written_back() -> None:
    """Of the whole, of an event, of an act and what it said, and of a response that waits."""
    call = busy_call()
    call.record.write_whole = True
    held = stored(call).fields
    told, reply, later = (orjson.loads(held[name]) for name in ("agent_events", "act:0", "later"))
    told["newer"] = told["waiting"][0]["newer"] = reply["newer"] = reply["span"]["newer"] = later[0]["newer"] = 1
    moved = with_fields(call, agent_events=orjson.dumps(told), act__0=orjson.dumps(reply), later=orjson.dumps(later))
    assert (ledger_of(moved).extras, first(moved).extras, act(moved, "reply").extras) == ({"newer": 1},) * 3
    again = stored_fields(moved)
    assert orjson.loads(again["act:0"])["span"]["newer"] == 1
    assert orjson.loads(again["later"])[0]["newer"] == 1
    assert orjson.loads(again["agent_events"])["newer"] == 1
    assert orjson.loads(again["agent_events"])["waiting"][0]["newer"] == 1
    assert orjson.loads(again["act:0"])["newer"] == 1


def stored_fields(call: CallRecord) -> dict[str, bytes]:
    """The record after a write of all of it."""
    call.record.write_whole = True
    return stored(call).fields


@pytest.mark.parametrize(
    "damage",
    [
        {"agent_events": b"[]"},
        {"agent_events": b'{"made": 1}'},
        {"agent_events": b'{"made": 1, "waiting": [{"number": 1, "kind": "nonsense"}]}'},
        {"agent_events": b'{"made": 1, "waiting": [{"kind": "dtmf"}]}'},
        {"acts": b"9"},
        {"act__0": b"{}"},
        {"act__0": b'{"key": "k", "number": 0, "kind": "speak", "status": "begun", "span": {"nonsense": 1}}'},
        {"timers": b'{"remind": "soon"}'},
        {"later": b"[1]"},
        {"pieces_size": response_id(1).encode() + b" 99"},
    ],
    ids=str,
)
def test_a_damaged_record_is_refused(damage: dict[str, bytes]) -> None:
    """It is told apart from one that is not there."""
    with pytest.raises(RecordUnreadable):
        with_fields(busy_call(), **damage)


def test_a_record_without_events_has_no_ledger() -> None:
    """Its owner begins with an empty one, if its agent handles events."""
    call = busy_call()
    moved = with_fields(call, agent_events=b"")
    assert ledger_of(moved).made == 2
    assert [event.kind.value for event in ledger_of(moved).waiting] == ["asked", "started"]
