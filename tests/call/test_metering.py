"""Requests to providers, as a call counts them: `metering`, `usage`."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.call.calls import emitted, feed, response_id
from tests.call.engine import done, engine_call, first, manual_engine_call, taken_over
from voice_agent.call import inputs
from voice_agent.call.effects import CountLimit, Write
from voice_agent.call.metering import AFTER_THE_END_MS
from voice_agent.call.record import CallRecord
from voice_agent.call.usage import (
    MAX_FIGURE,
    MAX_OPEN,
    MAX_PAIRS,
    MAX_SUM,
    MAX_UNKNOWN_IDS,
    UNITS,
    Settled,
    Sums,
    UsageLedger,
    add,
    settled_since,
)

PAIR = "openai/gpt"


def begun(request_id: str = "req_1", model: str = "gpt", response: str | None = None) -> inputs.UsageBegun:
    """A request to `openai`."""
    return inputs.UsageBegun(request_id, "openai", model, response)


def ledger_of(call: CallRecord) -> UsageLedger:
    """What is counted."""
    assert call.usage is not None
    return call.usage


def sums(call: CallRecord) -> Sums:
    """Of the requests that are over."""
    return ledger_of(call).settled()


def written(call: CallRecord) -> Write:
    """The next write."""
    [write] = feed(call, inputs.TakeWrite())
    assert isinstance(write, Write)
    return write


def test_a_call_that_asks_no_provider_has_no_usage() -> None:
    """Nothing is written of it, and nothing is handed on with a write."""
    call = manual_engine_call()
    feed(call, inputs.CreateResponse({}))
    write = written(call)
    assert write.usage is None
    assert "usage" not in write.write.fields
    call.record.write_whole = True
    assert "usage" not in written(call).write.fields


def test_a_request_is_in_the_write_before_it_is_sent() -> None:
    """And counts for nothing yet."""
    call = engine_call()
    feed(call, begun())
    write = written(call)
    assert b'"req_1"' in write.write.fields["usage"]
    assert write.usage == {}


def test_what_a_request_used_is_in_the_sums_of_its_model() -> None:
    """A unit of which nothing was told is missing there, for it is not known."""
    call = engine_call()
    feed(call, begun("a"), inputs.UsageKnown("a", {"input_tokens": 12, "output_tokens": 0}))
    feed(call, begun("b"), begun("c", "other-model"), inputs.UsageKnown("b", {"input_tokens": 30}))
    feed(call, inputs.UsageKnown("c", {"characters": 57}))
    assert sums(call) == {
        PAIR: Settled(2, 0, {"input_tokens": 42, "output_tokens": 0}),
        "openai/other-model": Settled(1, 0, {"characters": 57}),
    }
    assert written(call).usage == sums(call)
    assert written(call).usage is None


def test_a_request_without_figures_is_unknown() -> None:
    """Its id is kept, so that its provider can be asked."""
    call = engine_call()
    feed(call, begun(), inputs.UsageUnknown("req_1"))
    assert sums(call) == {PAIR: Settled(0, 1, {})}
    assert ledger_of(call).unknown_ids == ["req_1"]


def test_a_request_that_was_not_sent_is_not_counted() -> None:
    """As if it had never begun."""
    call = engine_call()
    feed(call, begun(), inputs.UsageWithdrawn("req_1"))
    assert sums(call) == {}
    assert ledger_of(call).open == {}


def test_what_is_told_of_a_request_that_is_over_is_ignored() -> None:
    """Told twice it counts once; nor does anything count of which no beginning is known."""
    call = engine_call()
    feed(call, inputs.UsageKnown("req_1", {"input_tokens": 1}), begun(), inputs.UsageUnknown("req_1"))
    feed(call, inputs.UsageKnown("req_1", {"input_tokens": 1}), inputs.UsageWithdrawn("req_1"))
    feed(call, inputs.UsageAttributed("req_1", "resp_1"), inputs.UsageUnknown("req_1"))
    assert sums(call) == {PAIR: Settled(0, 1, {})}


def test_a_take_over_makes_open_requests_unknown() -> None:
    """Their pod is gone. What it was told of them since is not taken from anybody."""
    call = engine_call()
    feed(call, begun("a"), inputs.UsageKnown("a", {"input_tokens": 12}), begun("b"))
    elsewhere = taken_over(call)
    assert sums(elsewhere) == {PAIR: Settled(1, 1, {"input_tokens": 12})}
    assert ledger_of(elsewhere).stored == {PAIR: Settled(1, 0, {"input_tokens": 12})}
    feed(elsewhere, inputs.UsageKnown("b", {"input_tokens": 5}))
    assert sums(elsewhere) == {PAIR: Settled(1, 1, {"input_tokens": 12})}
    write = written(elsewhere)
    assert write.usage is not None
    assert list(settled_since(ledger_of(elsewhere).stored, write.usage)) == [(PAIR, Settled(0, 1, {}))]
    again = taken_over(elsewhere)
    assert sums(again) == sums(elsewhere)


def test_a_pod_that_claims_its_own_call_again_goes_on_with_its_requests() -> None:
    """It is still there, and hears the answers."""
    call = engine_call()
    feed(call, begun(), inputs.ClaimAsked("c2"), inputs.ClaimGranted(2, "c2"))
    feed(call, inputs.UsageKnown("req_1", {"input_tokens": 12}))
    assert sums(call) == {PAIR: Settled(1, 0, {"input_tokens": 12})}


def test_names_beyond_the_bound_are_counted_as_others() -> None:
    """The record does not grow with them, and nothing is lost."""
    call = engine_call()
    limits = [
        effect
        for n in range(3 * MAX_PAIRS)
        for effect in feed(call, begun(f"r{n}", f"m{n}"), inputs.UsageKnown(f"r{n}", {"input_tokens": 1}))
    ]
    assert len(sums(call)) == MAX_PAIRS + 1
    assert sum(one.figures["input_tokens"] for one in sums(call).values()) == 3 * MAX_PAIRS
    assert limits == [CountLimit("usage_pairs")] * 2 * MAX_PAIRS


def test_names_of_requests_that_are_open_count_against_the_bound() -> None:
    """An agent that never ends a request is bounded, too."""
    call = engine_call()
    feed(call, *(begun(f"r{n}", f"m{n}") for n in range(MAX_PAIRS + 5)))
    assert len({one.pair for one in ledger_of(call).open.values()}) == MAX_PAIRS + 1


def test_requests_beyond_the_bound_are_unknown_at_once() -> None:
    """They are made all the same: counting must not harm a call."""
    call = engine_call()
    feed(call, *(begun(f"r{n}") for n in range(MAX_OPEN)))
    assert feed(call, begun("late")) == [CountLimit("usage_open")]
    assert feed(call, inputs.UsageKnown("late", {"input_tokens": 1})) == []
    assert len(ledger_of(call).open) == MAX_OPEN
    assert sums(call) == {PAIR: Settled(0, 1, {})}


def test_of_requests_that_are_unknown_the_newest_ids_are_kept() -> None:
    """The record does not grow with each."""
    call = engine_call()
    for n in range(MAX_UNKNOWN_IDS + 3):
        feed(call, begun(f"r{n}"), inputs.UsageUnknown(f"r{n}"))
    assert ledger_of(call).unknown_ids == [f"r{n}" for n in range(3, MAX_UNKNOWN_IDS + 3)]


def test_sums_stay_within_what_json_carries() -> None:
    """However much is told, the call can be written."""
    figures = {"input_tokens": MAX_SUM - 1}
    add(figures, {"input_tokens": MAX_FIGURE})
    assert figures == {"input_tokens": MAX_SUM}


def test_an_ended_call_counts_what_is_still_asked_for_it() -> None:
    """A summary, say. What had been counted stays in the record."""
    call = engine_call()
    feed(call, begun("a"), inputs.UsageKnown("a", {"input_tokens": 12}), begun("b"), inputs.EndCall("admin"))
    ended = written(call)
    assert b'"input_tokens":12' in ended.write.fields["usage"]
    feed(call, inputs.UsageUnknown("b"), begun("c"), inputs.UsageKnown("c", {"input_tokens": 3}))
    assert call.has_changes
    write = written(call)
    assert write.write.ends
    assert write.usage == {PAIR: Settled(2, 1, {"input_tokens": 15})}


def test_long_after_its_end_a_call_counts_nothing_more() -> None:
    """A task that was begun in it and works for others now does not keep it from being forgotten."""
    call = engine_call()
    feed(call, begun("open"), inputs.EndCall("admin"), now_ms=5000)
    feed(call, inputs.TakeWrite())
    late_ms = 5000 + AFTER_THE_END_MS + 1
    feed(call, begun("late"), inputs.UsageUnknown("late"), inputs.UsageUnknown("open"), now_ms=late_ms)
    assert not call.has_changes
    assert list(ledger_of(call).open) == ["open"]
    feed(call, inputs.UsageUnknown("open"), now_ms=late_ms - 1)
    assert call.has_changes


def test_a_request_is_said_to_be_only_for_a_response_under_way() -> None:
    """The record does not take whatever an agent names."""
    call = engine_call()
    feed(call, begun("a"), inputs.UsageAttributed("a", "x" * 10**6))
    assert len(written(call).write.fields["usage"]) < 200


# --- what a response has used ------------------------------------------------


def answered(call: CallRecord, *told: inputs.Input) -> dict[str, Any]:
    """`usage` of the first response of a call, in which this happens."""
    feed(call, inputs.CreateResponse({}))
    feed(call, *told)
    done(call)
    [event] = [event for event in emitted(call) if event["type"] == "response.done"]
    used: dict[str, Any] = event["response"]["usage"]
    return used


def known(request_id: str, **figures: int) -> inputs.UsageKnown:
    """What a request used."""
    return inputs.UsageKnown(request_id, figures)


RESP = response_id(1)


def test_a_response_tells_what_its_requests_used() -> None:
    """In the protocol's own fields."""
    told = known("a", input_tokens=12, output_tokens=40, cached_input_tokens=8, input_audio_tokens=2)
    used = answered(manual_engine_call(), begun("a", response=RESP), told)
    assert used == {
        "total_tokens": 52,
        "input_tokens": 12,
        "output_tokens": 40,
        "input_token_details": {"cached_tokens": 8, "text_tokens": 10, "audio_tokens": 2},
        "output_token_details": {},
    }


