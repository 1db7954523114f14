"""What a look at the fleet proves about calls that were to move."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.operate.test_drain import ShownStore, SteppedClock
from tests.operate.test_evacuating import asked_of, pod
from voice_agent.operate.balancing import PlannedMove
from voice_agent.operate.drain import GONE_S, LOOK_S
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.operate.pod_requests import ask
from voice_agent.operate.rebalancing import EXTRA_WAIT_S, MoveWatch, Rebalanced, destinations, rebalance
from voice_agent.runtime.pod.pod_request import Destination, PodRequest, value_name
from voice_agent.stores.base import PodHeartbeat

MOVES = [PlannedMove("one", "three", 2), PlannedMove("one", "two", 1)]


def moving(one: PodHeartbeat, left: int, request_id: str = "4f") -> PodHeartbeat:
    """Once it has taken the request up."""
    return replace(one, applied_request=request_id, moves_left=left)


def test_calls_go_to_the_address_that_a_pod_tells() -> None:
    """Where it tells none, the load balancer chooses."""
    fleet = Fleet([pod("one"), pod("three", address="ws://three:1"), pod("two")])
    assert destinations(MOVES, fleet) == {"one": [Destination("ws://three:1", 2), Destination("", 1)]}


def test_calls_have_moved_once_the_pod_says_so() -> None:
    """Not before it has taken up what is asked."""
    one = pod("one", 5)
    watch = MoveWatch([one], "4f", {"one": 3})
    watch.look(Fleet([one]), 1)
    assert (watch.moved, watch.left, watch.not_taken_up) == (False, {"one": 3}, ["one"])
    watch.look(Fleet([moving(one, 1)]), 2)
    assert (watch.moved, watch.left, watch.not_taken_up) == (False, {"one": 1}, [])
    watch.look(Fleet([moving(one, 0)]), 3)
    assert (watch.moved, watch.gone) == (True, set())


def test_a_pod_that_left_or_was_asked_for_something_else_moves_nothing_more() -> None:
    """The first only after a while: a store that lost its memory shows nobody."""
    watch = MoveWatch([pod("one"), pod("two"), pod("three")], "4f", {"one": 1, "two": 1, "three": 1})
    watch.look(Fleet([moving(pod("one"), 1), moving(pod("two"), 1), replace(pod("three"), started_at_ms=9)]), 0)
    assert watch.gone == {"three"}
    watch.look(Fleet([moving(pod("one"), 0, "5a")]), 1)
    assert watch.gone == {"three", "one"}
    watch.look(Fleet([]), GONE_S - 0.1)
    watch.look_failed()
    watch.look(Fleet([]), GONE_S)
    assert not watch.moved
    watch.look(Fleet([]), 2 * GONE_S)
    assert (watch.moved, watch.gone) == (True, {"one", "two", "three"})


async def test_what_has_not_moved_until_the_deadline_stays() -> None:
    """And is told; each pod is asked for its own calls."""
    one, two = pod("one", 9, started_at_ms=7), pod("two", address="ws://two:1")
    store = ShownStore(one, two)

    class Clock(SteppedClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            request = await asked_of(store, "one")
            store.heartbeats = [moving(one, 1, request.request_id), two]

    clock = Clock()
    left: list[int] = []
    done = await rebalance(
        store,
        Fleet([one, two]),
        [PlannedMove("one", "two", 3)],
        20,
        clock,
        looked=lambda watch: left.append(watch.left["one"]),
    )
    assert clock.sleeps == (20 + EXTRA_WAIT_S) / LOOK_S
    assert left[:3] == [3, 1, 1]
    assert (done.planned, done.moved, done.gone) == (3, 2, ())
    assert str(done) == "moved 2 of 3 calls."
    request = await asked_of(store, "one")
    assert request == PodRequest(
        request.request_id, 7, 20, evacuates=False, destinations=(Destination("ws://two:1", 3),)
    )
    assert await store.get(value_name("two")) is None


async def test_a_pod_that_is_being_evacuated_is_left_alone() -> None:
    """It moves all of its calls anyway; one that was started again is not."""
    store = ShownStore(pod("one", 9))
    standing = PodRequest("5a", 0, 60, evacuates=True)
    await ask(store, "one", lambda _: standing, 60)
    with pytest.raises(FleetError, match=r"^one is being evacuated\.$"):
        await rebalance(store, Fleet([pod("one", 9)]), MOVES, 20, SteppedClock())
    again = pod("one", 9, started_at_ms=7)
    store.heartbeats = [again]
    with pytest.raises(FleetError, match="did not take up"):
        await rebalance(store, Fleet([again]), MOVES, 20, SteppedClock())
    assert await store.get(value_name("one")) is None


async def test_what_is_cut_short_is_taken_back() -> None:
    """Ctrl+C, or a pod that cannot be asked; what somebody else has asked for since stands."""
    one, two = pod("one", 9, address="ws://one:1"), pod("two", 9, address="ws://two:1")
    moves = [PlannedMove("one", "three", 1), PlannedMove("two", "three", 1)]
    store = ShownStore(one, two)
    other = PodRequest("5a", two.started_at_ms, 60, evacuates=True)

    class Interrupted(SteppedClock):
        async def sleep(self, seconds: float) -> None:
            assert await store.get(value_name("one")) is not None
            await ask(store, "two", lambda _: other, 60)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await rebalance(store, Fleet([one, two]), moves, 20, Interrupted())
    assert await store.get(value_name("one")) is None
    assert await asked_of(store, "two") == other
    with pytest.raises(FleetError, match=r"^two is being evacuated\.$"):
        await rebalance(store, Fleet([one, two]), moves, 20, SteppedClock())
    assert await store.get(value_name("one")) is None


def test_all_that_was_planned_is_told_as_that() -> None:
    """And who is gone."""
    assert str(Rebalanced((), planned=1, moved=1)) == "moved 1 call."
    done = Rebalanced((), planned=2, moved=0, gone=("one",))
    assert str(done) == "moved 0 of 2 calls; gone meanwhile: one."
