"""What a pod learns of the others decides in which schema it writes; see also `test_overload` and `test_quota`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.runtime.clocks import LeapingClock
from voice_agent.runtime.pod.other_pods import OtherPods
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.stores.base import PodHeartbeat, PodState

OWN = PodHeartbeat("own", "blue", "1", PodState.OK, 0, 0, 1, 0, 0, reads_schemas=(2, 3))
OLDER = replace(OWN, name="older", reads_schemas=(2, 2))


def written(*seen: Iterable[PodHeartbeat]) -> list[int]:
    """What a pod writes from its start on, after each look at the fleet."""
    schemas: list[int] = []
    others = OtherPods(LeapingClock(), KeyQuota(0), reads_schemas=(2, 3), use_schema=schemas.append)
    for heartbeats in seen:
        others.learn(OWN, [OWN, *heartbeats])
    return schemas


def test_a_pod_that_knows_nobody_yet_writes_the_oldest_schema() -> None:
    """Until it has asked: there may be a pod that reads no other."""
    assert written() == [2]


def test_a_pod_that_has_left_needs_to_read_nothing() -> None:
    """Its last heartbeat is there for some seconds more. One that drains may take calls again."""
    assert written([OLDER], [replace(OLDER, status=PodState.LEFT)]) == [2, 2, 3]
    assert written([replace(OLDER, status=PodState.DRAINING)]) == [2, 2]


@pytest.mark.parametrize(("reads", "limit", "wanted"), [((2, 2), 0, False), ((2, 3), 0, True), ((2, 2), 1, True)])
def test_the_others_are_asked_only_for_what_matters(reads: tuple[int, int], limit: int, wanted: bool) -> None:
    """In which schema to write, or how many calls a key has elsewhere."""
    assert OtherPods(LeapingClock(), KeyQuota(limit), reads_schemas=reads).is_wanted(OWN) is wanted