def test_requests_of_a_response_are_added_up() -> None:
    """A model asked again after a function, say. Those that use no tokens are no part of it."""
    used = answered(
        manual_engine_call(),
        begun("a", response=RESP),
        begun("b", response=RESP),
        begun("voice", response=RESP),
        known("a", input_tokens=12, output_tokens=40),
        known("b", input_tokens=1, output_tokens=2),
        known("voice", characters=57),
    )
    assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (13, 42, 55)


def test_a_sum_of_which_a_part_is_not_known_is_left_out() -> None:
    """It would be taken for all of it."""
    used = answered(
        manual_engine_call(),
        begun("a", response=RESP),
        begun("b", response=RESP),
        known("a", input_tokens=12, output_tokens=40),
        known("b", input_tokens=3),
    )
    assert used == {"input_tokens": 15, "input_token_details": {}, "output_token_details": {}}


def test_a_request_that_is_unknown_or_open_leaves_nothing_known() -> None:
    """Whichever comes first."""
    unknown: dict[str, Any] = {"input_token_details": {}, "output_token_details": {}}
    both = [begun("a", response=RESP), begun("b", response=RESP)]
    told = known("a", input_tokens=12, output_tokens=40)
    assert answered(manual_engine_call(), *both, told) == unknown
    assert answered(manual_engine_call(), *both, told, inputs.UsageUnknown("b")) == unknown
    assert answered(manual_engine_call(), *both, inputs.UsageUnknown("b"), told) == unknown


