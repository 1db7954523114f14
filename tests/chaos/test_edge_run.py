"""A chaos run over edges: what is said of its gaps, and that a short one is clean."""

from __future__ import annotations

import pytest

from tests.chaos.edge_faults import Fault
from tests.chaos.edge_fleet import GoingOn
from tests.chaos.edge_run import EdgePlan, by_fault, by_struck, chaos_over_edges, percentiles_ms
from tests.chaos.timed_call import TimedPlayback


def test_a_gap_is_of_the_fault_that_began_last_before_it() -> None:
    """What was before all of them is of none."""
    faults = [Fault(10.0, "kill -9", "blue-0"), Fault(20.0, "drain", "green-1"), Fault(30.0, "kill -9", "blue-0")]
    gaps = [(9.0, 0.1), (10.0, 0.2), (19.9, 0.3), (20.1, 0.4), (31.0, 0.5)]
    assert by_fault(gaps, faults) == {"none": [0.1], "kill -9": [0.2, 0.3, 0.5], "drain": [0.4]}


def test_a_call_waits_for_the_fault_of_the_pod_that_had_it() -> None:
    """A pod that was stopped is missed when others have been killed since; a first time is nobody's."""
    faults = [Fault(10.0, "stop", "a"), Fault(11.0, "kill -9", "b"), Fault(30.0, "drain", "a")]
    gone = [(13.5, 3.4, "a"), (11.2, 0.2, "b"), (30.1, 0.1, "a"), (31.0, 0.3, ""), (9.0, 0.1, "a")]
    seen = [GoingOn(at_s, 1006, gap_s, pod) for at_s, gap_s, pod in gone]
    assert by_struck(seen, faults) == {"stop": [3.4], "kill -9": [0.2], "drain": [0.1]}


def test_percentiles_are_told_with_how_many_they_are_of() -> None:
    """Also those of one."""
    assert percentiles_ms([0.25]) == "250, 250, 250 (1)"
    assert percentiles_ms([number / 1000 for number in range(101)]) == "50, 99, 100 (101)"


def test_every_silence_in_a_reply_is_kept() -> None:
    """Not that before it, nor that between two replies."""
    playback = TimedPlayback()
    for response_id, at_s in (("a", 1.0), ("a", 1.1), ("a", 1.5), ("a", 1.9), ("b", 9.0), ("b", 9.1)):
        playback.hear(response_id, 4800, at_s)
    assert [(round(began_s, 3), round(pause_s, 3)) for began_s, pause_s in playback.pauses] == [(1.2, 0.3), (1.6, 0.3)]
    assert round(playback.longest_silence_s, 3) == 0.3


@pytest.mark.soak
@pytest.mark.parametrize("storm", [False, True])
async def test_a_short_run_is_clean(*, storm: bool) -> None:
    """Nobody sees a close, an event twice or not at all, or other audio; `make chaos ARGS="--edges 2"` runs longer."""
    verdict = await chaos_over_edges(EdgePlan(edges=2, callers=20, faults=15, seed=7, storm=storm))
    assert verdict.is_clean, verdict.bad_callers + verdict.complaints
    assert verdict.gone_on
    assert not verdict.lost
