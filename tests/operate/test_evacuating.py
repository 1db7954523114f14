"""What a look at the fleet proves about an evacuation, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.operate.test_drain import ShownStore, SteppedClock, heartbeat
from voice_agent.operate.drain import GONE_S, LOOK_S
from voice_agent.operate.evacuating import (
    EXTRA_WAIT_S,
    Evacuation,
    EvacuationOptions,
    EvacuationWatch,
    evacuate,
    who_takes_over,
)
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.operate.pod_requests import TAKEN_UP_S
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.pod_request import Destination, PodRequest, request_of, value_name
from voice_agent.stores.base import PodHeartbeat

READY = ReadyPods(("two",))


def pod(name: str, active: int = 0, **more: object) -> PodHeartbeat:
    """One that can be asked."""
    return replace(heartbeat(name, active), applied_request="", **more)  # type: ignore[arg-type]  # fields


def leaving(one: PodHeartbeat, active: int = 0, request_id: str = "4f", **more: object) -> PodHeartbeat:
    """Once it has taken the request up."""
    said = replace(one, status="draining", active_calls=active, applied_request=request_id)
    return replace(said, **more)  # type: ignore[arg-type]  # fields


async def asked_of(store: ShownStore, name: str) -> PodRequest:
    found = request_of(await store.get(value_name(name)))
    assert found is not None
    return found


def test_a_pod_is_evacuated_once_it_names_the_request_and_no_call() -> None:
    """That it has no calls, or drains for another reason, is not enough."""
    one = pod("one", 2, calls_not_resumable=1)
    watch = EvacuationWatch([one], "4f")
    watch.look(Fleet([replace(one, status="draining", active_calls=0)]), 1)
    assert (watch.evacuated, watch.not_taken_up) == (False, ["one"])
    watch.look(Fleet([leaving(one, 1, calls_not_resumable=1)]), 2)
    assert (watch.evacuated, watch.active_calls, watch.calls_not_resumable) == (False, 1, 1)
    assert watch.not_taken_up == []
    watch.look(Fleet([leaving(one)]), 3)
    assert (watch.evacuated, watch.gone) == (True, [])


def test_a_pod_that_left_or_was_started_again_has_none_of_its_calls() -> None:
    """The first only after a while: a store that lost its memory shows nobody."""
    one, two = pod("one", 3), pod("two", 2)
    watch = EvacuationWatch([one, two], "4f")
    watch.look(Fleet([replace(two, started_at_ms=9)]), 10)
    assert watch.gone == ["two"]
    watch.look(Fleet([]), 10 + GONE_S - 0.1)
    assert not watch.evacuated
    watch.look_failed()
    watch.look(Fleet([]), 10 + GONE_S)
    assert not watch.evacuated
    watch.look(Fleet([]), 10 + 2 * GONE_S)
    assert (watch.evacuated, watch.active_calls) == (True, 0)


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (lambda one: replace(leaving(one), status="ok"), "takes calls again"),
        (lambda one: leaving(one, request_id="5a"), "asked for something else"),
    ],
)
def test_an_evacuation_that_somebody_ended_is_none(then: Callable[[PodHeartbeat], PodHeartbeat], why: str) -> None:
    """It must not look like success."""
    one = pod("one", 3)
    watch = EvacuationWatch([one], "4f")
    watch.look(Fleet([leaving(one, 3)]), 1)
    with pytest.raises(FleetError, match=why):
        watch.look(Fleet([then(one)]), 2)


async def test_pods_are_asked_together_and_waited_for() -> None:
    """Each is told of the other; what stands in the store outlasts the command."""
    one, two = pod("one", 2), pod("two", 1, started_at_ms=8)
    store = ShownStore(one, two)
    left: list[int] = []

    async def seen() -> str:
        return (await asked_of(store, "one")).request_id

    class Clock(SteppedClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            calls = {1: 2, 2: 1}.get(self.sleeps, 0)
            store.heartbeats = [leaving(one, calls, await seen()), leaving(two, 0, await seen())]

    done = await evacuate(
        store,
        [one, two],
        EvacuationOptions(60, closes_rest=True, destinations={"one": [Destination("ws://three:1", 2)]}),
        Clock(),
        ready=READY,
        looked=lambda watch: left.append(watch.active_calls),
    )
    assert left == [3, 2, 1, 0]
    assert (done.evacuated, done.pods, done.ready_pods) == (True, ("one", "two"), ("two",))
    assert str(done) == "one, two: no call left. They take no new ones."
    asked = [await asked_of(store, name) for name in ("one", "two")]
    assert asked[0].request_id == asked[1].request_id
    assert [request.started_at_ms for request in asked] == [0, 8]
    assert [tuple(request.along) for request in asked] == [("two",), ("one",)]
    assert [len(request.destinations) for request in asked] == [1, 0]
    assert all((request.evacuates, request.closes_rest, request.deadline_s) == (True, True, 60) for request in asked)


async def test_calls_that_cannot_move_are_left_at_the_deadline() -> None:
    """And told; the wait lasts a little longer than it, for pods say so late."""
    one = pod("one", 2, calls_not_resumable=1)
    store = ShownStore(one)

    class Clock(SteppedClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            request = await asked_of(store, "one")
            store.heartbeats = [leaving(one, 1, request.request_id)]

    clock = Clock()
    done = await evacuate(store, [one], EvacuationOptions(20), clock, ready=READY)
    assert clock.sleeps == (20 + EXTRA_WAIT_S) / LOOK_S
    assert (done.evacuated, done.active_calls, done.calls_not_resumable) == (False, 1, 1)
    assert str(done) == "one: 1 call left, of which 1 cannot resume"


async def test_a_pod_that_does_not_take_up_what_is_asked_is_told() -> None:
    """A silence of the store does not count against it."""
    one = pod("one", 2)
    store = ShownStore(one)

    def meanwhile(sleeps: int) -> None:
        store.silent = 2 <= sleeps < 2 + TAKEN_UP_S / LOOK_S

    clock = SteppedClock(meanwhile)
    with pytest.raises(FleetError, match="one did not take up what was asked within 10 s"):
        await evacuate(store, [one], EvacuationOptions(600), clock, ready=READY)
    assert 2 * TAKEN_UP_S / LOOK_S <= clock.sleeps <= 2 * TAKEN_UP_S / LOOK_S + 2


async def test_nobody_is_asked_where_one_cannot_be() -> None:
    """Half an evacuation helps no one."""
    store = ShownStore()
    with pytest.raises(FleetError, match="two is of a version"):
        await evacuate(store, [pod("one"), heartbeat("two")], EvacuationOptions(60), SteppedClock(), ready=READY)
    assert await store.get(value_name("one")) is None


async def test_asking_without_waiting_proves_nothing() -> None:
    """It is asked, and that is all."""
    store = ShownStore(pod("one"))
    done = await evacuate(store, [pod("one")], EvacuationOptions(60, wait=False), SteppedClock(), ready=READY)
    assert not done.evacuated
    assert (await asked_of(store, "one")).evacuates


def test_pods_that_leave_take_nobody_over() -> None:
    """Those are who takes calls beside them, of a color that is routed."""
    fleet = Fleet([pod("one"), pod("two"), pod("three")])
    assert who_takes_over(fleet, None, [pod("one"), pod("two")]).pods == ("three",)
    assert who_takes_over(fleet, None, fleet.pods).why_none == "there is no other pod"


def test_a_pod_that_is_gone_is_told() -> None:
    """Whoever reads the result should know."""
    done = Evacuation(("one",), evacuated=True, active_calls=0, calls_not_resumable=0, gone=("one",))
    assert str(done) == "one: no call left; gone meanwhile: one. It takes no new ones."
    assert done.as_json()["gone"] == ("one",)
