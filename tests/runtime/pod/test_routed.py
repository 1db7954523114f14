"""A handoff goes where callers are sent, and waits while that is nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import Caller, Rig, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.drain import DrainMode
from voice_agent.runtime.pod import drainer
from voice_agent.runtime.pod.drainer import NO_OTHER_COLOR
from voice_agent.runtime.pod.fleet import NAMED, ROUTED_FOR_MS, ReadyPods, ready_pods, routed_colors, some
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import Arrival
from voice_agent.stores.base import DrainRequest, PodHeartbeat, RouterWeights

NOW_MS = 10 * ROUTED_FOR_MS
BLUE = PodHeartbeat("blue-1", "blue", "1", "ok", 1, 0, 10, 1, NOW_MS)
GREEN = PodHeartbeat("green-1", "green", "1", "ok", 0, 0, 10, 1, NOW_MS)


def took(blue_ms: int, green_ms: int) -> list[PodHeartbeat]:
    """One pod of each color that took a call then; 0: never."""
    return [replace(BLUE, took_call_at_ms=blue_ms), replace(GREEN, took_call_at_ms=green_ms)]


@pytest.mark.parametrize(
    ("pods", "weights", "routed"),
    [
        (took(0, 0), None, None),
        (took(1, 0), None, {"blue", "green"}),
        (took(NOW_MS, 0), None, {"blue"}),
        (took(NOW_MS, NOW_MS - ROUTED_FOR_MS), None, {"blue", "green"}),
        (took(NOW_MS, NOW_MS - ROUTED_FOR_MS - 1), None, {"blue"}),
        # Nobody has called for nine minutes, or since the drain began: where they were sent then still counts.
        (took(2 * ROUTED_FOR_MS, 0), None, {"blue"}),
        (took(0, 0), RouterWeights({"blue": 0, "green": 100}, NOW_MS), {"green"}),
        (took(0, 0), RouterWeights({"blue": 75, "green": 25}, NOW_MS), {"blue", "green"}),
        # What was told is newer than the last call, or older: somebody has set the weights by hand since.
        (took(NOW_MS, 0), RouterWeights({"green": 100}, NOW_MS), {"green"}),
        (took(NOW_MS, 0), RouterWeights({"green": 100}, NOW_MS - 1), {"blue", "green"}),
        (took(0, 0), RouterWeights({}, NOW_MS), set()),
        (took(NOW_MS, 0), RouterWeights({}, NOW_MS - 1), {"blue"}),
    ],
)
def test_a_color_is_routed_by_what_was_told_or_what_it_took(
    pods: list[PodHeartbeat], weights: RouterWeights | None, routed: set[str] | None
) -> None:
    """A weight above 0, or a call taken since; where nothing is known, that is said."""
    assert routed_colors(pods, weights) == routed


@pytest.mark.parametrize(
    ("green_started_ms", "forwarded_ms", "routed"),
    [
        (NOW_MS - ROUTED_FOR_MS, 0, {"blue"}),
        (NOW_MS - ROUTED_FOR_MS + 1, 0, {"blue", "green"}),
        (NOW_MS - 1, NOW_MS, {"blue"}),
        (NOW_MS - 1, NOW_MS - ROUTED_FOR_MS, {"blue"}),
        (NOW_MS - 1, NOW_MS - ROUTED_FOR_MS - 1, {"blue", "green"}),
    ],
)
def test_a_color_that_nobody_may_have_tried_yet_is_routed(
    green_started_ms: int, forwarded_ms: int, routed: set[str] | None
) -> None:
    """One that has just started has taken no call: that says something only if a router sent a call elsewhere."""
    blue, green = took(NOW_MS, 0)
    pods = [replace(blue, forwarded_call_at_ms=forwarded_ms), replace(green, started_at_ms=green_started_ms)]
    assert routed_colors(pods, None) == routed
    assert routed_colors(pods, RouterWeights({"blue": 100}, 1)) == frozenset({"blue"})


async def test_a_color_that_has_just_started_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pods without a router, one call: the other pod is as good as the first."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, green):
        caller = await its.start(blue, resumable=True, arrival=Arrival.DIRECT)
        assert (blue.heartbeat.facts.now().forwarded_call_at_ms, green.heartbeat.facts.now().took_call_at_ms) == (0, 0)
        blue.drain(DrainMode.HANDOFF, 600)
        async with asyncio.timeout(PATIENCE_S):
            await blue.wait_drained()
        await caller.task


@pytest.mark.parametrize(
    ("others", "routed", "found"),
    [
        ([], None, ReadyPods((), "there is no other pod")),
        ([GREEN], None, ReadyPods(("green-1",))),
        ([replace(GREEN, status="degraded")], frozenset({"green"}), ReadyPods(("green-1",))),
        ([replace(GREEN, status="draining")], None, ReadyPods((), "no other pod takes calls (green-1 is draining)")),
        (
            [GREEN],
            frozenset({"blue"}),
            ReadyPods((), "callers are not sent to green, whose pods take calls: they are sent to blue"),
        ),
        (
            [GREEN],
            frozenset(),
            ReadyPods((), "callers are not sent to green, whose pods take calls: the router is being changed"),
        ),
        ([GREEN, BLUE], frozenset({"blue"}), ReadyPods(("blue-1",))),
    ],
)
def test_who_takes_over_is_named_or_why_nobody_does(
    others: list[PodHeartbeat], routed: frozenset[str] | None, found: ReadyPods
) -> None:
    """Pods that take calls and are of a color that callers are sent to."""
    assert ready_pods(others, routed) == found


def test_a_long_list_of_pods_is_cut_short() -> None:
    """A sentence about a fleet of fifty stays one."""
    assert some("abcd"[:NAMED]) == "a, b, c, d"
    assert some("abcde") == "a, b, c, d and 1 more"
    assert some("abcdef") == "a, b, c, d and 2 more"


@asynccontextmanager
async def two_colors(monkeypatch: pytest.MonkeyPatch, store: FaultyStore) -> AsyncIterator[tuple[Rig, Pod, Pod]]:
    """A blue and a green pod, both fit for calls; a drain asks often who else is there."""
    monkeypatch.setattr(drainer, "ASK_FLEET_S", 0.0)
    async with rig(store) as its:
        yield its, await its.pod("blue-1", "blue"), await its.pod("green-1", "green")


async def stays(store: FaultyStore, pod: Pod, caller: Caller) -> None:
    """A drain has asked the fleet, and nobody was sent away."""
    asked = store.asked_pods
    await until(lambda: store.asked_pods > asked + 3)
    assert (caller.transport.closed, pod.admission.active) == (None, 1)


@pytest.mark.parametrize("weights", [None, {"blue": 100, "green": 0}, {"blue": 100}])
async def test_a_drain_waits_while_callers_are_not_sent_elsewhere(
    monkeypatch: pytest.MonkeyPatch, weights: Mapping[str, int] | None
) -> None:
    """A call that left would find 503; it stays, the pod says why, and once callers go to green, it goes there."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, green):
        if weights is not None:
            await store.tell_weights(weights, blue.ports.clock.wall_ms())
        caller = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        with capture_logs() as lines:
            await store.request_drain("blue", DrainRequest("handoff", 600, 1))
            await blue.heartbeat.heartbeat()
            await stays(store, blue, caller)
        why = "callers are not sent to green, whose pods take calls: they are sent to blue"
        assert blue.status().drain_waits == why
        assert [line["reason"] for line in lines if line["event"].startswith("handoff waits")] == [why]
        await store.tell_weights({"green": 100}, blue.ports.clock.wall_ms())
        async with asyncio.timeout(PATIENCE_S):
            await blue.wait_drained()
        assert caller.transport.closed is not None
        assert caller.transport.closed[0] == 1012
        assert (blue.status().drain_waits, green.draining) == ("", False)


