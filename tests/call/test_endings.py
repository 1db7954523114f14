"""What a client that comes back too late is told of how the call ended."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.call.endings import ending, transfer_event


def test_the_end_of_a_call_is_told_by_its_record() -> None:
    """Its outcome, the number of its last event, and whom to call next if there is somebody."""
    record = {"outcome": b"agent", "seq": b"41"}
    assert ending(record) == {"outcome": "agent", "last_event_id": "evt_41"}
    assert ending({}) == {"outcome": "", "last_event_id": "evt_0"}
    told = ending(record | {"outcome": b"transferred", "transfer": b"+49"})
    assert transfer_event(told) == {"event_id": "evt_41", "type": "call.transfer", "target": "+49"}


@pytest.mark.parametrize(
    "told", [{}, {"transfer": {"target": "+49"}}, {"transfer": "+49", "last_event_id": "evt_1"}, {"last_event_id": 3}]
)
def test_what_names_nobody_is_no_transfer(told: dict[str, Any]) -> None:
    """Of other servers, and of calls that ended otherwise."""
    assert transfer_event(told) is None
