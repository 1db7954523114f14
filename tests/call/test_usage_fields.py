"""How what requests to providers used stands in the record."""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import feed, stored
from tests.call.engine import claimed, engine_call, manual_engine_call, taken_over
from tests.call.test_metering import PAIR, begun, known, ledger_of, sums, written
from voice_agent.call import inputs
from voice_agent.call.changes import Snapshot
from voice_agent.call.record import CallRecord
from voice_agent.call.usage import UNITS, Settled
from voice_agent.errors import RecordUnreadable


def of_everything() -> CallRecord:
    """A call in whose usage there is something of each kind."""
    call = manual_engine_call()
    feed(call, inputs.CreateResponse({}))
    assert call.response is not None
    reply = call.response.response_id
    feed(call, begun("a", response=reply), known("a", **dict.fromkeys(UNITS, 3)))
    feed(call, begun("b"), inputs.UsageUnknown("b"), begun("open", response=reply))
    return call


def held(call: CallRecord) -> Snapshot:
    """What a store holds of a call."""
    call.record.write_whole = True
    return stored(call)


def test_it_comes_back_as_it_was() -> None:
    """But for what is open: who made that is gone."""
    call = of_everything()
    elsewhere = claimed(held(call))
    assert sums(elsewhere) == {PAIR: Settled(1, 2, dict.fromkeys(UNITS, 3))}
    assert ledger_of(elsewhere).unknown_ids == ["b", "open"]
    assert call.response is not None
    assert call.response.usage is not None
    assert elsewhere.response is not None
    assert elsewhere.response.usage is not None
    assert elsewhere.response.usage.figures == call.response.usage.figures


def test_what_a_newer_release_adds_is_kept() -> None:
    """To all of it, to the sums of one model (a unit of its own), to a request, to a response."""
    before = held(of_everything())
    told = orjson.loads(before.fields["usage"])
    told["price"] = {"eur": 3}
    told["sums"][PAIR]["images"] = 4
    told["open"]["open"]["tries"] = 2
    response = orjson.loads(before.fields["response"])
    response["usage"]["tier"] = "flex"
    packed = {"usage": orjson.dumps(told), "response": orjson.dumps(response)}
    call = claimed(Snapshot({**before.fields, **packed}, before.items, before.outbox, before.speech))
    after = held(call).fields
    kept = orjson.loads(after["usage"])
    assert (kept["price"], kept["sums"][PAIR]["images"]) == ({"eur": 3}, 4)
    assert orjson.loads(after["response"])["usage"]["tier"] == "flex"


def test_it_stays_when_the_call_has_ended() -> None:
    """And comes back with what is open: the pod that ended the call may tell of it yet."""
    call = of_everything()
    feed(call, inputs.EndCall("admin"))
    ended = claimed(held(call))
    assert sums(ended) == {PAIR: Settled(1, 1, dict.fromkeys(UNITS, 3))}
    assert list(ledger_of(ended).open) == ["open"]


def test_a_release_that_does_not_know_it_keeps_it() -> None:
    """To such a one it is a field like any: one that this release does not know either, here."""
    call = engine_call()
    feed(call, begun("a"), known("a", input_tokens=3))
    before = held(call)
    ahead = dict(before.fields)
    ahead["usage_of_tomorrow"] = ahead.pop("usage")
    older = claimed(Snapshot(ahead, before.items, before.outbox, before.speech))
    assert older.usage is None
    after = held(older).fields
    assert after["usage_of_tomorrow"] == before.fields["usage"]


@pytest.mark.parametrize(
    "damaged", [b"[]", b"{", b"7", b'{"sums":{}}', b'{"sums":{"a":{}},"open":{},"unknown_ids":[]}']
)
def test_what_is_damaged_is_told(damaged: bytes) -> None:
    """The call cannot be read, and nothing is made up."""
    before = held(of_everything())
    with pytest.raises(RecordUnreadable):
        claimed(Snapshot({**before.fields, "usage": damaged}, before.items, before.outbox, before.speech))


def test_nothing_of_it_is_written_while_it_does_not_change() -> None:
    """A write costs as much as without."""
    call = of_everything()
    written(call)
    feed(call, inputs.AppendAudio(b"\x00" * 960))
    assert "usage" not in written(call).write.fields
    assert "usage" in written(taken_over(call)).write.fields