async def test_a_call_taken_elsewhere_shows_where_callers_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody moved the weights by hand: the first caller on green, new or back, lets the others follow."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, green):
        caller = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        blue.drain(DrainMode.HANDOFF, 600)
        await stays(store, blue, caller)
        await its.start(green)
        await green.heartbeat.heartbeat()
        async with asyncio.timeout(PATIENCE_S):
            await blue.wait_drained()
        await caller.task


async def test_a_smoke_call_does_not_show_where_callers_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names its color, and reaches it at weight 0; so does its resume."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, green):
        caller = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        smoke = await its.start(green, resumable=True, arrival=Arrival.ASKED_FOR)
        await smoke.gone()
        await its.resume(green, smoke.call_id, arrival=Arrival.ASKED_FOR)
        await green.heartbeat.heartbeat()
        blue.drain(DrainMode.HANDOFF, 600)
        await stays(store, blue, caller)
        assert green.heartbeat.facts.now().took_call_at_ms == 0


async def test_another_pod_of_the_same_color_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling restart of the color that serves needs no other color, nor anything told."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, _):
        caller = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        blue.drain(DrainMode.HANDOFF, 600)
        await stays(store, blue, caller)
        await its.pod("blue-2", "blue")
        async with asyncio.timeout(PATIENCE_S):
            await blue.wait_drained()
        await caller.task