def test_a_request_that_was_withdrawn_hides_nothing() -> None:
    """It used nothing."""
    told = known("a", input_tokens=12, output_tokens=40)
    both = [begun("a", response=RESP), begun("b", response=RESP)]
    assert answered(manual_engine_call(), *both, told, inputs.UsageWithdrawn("b"))["total_tokens"] == 52


def test_requests_for_no_response_are_no_part_of_one() -> None:
    """Of an ear, or one that was begun ahead and thrown away."""
    call = manual_engine_call()
    assert answered(call, begun("a"), begun("b", response="resp_of_another"), inputs.UsageUnknown("a")) is None


def test_a_request_begun_ahead_is_of_the_response_that_it_is_said_to_be_for() -> None:
    """From then on."""
    call = manual_engine_call()
    feed(call, begun("a"))
    told = known("a", input_tokens=1, output_tokens=2)
    assert answered(call, inputs.UsageAttributed("a", RESP), told)["total_tokens"] == 3


def test_what_a_response_used_goes_on_elsewhere() -> None:
    """And what was open there is not known."""
    call = manual_engine_call()
    feed(call, inputs.CreateResponse({}), begun("a", response=RESP), known("a", input_tokens=12, output_tokens=40))
    elsewhere = taken_over(call)
    while not elsewhere.outbox.unsaved:
        done(elsewhere)
    [event] = [event for event in emitted(elsewhere) if event["type"] == "response.done"]
    assert event["response"]["usage"]["total_tokens"] == 52

    feed(call, begun("b", response=RESP))
    lost = taken_over(call)
    assert lost.response is not None
    assert lost.response.usage is not None
    assert lost.response.usage.known("input_tokens") is None
    assert first(lost) is not None


