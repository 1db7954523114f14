"""What an operator is told before a color is drained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voice_agent.operate.fleet import Fleet
from voice_agent.operate.outlook import outlook
from voice_agent.stores.base import PodHeartbeat, RouterWeights

AT_MS = 3 * 3600 * 1000
HOURS_MS = 3600 * 1000
BLUE = PodHeartbeat(
    "blue-1", "blue", "1", "ok", 3, 0, 10, 1, AT_MS, calls_not_resumable=1, oldest_call_at_ms=AT_MS - 300_000
)
GREEN = PodHeartbeat("green-1", "green", "1", "ok", 0, 0, 10, 1, AT_MS)
TO_BLUE, TO_GREEN = RouterWeights({"blue": 100, "green": 0}, AT_MS), RouterWeights({"green": 100}, AT_MS)


@pytest.mark.parametrize(
    ("pods", "weights", "words"),
    [
        (
            [BLUE, GREEN],
            TO_GREEN,
            (
                "green-1 is expected to take over; blue has 3 calls, the oldest 5 min old; 1 cannot resume, and is "
                "lost unless ended within 60 s of the drain."
            ),
        ),
        (
            [BLUE, replace(BLUE, name="blue-2"), GREEN, replace(GREEN, name="green-2")],
            TO_GREEN,
            (
                "green-1, green-2 are expected to take over; blue has 6 calls, the oldest 5 min old; 2 cannot "
                "resume, and are lost unless ended within 60 s of the drain."
            ),
        ),
        (
            [replace(BLUE, active_calls=1, calls_not_resumable=0, oldest_call_at_ms=AT_MS - 2 * HOURS_MS), GREEN],
            TO_BLUE,
            (
                "nobody is expected to take over: callers are not sent to green, whose pods take calls: they are sent "
                "to blue; blue has 1 call, the oldest 2 h old; all can resume."
            ),
        ),
        ([replace(BLUE, active_calls=0, calls_not_resumable=0, oldest_call_at_ms=0)], None, "blue has no call."),
        # A version that does not say how old its calls are.
        ([replace(BLUE, oldest_call_at_ms=0), GREEN], TO_GREEN, "blue has 3 calls, how old is not known; 1 cannot"),
    ],
)
def test_who_takes_over_and_what_it_costs(pods: list[PodHeartbeat], weights: RouterWeights | None, words: str) -> None:
    """Pods of another color that callers are sent to; calls that cannot resume; the oldest call."""
    assert words in str(outlook(Fleet(pods), weights, "blue", 60))


def test_the_age_of_a_call_is_a_difference_of_one_clock() -> None:
    """The pod's heartbeat and its call are both told by the store's clock; what the tool's says does not matter."""
    behind = replace(BLUE, name="blue-2", heartbeat_at_ms=1000, oldest_call_at_ms=400)
    assert outlook(Fleet([BLUE, behind]), None, "blue", 60).oldest_call_s == 300
    assert outlook(Fleet([behind]), None, "blue", 60).oldest_call_s == 0