async def test_pods_of_a_color_that_drains_hand_nobody_to_each_other() -> None:
    """Nor when the other's heartbeat does not say yet that it drains; a pod that drains alone does."""
    async with rig() as its:
        one, _ = its.unopened_pod("blue-1"), await its.pod("blue-2")
        await its.store.request_drain("blue", DrainRequest("handoff", 600, 1))
        await one.heartbeat.heartbeat()
        assert one.draining
        assert await one.drainer.ready_pods() == NO_OTHER_COLOR
        green = await its.pod("green-1", "green")
        assert (await one.drainer.ready_pods()).pods == (green.name,)
        one.drain(DrainMode.HANDOFF, 600)
        assert (await one.drainer.ready_pods()).pods == ("blue-2", green.name)


async def test_a_drain_that_waits_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is saved and told to come back, whoever there is: a pod that has to go goes."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, _):
        caller = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        blue.drain(DrainMode.HANDOFF, 0.3)
        async with asyncio.timeout(PATIENCE_S):
            await blue.wait_drained()
        assert caller.transport.closed is not None
        assert caller.transport.closed[0] == 1012
        assert blue.status().drain_waits == ""


async def test_a_silent_store_is_the_reason_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a call that is not written yet is not sent to where nobody could take it up."""
    store = FaultyStore()
    async with two_colors(monkeypatch, store) as (its, blue, _):
        await store.tell_weights({"green": 100}, blue.ports.clock.wall_ms())
        await its.start(blue, resumable=True, arrival=Arrival.FORWARDED)
        store.is_away = True
        blue.drain(DrainMode.HANDOFF, 600)
        await until(lambda: blue.status().drain_waits == "the store does not say which other pods there are")
        blue.drain(DrainMode.FINISH, 600)
        asked = store.asked_pods
        await until(lambda: store.asked_pods > asked + 3)
        assert blue.status().drain_waits == ""
        store.is_away = False


async def test_a_heartbeat_tells_what_a_drain_would_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attached calls that cannot come back, and how old the oldest one is; of none, nothing."""
    async with two_colors(monkeypatch, FaultyStore()) as (its, blue, green):
        before_ms = blue.ports.clock.wall_ms()
        await its.start(blue)
        back, gone = await its.start(blue, resumable=True, arrival=Arrival.FORWARDED), await its.start(blue)
        await gone.gone()
        told = blue.heartbeat.facts.now()
        assert (told.active_calls, told.calls_not_resumable) == (2, 1)
        assert before_ms <= told.oldest_call_at_ms <= told.took_call_at_ms <= blue.ports.clock.wall_ms()
        assert back.transport.closed is None
        of_none = green.heartbeat.facts.now()
        assert (of_none.calls_not_resumable, of_none.oldest_call_at_ms, of_none.took_call_at_ms) == (0, 0, 0)