# --- any order ---------------------------------------------------------------

FIGURES = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 1000))
ENDS = st.one_of(
    FIGURES.map(lambda figures: figures or None), st.just("unknown"), st.just("withdrawn"), st.just("open")
)


@given(
    st.lists(st.tuples(st.sampled_from(["gpt", "tts"]), ENDS, st.booleans(), st.booleans()), min_size=1, max_size=20),
)
def test_every_request_is_counted_once_whatever_is_lost_and_taken_over(
    requests: list[tuple[str, Any, bool, bool]],
) -> None:
    """By the record, and by the metrics of all pods together, if each dies between two of its writes."""
    call = engine_call()
    counted_here: Sums = {}
    metrics: dict[str, list[Settled]] = {}
    expected: dict[str, list[dict[str, int] | None]] = {}

    def commit() -> None:
        nonlocal counted_here
        write = written(call)
        if write.usage is not None:
            for pair, more in settled_since(counted_here, write.usage):
                metrics.setdefault(pair, []).append(more)
            counted_here = write.usage

    for n, (model, end, is_lost, moves) in enumerate(requests):
        name = f"r{n}"
        feed(call, begun(name, model))
        commit()
        if isinstance(end, dict):
            feed(call, inputs.UsageKnown(name, end))
        elif end in ("unknown", None):
            feed(call, inputs.UsageUnknown(name))
        elif end == "withdrawn":
            feed(call, inputs.UsageWithdrawn(name))
        if is_lost and not moves:
            feed(call, inputs.TakeWrite(), inputs.WriteLost())
        commit()
        if end != "withdrawn":
            expected.setdefault(f"openai/{model}", []).append(end if isinstance(end, dict) else None)
        if moves:
            call = taken_over(call)
            counted_here = ledger_of(call).stored
            commit()
    call = taken_over(call)
    counted_here = ledger_of(call).stored
    commit()
    for pair, ends in expected.items():
        told = [one for one in ends if one is not None]
        figures: dict[str, int] = {}
        for one in told:
            add(figures, one)
        assert sums(call)[pair] == Settled(len(told), len(ends) - len(told), figures)
        assert sum(one.known for one in metrics[pair]) == len(told)
        assert sum(one.unknown for one in metrics[pair]) == len(ends) - len(told)
        for unit, figure in figures.items():
            assert sum(one.figures.get(unit, 0) for one in metrics[pair]) == figure
    assert sums(call).keys() == expected.keys()
