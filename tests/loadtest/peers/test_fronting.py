"""What an edge costs is judged by its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.peers.contenders import BASELINE, EDGE
from loadtest.peers.environment import opened
from loadtest.peers.fronting import DIRECT, FRONTED, INSTANT, EdgeCost, latency_fault
from loadtest.peers.load import Load, run_load

GOOD = EdgeCost(
    us={BASELINE: 50.0, EDGE: 40.0},
    ratio=0.8,
    calls=200,
    p99_ms={DIRECT: [1.0, 2.0, 3.0], EDGE: [2.0, 3.5, 9.0]},
    idle_kb=27.0,
    talking_kb=140.0,
    notes=[],
)


def test_added_latency_is_between_the_medians_of_both_ways() -> None:
    """One late round of the machine's decides nothing."""
    assert GOOD.added_ms == 1.5
    assert all(verdict.reached for verdict in GOOD.verdicts())


@pytest.mark.parametrize(
    "worse",
    [
        replace(GOOD, ratio=0.91),
        replace(GOOD, p99_ms={DIRECT: [1.0], EDGE: [3.1]}),
        replace(GOOD, idle_kb=30.1),
        replace(GOOD, talking_kb=301.0),
    ],
)
def test_each_figure_can_fail_by_itself(worse: EdgeCost) -> None:
    """One of the four is above its limit."""
    assert [verdict.reached for verdict in worse.verdicts()].count(False) == 1


def test_a_round_on_a_full_core_or_with_frames_missing_is_no_latency() -> None:
    """What waits there says nothing of what an edge adds; the run tells so instead."""
    sound = Load(
        calls=200,
        seconds=4.0,
        us_per_frame=40.0,
        core=0.4,
        store_us=None,
        p99_s=0.001,
        lag_p99_s=0.0,
        wrong=0,
        missing=0,
        lost=0,
        pss_kb=1,
    )
    assert latency_fault(sound) == ""
    for worse in (replace(sound, core=0.9), replace(sound, missing=3), replace(sound, lag_p99_s=0.5)):
        assert "with 200 calls" in latency_fault(worse)


async def test_frames_come_back_over_an_edge_whole_and_in_order() -> None:
    """The pod that waits for no store says every frame back, and the edge passes on what it says."""
    async with opened() as environment:
        edge = await environment.start(replace(FRONTED, pod=INSTANT))
        load = await run_load(edge, None, 5, 0.5)
    assert (load.wrong, load.lost) == (0, 0)
    assert load.us_per_frame > 0
