"""Ids of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.event_ids import event_id, event_number


@given(st.integers(min_value=0, max_value=2**53))
def test_an_event_id_is_read_back(n: int) -> None:
    """The id of an event names its number."""
    assert event_number(event_id(n)) == n


@pytest.mark.parametrize(
    "given_id",
    ["", "evt_", "evt_-1", "evt_01", "evt_1 ", "evt_1\n", "evt_1.5", "EVT_1", "event_1", "evt_١",
     "evt_9007199254740993", "evt_" + "9" * 5000],
)  # fmt: skip
def test_a_foreign_event_id_is_none_of_ours(given_id: str) -> None:
    """Anything but `evt_` and a plain number up to 2**53 is not an id of this server."""
    assert event_number(given_id) is None
