"""What is asked of one pod, as it stands in the store."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.runtime.pod.pod_request import (
    MAX_CALLS,
    MAX_DEADLINE_S,
    MAX_REQUEST_BYTES,
    Destination,
    PodRequest,
    request_of,
)

LEAST = {"request_id": "4f", "started_at_ms": 7, "deadline_s": 5, "evacuates": True}
REQUESTS = st.builds(
    PodRequest,
    request_id=st.text("0123456789abcdef", min_size=1, max_size=64),
    started_at_ms=st.integers(0, 2**53),
    deadline_s=st.integers(0, MAX_DEADLINE_S),
    evacuates=st.booleans(),
    closes_rest=st.booleans(),
    along=st.lists(st.text(), max_size=3).map(tuple),
    destinations=st.lists(st.builds(Destination, st.text(), st.integers(0, MAX_CALLS)), max_size=3).map(tuple),
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: PodRequest) -> None:
    """All of it."""
    assert request_of(request.packed()) == request


def test_a_request_of_a_newer_version_is_understood() -> None:
    """What it says beside is left out."""
    packed = orjson.dumps(LEAST | {"new": [1], "destinations": [{"address": "ws://a:1", "calls": 2, "new": 3}]})
    request = PodRequest("4f", 7, 5, evacuates=True, destinations=(Destination("ws://a:1", 2),))
    assert request_of(packed) == request
    assert request.calls == 2
    assert request_of(orjson.dumps(LEAST)) == PodRequest("4f", 7, 5, evacuates=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"7",
        LEAST | {"request_id": ""},
        LEAST | {"request_id": "4" * 65},
        LEAST | {"request_id": 4},
        LEAST | {"started_at_ms": "7"},
        LEAST | {"started_at_ms": -1},
        LEAST | {"started_at_ms": 2**53 + 1},
        LEAST | {"deadline_s": True},
        LEAST | {"deadline_s": MAX_DEADLINE_S + 1},
        LEAST | {"along": 3},
        LEAST | {"destinations": [{"address": "ws://a:1"}]},
        LEAST | {"destinations": [{"address": "ws://a:1", "calls": MAX_CALLS + 1}]},
        {name: value for name, value in LEAST.items() if name != "evacuates"},
        LEAST | {"along": ["x" * MAX_REQUEST_BYTES]},
    ],
)
def test_a_malformed_request_asks_for_nothing(value: Any) -> None:
    """Neither does one that is huge."""
    packed = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    assert request_of(packed) is None
