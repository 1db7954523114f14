"""What an edge costs is judged by its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.peers.contenders import BASELINE, EDGE
from loadtest.peers.environment import opened
from loadtest.peers.fronting import DIRECT, FRONTED, INSTANT, EdgeCost
from loadtest.peers.load import run_load

GOOD = EdgeCost(
    us={BASELINE: 50.0, EDGE: 40.0},
    ratio=0.8,
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


async def test_frames_come_back_over_an_edge_whole_and_in_order() -> None:
    """The pod that waits for no store says every frame back, and the edge passes on what it says."""
    async with opened() as environment:
        edge = await environment.start(replace(FRONTED, pod=INSTANT))
        load = await run_load(edge, None, 5, 0.5)
    assert (load.wrong, load.lost) == (0, 0)
    assert load.us_per_frame > 0
