"""Whose job is next."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.speech.fair_queue import FairQueue, QueueFull


def queue_of(*items: tuple[str, str | None, int]) -> FairQueue[str]:
    """A queue of three lanes with these in it."""
    queue: FairQueue[str] = FairQueue(3, most=8, most_of_owner=3)
    for item in items:
        queue.put(*item)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    """All that waits, in its order."""
    found = []
    while (item := queue.pop(3)) is not None:
        found.append(item)
    return found


def test_owners_take_turns() -> None:
    """One that has much waiting goes after each other's first."""
    queue = queue_of(("a1", "a", 0), ("a2", "a", 0), ("a3", "a", 0), ("b1", "b", 0), ("c1", "c", 0))
    assert drained(queue) == ["a1", "b1", "c1", "a2", "a3"]


def test_lanes_go_before_each_other() -> None:
    """What came last goes first, if its lane is the first."""
    assert drained(queue_of(("late", "a", 2), ("mid", "a", 1), ("first", "b", 0))) == ["first", "mid", "late"]


def test_an_owner_is_refused_before_others_are() -> None:
    """Who has too much waiting in a lane leaves room for the rest, in this lane and in others."""
    queue = queue_of(("a1", "a", 0), ("a2", "a", 0), ("a3", "a", 0))
    with pytest.raises(QueueFull) as full:
        queue.put("a4", "a", 0)
    assert full.value.of_owner
    queue.put("b1", "b", 0)
    queue.put("a4", "a", 1)


def test_a_lane_that_is_full_refuses() -> None:
    """Those of no owner fill it alone; the next lane has room."""
    queue = queue_of(*((str(number), None, 0) for number in range(8)))
    with pytest.raises(QueueFull) as full:
        queue.put("a1", "a", 0)
    assert not full.value.of_owner
    queue.put("a1", "a", 1)


async def test_who_waits_gets_what_comes() -> None:
    """One that waits for the first lane only does not get what comes into another; a cancelled one gets nothing."""
    queue = queue_of()
    lanes = 1
    waits = asyncio.create_task(queue.get(lambda: lanes))
    gone = asyncio.create_task(queue.get(lambda: 3))
    await asyncio.sleep(0)
    gone.cancel()
    queue.put("late", "a", 2)
    await asyncio.gather(gone, return_exceptions=True)
    await asyncio.sleep(0)
    assert not waits.done()
    lanes = 3
    queue.wake()
    assert await waits == "late"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans()), max_size=40))
def test_nothing_is_lost_or_told_twice(moves: list[tuple[str, int, bool]]) -> None:
    """What is put comes out once, unless it was removed; the count is what waits."""
    queue: FairQueue[str] = FairQueue(3, most=100, most_of_owner=100)
    expected: Counter[str] = Counter()
    for number, (owner, lane, goes) in enumerate(moves):
        queue.put(str(number), owner, lane)
        if goes:
            queue.remove(str(number), owner, lane)
        else:
            expected[str(number)] += 1
    assert len(queue) == expected.total()
    assert Counter(drained(queue)) == expected
    assert len(queue) == 0
