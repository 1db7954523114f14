"""Which callers count as lost, and which pods are told of as silent."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from voice_agent.operate.losses import GONE_S, Losses, as_json, from_json, number_lost, why_lost
from voice_agent.stores.base import PodCounters, PodHeartbeat

BLUE = PodHeartbeat("blue-1", "blue", "1", "ok", 4, 0, 10, 1, 0, counters=PodCounters(dropped=5, causes={"drain": 5}))
GREEN = PodHeartbeat("green-1", "green", "1", "ok", 0, 0, 10, 1, 0, counters=PodCounters())
COLORS = ("blue", "green")


def dropped(heartbeat: PodHeartbeat, **causes: int) -> PodHeartbeat:
    """A later heartbeat that counts so many."""
    return replace(heartbeat, counters=PodCounters(dropped=sum(causes.values()), causes=causes))


def test_only_what_is_lost_meanwhile_counts() -> None:
    """Each pod is held against what it had counted when it was first seen; other colors are no business of this."""
    losses = Losses(COLORS, {})
    losses.look([BLUE, GREEN, dropped(replace(BLUE, name="red-1", color="red"), drain=9)], 0)
    losses.look([dropped(BLUE, drain=7, error=1), dropped(GREEN, handoff=1)], 1)
    assert number_lost(losses.counts) == 4
    assert why_lost(losses.counts) == (
        "2 on blue: cut off at the drain's deadline, and cannot resume",
        "1 on blue: could not be written to the store",
        "1 on green: handed off, and did not come back",
    )


def test_a_loss_without_a_cause_counts_too() -> None:
    """Of a version that says only how many, or of a cause that this one does not know."""
    losses = Losses(COLORS, {})
    losses.look([GREEN, BLUE], 0)
    losses.look([replace(GREEN, counters=PodCounters(dropped=2)), dropped(BLUE, drain=5, meteor=1)], 1)
    assert number_lost(losses.counts) == 3
    assert all("for a reason that its pod does not tell" in why for why in why_lost(losses.counts))
    losses.look([replace(GREEN, counters=None)], 2)


def test_a_pod_that_starts_again_counts_anew() -> None:
    """Its counters begin at 0; what its former process had lost stays lost."""
    losses = Losses(COLORS, {})
    losses.look([BLUE], 0)
    losses.look([dropped(BLUE, drain=6)], 1)
    again = dropped(replace(BLUE, started_at_ms=9), drain=0)
    for now_s in range(2, 10):
        losses.look([again], now_s)
    losses.look([dropped(again, drain=1)], 10)
    assert number_lost(losses.counts) == 2


def test_calls_that_cannot_resume_are_lost_with_their_pod() -> None:
    """A pod that is killed counts nothing any more; it is named once, and again when it is heard of."""
    losses = Losses(COLORS, {})
    assert losses.look([replace(BLUE, calls_not_resumable=1), GREEN], 0) == []
    assert losses.look([GREEN], 1) == []
    assert losses.look([GREEN], 1 + GONE_S) == [
        "blue-1 (blue) has fallen silent: it had 4 calls, 1 of which cannot resume"
    ]
    assert losses.look([GREEN], 2 + GONE_S) == []
    assert (number_lost(losses.counts), losses.silent("blue"), losses.silent("green")) == (1, ["blue-1"], [])
    assert why_lost(losses.counts) == ("1 on blue-1 (blue): it fell silent, and they cannot resume",)
    assert losses.look([replace(BLUE, calls_not_resumable=1), GREEN], 3 + GONE_S) == ["blue-1 is heard of again"]
    assert (number_lost(losses.counts), losses.silent("blue")) == (0, [])


def test_a_pod_that_is_killed_while_it_drains_loses_what_cannot_resume() -> None:
    """As one that serves: nothing else tells that its calls are no more."""
    losses = Losses(COLORS, {})
    losses.look([replace(BLUE, status="draining", active_calls=1, calls_not_resumable=1)], 0)
    for now_s in (1, 2 + GONE_S):
        losses.look([], now_s)
    assert number_lost(losses.counts) == 1
    assert why_lost(losses.counts) == ("1 on blue-1 (blue): it fell silent, and they cannot resume",)


def test_a_pod_that_says_that_it_leaves_is_not_called_lost() -> None:
    """Its last heartbeat has no call any more, and the last of what it counted."""
    losses = Losses(COLORS, {})
    draining = replace(BLUE, status="draining", active_calls=1, calls_not_resumable=1)
    losses.look([draining], 0)
    losses.look([dropped(replace(draining, status="left", active_calls=0, calls_not_resumable=0), drain=6)], 1)
    assert losses.look([], 2) + losses.look([], 3 + GONE_S) == []
    assert (number_lost(losses.counts), losses.silent("blue")) == (1, [])
    assert why_lost(losses.counts) == ("1 on blue: cut off at the drain's deadline, and cannot resume",)


def test_a_store_that_was_away_makes_no_pod_silent() -> None:
    """What it shows first may be all that it still knows."""
    losses = Losses(COLORS, {})
    losses.look([BLUE], 0)
    losses.look([], 1)
    losses.look_failed()
    assert losses.look([], 100) == []
    assert losses.look([BLUE], 102) == []


@pytest.mark.parametrize("after", [0, 1])
def test_another_run_goes_on_with_what_was_counted(after: int) -> None:
    """Through the record: what was lost before and after the tool died, and a pod that went meanwhile."""
    first = Losses(COLORS, {})
    first.look([BLUE, replace(BLUE, name="blue-2", calls_not_resumable=2)], 0)
    first.look([dropped(BLUE, drain=6), replace(BLUE, name="blue-2", calls_not_resumable=2)], 1)
    second = Losses(COLORS, from_json(orjson.loads(orjson.dumps(as_json(first.counts)))))
    assert second.counts == first.counts
    for now_s in (500, 501 + GONE_S):
        second.look([dropped(BLUE, drain=6 + after)], now_s)
    assert number_lost(second.counts) == 1 + after + 2
