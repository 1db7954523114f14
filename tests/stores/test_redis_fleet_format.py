"""What is read of heartbeats, drain requests and weights: all that this version writes, and no more than it knows."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from redis import exceptions
from structlog.testing import capture_logs

from voice_agent.stores.base import DrainRequest, PodCounters, PodHeartbeat, RouterWeights
from voice_agent.stores.redis_fleet_format import (
    HEARTBEAT_FIELDS,
    MAX_DEADLINE_S,
    MAX_NUMBER,
    MAX_TEXT_CHARS,
    PassedOver,
    heartbeat_fields,
    heartbeat_of,
    request_of,
    weights_of,
)

LEAST = {"name": "a", "color": "blue", "version": "1", "status": "ok", "active_calls": "2", "capacity": "9"}
LEAST |= {"heartbeat_at_ms": "7"}
"""What a heartbeat cannot do without."""
REQUEST = {"mode": "finish", "deadline_s": 5, "requested_at_ms": 7}


def read_heartbeat(**fields: Any) -> tuple[PodHeartbeat | None, list[str]]:
    """A heartbeat with these fields besides the least, and what is odd about it; None takes a field away."""
    found: dict[str, Any] = LEAST | fields
    answer = [found.get(name) for name in HEARTBEAT_FIELDS]
    odd: list[str] = []
    packed = [value.encode() if isinstance(value, str) else value for value in answer]
    return heartbeat_of("a", packed, odd.append), odd


def read_request(drain: Any) -> tuple[DrainRequest | None, list[str]]:
    """A drain request, and what is odd about it."""
    odd: list[str] = []
    return request_of([drain if isinstance(drain, bytes) else orjson.dumps(drain)], odd.append), odd


def read_weights(weights: Any, told_at_ms: bytes | None = b"7") -> tuple[RouterWeights | None, list[str]]:
    """Weights, and what is odd about them."""
    odd: list[str] = []
    packed = weights if isinstance(weights, bytes) else orjson.dumps(weights)
    return weights_of([packed, told_at_ms], odd.append), odd


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "reads_schemas": (2, 3),
            "counters": PodCounters(1, 2, 3, 4, {"0.5": 0, "2": 1, "inf": 5}, {"drain": MAX_NUMBER}),
            "keys": {"open": 0, "0123": 2},
            "calls_not_resumable": 4,
            "oldest_call_at_ms": 5,
            "took_call_at_ms": 6,
            "forwarded_call_at_ms": 7,
            "store": "degraded",
            "calls_resumable_now": 8,
            "loop_lag_ms": 9,
            "address": "ws://10.0.3.7:8080",
            "node": "node-17",
            "applied_request": "",
            "moves_left": 10,
        },
    ],
)
def test_a_heartbeat_is_read_as_it_was_written(more: dict[str, Any]) -> None:
    """All that a pod says, and where it has nothing to say."""
    heartbeat = PodHeartbeat("a", "blue", "1", "ok", 1, 2, 3, 4, MAX_NUMBER, **more)
    fields = heartbeat_fields(heartbeat)
    assert read_heartbeat(**fields) == (heartbeat, [])


def test_what_an_older_version_does_not_say_counts_for_nothing() -> None:
    """Neither as an oddity nor as a number."""
    assert read_heartbeat() == (PodHeartbeat("a", "blue", "1", "ok", 2, 0, 9, 0, 7), [])
    said = PodHeartbeat("a", "blue", "1", "ok", 2, 0, 9, 0, 7)
    numbers = (said.calls_not_resumable, said.oldest_call_at_ms)
    assert (*numbers, said.took_call_at_ms, said.forwarded_call_at_ms) == (0, 0, 0, 0)
    assert said.reads_schemas == (0, 0)
    assert (said.calls_resumable_now, said.loop_lag_ms, said.moves_left) == (0, 0, 0)
    assert (said.address, said.node, said.applied_request) == ("", "", None)
    assert PodCounters() == PodCounters(ended=0, failed=0, dropped=0, resumed=0, turns={}, causes={})
    assert read_heartbeat(counters=b"{}") == (
        PodHeartbeat("a", "blue", "1", "ok", 2, 0, 9, 0, 7, counters=PodCounters(0, 0, 0, 0)),
        [],
    )


def test_a_heartbeat_that_has_run_out_is_none_and_not_odd() -> None:
    """Nothing stands there any more."""
    assert read_heartbeat(**dict.fromkeys(LEAST)) == (None, [])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        *((name, None, f"it has no {name}") for name in LEAST),
        ("name", "b", "it names another pod"),
        ("color", b"\xff", "no UTF-8"),
        ("version", "1" * (MAX_TEXT_CHARS + 1), "its version is no label"),
        ("store", "\x1b", "its store is no label"),
        ("address", "\x1b", "its address is no label"),
        ("node", "\x1b", "its node is no label"),
        ("applied_request", "\x1b", "its applied_request is no label"),
        *((name, "x", f"its {name} is no number") for name in ("calls_resumable_now", "loop_lag_ms", "moves_left")),
        ("active_calls", "-1", "its active_calls is no number"),
        *(("reads_schemas", odd, "its reads_schemas are no numbers") for odd in ("2", "2 soon", "2 " + "3" * 21)),
        ("capacity", str(MAX_NUMBER + 1), "its capacity is no number"),
        ("capacity", "0" * 17, "its capacity is no number"),
        ("heartbeat_at_ms", "9" * 5000, "its heartbeat_at_ms is no number"),
    ],
)
def test_a_heartbeat_that_is_odd_is_passed_over(name: str, value: Any, why: str) -> None:
    """And it is said why, without a word of what stands there."""
    assert read_heartbeat(**{name: value}) == (None, [why])


@pytest.mark.parametrize(
    ("name", "value"), [("version", "1" * MAX_TEXT_CHARS), ("store", ""), ("capacity", str(MAX_NUMBER))]
)
def test_the_longest_label_and_the_largest_number_are_read(name: str, value: str) -> None:
    """What is too much begins above them."""
    heartbeat, odd = read_heartbeat(**{name: value})
    assert str(getattr(heartbeat, name)) == value
    assert odd == []


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("counters", b"{", "its counters: no JSON"),
        ("counters", b"[]", "its counters: no JSON object"),
        ("counters", b'{"ended":-1}', "its counters: they are no counts"),
        ("counters", b'{"ended":true}', "its counters: they are no counts"),
        ("counters", b'{"ended":1,"failed":1.5}', "its counters: they are no counts"),
        ("counters", b'{"ended":9007199254740993}', "its counters: they are no counts"),
        ("counters", b'{"turns":3}', "its counters: they are no counts"),
        ("counters", b'{"turns":{"inf":1,"soon":1}}', "its counters: its turns are no counts"),
        ("counters", b'{"causes":{"drain":-1}}', "its counters: they are no counts"),
        ("keys", b"[]", "its keys: no JSON object"),
        ("keys", b'{"open":1,"key":"many"}', "its keys: they are no counts"),
    ],
)
def test_a_heartbeat_can_do_without_a_part_that_is_odd(name: str, value: bytes, why: str) -> None:
    """The pod is seen, without that part."""
    assert read_heartbeat(**{name: value}) == (PodHeartbeat("a", "blue", "1", "ok", 2, 0, 9, 0, 7), [why])


def test_what_a_newer_version_counts_beside_is_left_out() -> None:
    """Of its counters the ones that are known are read."""
    heartbeat, odd = read_heartbeat(counters=b'{"ended":1,"new":"x"}')
    assert heartbeat is not None
    assert (heartbeat.counters, odd) == (PodCounters(ended=1), [])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (exceptions.ResponseError("WRONGTYPE of key"), "WRONGTYPE of key"),
        (2_000_000, "2000000 bytes, more than 1048576"),
    ],
)
def test_what_cannot_be_read_at_all_is_odd(answer: Any, why: str) -> None:
    """Something of another type, or something huge, of whatever kind was asked for."""
    odd: list[str] = []
    assert heartbeat_of("a", answer, odd.append) is None
    assert request_of(answer, odd.append) is None
    assert weights_of(answer, odd.append) is None
    assert odd == [why] * 3


@pytest.mark.parametrize(
    ("more", "drain"),
    [
        ({}, DrainRequest("finish", 5, 7)),
        ({"new": 1}, DrainRequest("finish", 5, 7)),
        ({"deadline_s": 0, "requested_at_ms": 0}, DrainRequest("finish", 0, 0)),
        ({"deadline_s": 1.5}, DrainRequest("finish", 1, 7)),
        (
            {"mode": "m" * MAX_TEXT_CHARS, "deadline_s": MAX_DEADLINE_S, "requested_at_ms": MAX_NUMBER},
            DrainRequest("m" * MAX_TEXT_CHARS, MAX_DEADLINE_S, MAX_NUMBER),
        ),
    ],
)
def test_a_drain_request_is_read(more: dict[str, Any], drain: DrainRequest) -> None:
    """Up to the longest deadline there is."""
    assert read_request(REQUEST | more) == (drain, [])


@pytest.mark.parametrize(
    ("drain", "why"),
    [
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (REQUEST | {"mode": 1}, "its mode is no word"),
        (REQUEST | {"mode": "\x1b"}, "its mode is no word"),
        (REQUEST | {"mode": "m" * (MAX_TEXT_CHARS + 1)}, "its mode is no word"),
        (REQUEST | {"deadline_s": -1}, "its deadline_s is no number"),
        (REQUEST | {"deadline_s": True}, "its deadline_s is no number"),
        (REQUEST | {"deadline_s": "5"}, "its deadline_s is no number"),
        (REQUEST | {"deadline_s": MAX_DEADLINE_S + 1}, "its deadline_s is no number"),
        (REQUEST | {"requested_at_ms": MAX_NUMBER + 2}, "its requested_at_ms is no number"),
        ({"mode": "finish"}, "its deadline_s is no number"),
    ],
)
def test_a_drain_request_that_is_odd_is_none(drain: Any, why: str) -> None:
    """And it is said why."""
    assert read_request(drain) == (None, [why])


def test_nothing_is_requested_or_told() -> None:
    """Which is not odd."""
    odd: list[str] = []
    assert request_of([None], odd.append) is None
    assert weights_of([None, None], odd.append) is None
    assert odd == []


@pytest.mark.parametrize("weights", [{}, {"blue": 0, "green": 100}])
def test_weights_are_read(weights: dict[str, int]) -> None:
    """With when they were told."""
    assert read_weights(weights) == (RouterWeights(weights, 7), [])


@pytest.mark.parametrize(
    ("weights", "told_at_ms", "why"),
    [
        (b"{", b"7", "no JSON"),
        ({"blue": 1, "green": "all"}, b"7", "they are no counts"),
        ({}, None, "it has no told_at_ms"),
        ({}, b"soon", "its told_at_ms is no number"),
    ],
)
def test_weights_that_are_odd_are_none(weights: Any, told_at_ms: bytes | None, why: str) -> None:
    """And it is said why."""
    assert read_weights(weights, told_at_ms) == (None, [why])


def test_callers_are_sent_to_colors_with_a_weight() -> None:
    """However small it is."""
    assert RouterWeights({"blue": 0, "green": 1, "red": 99}, 0).routed == {"green", "red"}


def test_what_is_odd_is_named_once_for_as_long_as_it_stands_there() -> None:
    """Again if it is odd in another way, or was in order between; of each kind of entry by itself."""
    passed_over = PassedOver()
    with capture_logs() as lines:
        for found in ({"a": "x"}, {"a": "x"}, {"a": "y", "b": "x"}, {"b": "x"}, {"a": "y", "b": "x"}):
            passed_over.tell("pods", found)
        passed_over.tell("requests", {"a": "y"})
    assert [(line["entry"], line["why"]) for line in lines] == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
        ("a", "y"),
        ("a", "y"),
    ]
