"""What a caller is told first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.rig import rig
from voice_agent.call import events
from voice_agent.call.completeness import Missing
from voice_agent.call.effects import Attached
from voice_agent.runtime.ports import ClientOptions


@pytest.mark.parametrize(
    ("gap", "missing", "found"),
    [
        (None, Missing(), None),
        ((3, 5), Missing(), {"from": "evt_3", "to": "evt_5"}),
        (None, Missing(items=2), {"from": None, "to": None, "items": 2}),
        (None, Missing(events=4), None),
        ((3, 3), Missing(items=1, events=2, speech=4), {"from": "evt_3", "to": "evt_3", "items": 1, "speech": 4}),
    ],
)
async def test_a_caller_is_told_which_events_and_how_much_else_is_gone(
    gap: tuple[int, int] | None, missing: Missing, found: Any
) -> None:
    """Events by their ids, and only those that this client has missed; nothing of what is there."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        live = pod.owned.by_id[caller.call_id]
        greeting = pod.connector.greeter.describe(
            live.call, Attached(5, gap, [], rewound=False, missing=missing), resumed=True
        )
        assert greeting["gap"] == found


async def test_a_client_that_counts_bytes_is_told_by_which_event_its_position_holds() -> None:
    """Also one that waits for its write: by it the format may have changed in which the greeting counts."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, client=ClientOptions(received=True))
        call = pod.owned.by_id[caller.call_id].call
        attached = Attached(0, None, [], rewound=False)
        before = call.outbox.seq
        call.outbox.emit(events.input_audio_cleared())
        assert call.outbox.visible_seq == before
        greeting = pod.connector.greeter.describe(call, attached, resumed=True)
        assert greeting["newest_event_id"] == f"evt_{before + 1}"
