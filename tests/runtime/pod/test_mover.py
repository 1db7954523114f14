"""A pod gives some of its calls away, and goes on with the rest. Tests of `handoffs`, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.call.calls import new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import Rig, rig, told
from tests.waiting import until
from voice_agent.call.drain import DrainMode
from voice_agent.runtime.pod import drainer, mover
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.handoffs import Handoffs
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.pod_request import Destination, PodRequest
from voice_agent.runtime.ports import ClientOptions
from voice_agent.stores.base import PodHeartbeat

LOOK_S = 1 / 16
"""Exact as a float."""
EDGE = ClientOptions(resumable_now=True, received=True, directed=True)
AT_ONCE = ClientOptions(resumable_now=True)
AS_USUAL = ClientOptions()
LIBRARY = ClientOptions(received=True)


@pytest.fixture
async def pod(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pod]:
    """One of which nothing runs but what a test asks for."""
    monkeypatch.setattr(mover, "LOOK_S", LOOK_S)
    async with rig() as its:
        for name in ("a", "b"):
            other = PodHeartbeat(name, "blue", "1", "ok", 0, 0, 10, 1, 1, address=f"ws://{name}:1")
            await its.store.heartbeat(other, ttl_s=10**7)
        yield its.unopened_pod("blue-1", clock=StoppedClock())


class Attached:
    """A call as a move sees it; it goes at the `goes_at`-th try."""

    def __init__(
        self, pod: Pod, number: int, client: ClientOptions = EDGE, *, resumable: bool = True, goes_at: int = 1
    ) -> None:
        self.call = new_call(call_id=f"call_{number:026d}")
        self.call.lifecycle.resumable = resumable
        self.connection: Any = SimpleNamespace(client=client, closing=None)
        self.went_to: str | None = None
        self.tries = 0
        self.goes_at = goes_at
        self.may_end = asyncio.Event()
        self.may_end.set()
        pod.owned.by_id[self.call.call_id] = self  # type: ignore[assignment]  # as a move sees it

    async def hand_off(self, *, force: bool = False, to: str = "") -> bool:
        assert not force
        self.tries += 1
        await self.may_end.wait()
        if self.tries != self.goes_at:
            return False
        self.went_to, self.connection = to, None
        return True


def move(deadline_s: int, *destinations: Destination) -> PodRequest:
    return PodRequest("4f", 1, deadline_s, evacuates=False, destinations=destinations)


async def over(pod: Pod) -> None:
    """Wait for the end of the move."""
    task = pod.heartbeat.requests.mover._task
    assert task is not None
    await until(task.done)


async def test_exactly_as_many_calls_go_as_are_asked_for(pod: Pod) -> None:
    """Each to a pod that is named, as many to each as it is to get; the rest stays, and so does the pod."""
    calls = [Attached(pod, number) for number in range(30)]
    pod.heartbeat.requests.mover.start(move(60, Destination("ws://a:1", 9), Destination("ws://b:1", 4)))
    assert pod.heartbeat.requests.mover.left == 13
    await over(pod)
    went = [call.went_to for call in calls if call.went_to is not None]
    assert (went.count("ws://a:1"), went.count("ws://b:1"), len(went)) == (9, 4, 13)
    assert pod.heartbeat.requests.mover.left == 0
    assert not pod.draining


async def test_a_few_go_at_a_time(pod: Pod) -> None:
    """So that the pods that take them over keep up."""
    calls = [Attached(pod, number) for number in range(30)]
    pod.heartbeat.requests.mover.start(move(60, Destination("", 30)))
    for _ in range(100):
        if any(call.tries for call in calls):
            break
        await asyncio.sleep(0)
    assert sum(call.tries for call in calls) == mover.MOVES_AT_ONCE
    await over(pod)
    assert all(call.went_to == "" for call in calls)


async def test_whoever_can_be_told_where_to_go_goes_first(pod: Pod) -> None:
    """Then who may go at any moment; nobody who would be lost."""
    calls = [
        Attached(pod, 1, resumable=False),
        Attached(pod, 2, AS_USUAL),
        Attached(pod, 3, AT_ONCE),
        Attached(pod, 4, EDGE),
    ]
    for number, gone in ((1, [4]), (1, [4, 3]), (9, [4, 3, 2])):
        pod.heartbeat.requests.mover.start(move(1, Destination("ws://a:1", number)))
        await over(pod)
        assert [number for number, call in enumerate(calls, 1) if call.went_to is not None] == sorted(gone)
    assert pod.heartbeat.requests.mover.left == 8


async def test_places_that_are_named_are_for_those_who_can_be_told(pod: Pod) -> None:
    """Whoever else is moved goes where the load balancer sends it, and takes none of them."""
    calls = [Attached(pod, 1, LIBRARY), Attached(pod, 2, EDGE)]
    handoffs = Handoffs([Destination("ws://a:1", 1)])
    for call in calls:
        handoffs.begin(call)  # type: ignore[arg-type]  # as a move sees it
    await until(lambda: handoffs.made == 2)
    assert [call.went_to for call in calls] == ["", "ws://a:1"]


async def test_nobody_is_told_of_a_place_that_was_taken(pod: Pod) -> None:
    """Who comes after goes where the load balancer sends it."""
    calls = [Attached(pod, 1), Attached(pod, 2)]
    handoffs = Handoffs([Destination("ws://a:1", 1)])
    for call in calls:
        handoffs.begin(call)  # type: ignore[arg-type]  # as a move sees it
        await until(lambda: not handoffs.under_way)
    assert [call.went_to for call in calls] == ["ws://a:1", ""]


async def test_a_pod_that_closes_moves_nobody_any_more(pod: Pod) -> None:
    """Its calls are written and left in the store."""
    call = Attached(pod, 1, goes_at=-1)
    mover = pod.heartbeat.requests.mover
    mover.start(move(10**6, Destination("", 1)))
    await until(lambda: call.tries)
    del pod.owned.by_id[call.call.call_id]
    await pod.close()
    task = mover._task
    assert task is not None
    await until(task.done)
    assert task.cancelled()


async def test_a_call_that_cannot_go_yet_is_tried_again_until_the_deadline(pod: Pod) -> None:
    """Never twice at once, and its place with its new pod is kept for it."""
    slow, never = Attached(pod, 1, goes_at=3), Attached(pod, 2, goes_at=-1)
    slow.may_end.clear()
    pod.heartbeat.requests.mover.start(move(10**6, Destination("ws://a:1", 2)))
    await until(lambda: never.tries >= 4)
    assert slow.tries == 1
    slow.may_end.set()
    await until(lambda: slow.went_to is not None)
    pod.heartbeat.requests.mover.start(move(1, Destination("ws://a:1", 1)))
    await over(pod)
    assert (slow.tries, slow.went_to, pod.heartbeat.requests.mover.left) == (3, "ws://a:1", 1)
    assert never.connection is not None


async def test_nobody_is_moved_where_no_other_pod_takes_calls(pod: Pod) -> None:
    """But an edge's call, to the pod that is named; and not even that while calls are not written."""
    usual, edge, second = Attached(pod, 1, AT_ONCE), Attached(pod, 2), Attached(pod, 3)
    overloaded = ReadyPods((), "no other pod takes calls", frozenset({"ws://a:1"}))
    found = [drainer.UNSAVED, drainer.STORE_IS_SILENT, *[overloaded] * 10]
    asked: list[ReadyPods] = []

    async def ready_pods() -> ReadyPods:
        assert (usual.tries, edge.tries) == (0, 0) or len(asked) > 2
        asked.append(found[len(asked)])
        return asked[-1]

    with patch.object(pod.drainer, "ready_pods", ready_pods):
        pod.heartbeat.requests.mover.start(move(8, Destination("ws://a:1", 1), Destination("", 1)))
        await over(pod)
    assert len(asked) > 3
    assert (usual.went_to, edge.went_to, second.went_to) == (None, "ws://a:1", None)


@pytest.mark.parametrize("status", [None, "draining"])
async def test_to_a_pod_that_is_named_and_gone_no_call_is_sent(pod: Pod, status: str | None) -> None:
    """Nor to one that leaves: what it was to get goes where the load balancer sends it, and is counted as moved."""
    if status is not None:
        leaves = PodHeartbeat("c", "blue", "1", status, 0, 0, 10, 1, 1, address="ws://c:1")
        await pod.ports.store.heartbeat(leaves, ttl_s=10**7)
    calls = [Attached(pod, number) for number in range(5)]
    with told(pod, "calls_moved") as moves:
        pod.heartbeat.requests.mover.start(move(60, Destination("ws://c:1", 3), Destination("ws://a:1", 2)))
        await over(pod)
    assert sorted(str(call.went_to) for call in calls) == ["", "", "", "ws://a:1", "ws://a:1"]
    assert moves == [(5, 0)]


async def test_what_was_taken_back_is_told_as_left(pod: Pod) -> None:
    """As what has not moved until the deadline is."""
    call = Attached(pod, 1, goes_at=-1)
    with told(pod, "calls_moved") as moves:
        pod.heartbeat.requests.mover.start(move(60, Destination("", 2)))
        await until(lambda: call.tries)
        pod.heartbeat.requests.mover.stop()
        await over(pod)
    assert moves == [(0, 2)]


async def test_pods_of_one_address_take_what_both_are_to_get(pod: Pod) -> None:
    """Workers of one machine have one."""
    calls = [Attached(pod, number) for number in range(6)]
    pod.heartbeat.requests.mover.start(move(60, Destination("ws://a:1", 5), Destination("ws://a:1", 1)))
    await over(pod)
    assert [call.went_to for call in calls] == ["ws://a:1"] * 6


async def test_a_drain_takes_the_place_of_a_move(pod: Pod) -> None:
    """It moves all of them."""
    call = Attached(pod, 1, goes_at=-1)
    pod.heartbeat.requests.mover.start(move(600, Destination("", 1)))
    await until(lambda: call.tries)
    pod.admission.active = 1
    pod.drain(DrainMode.FINISH, 600)
    await over(pod)
    assert pod.heartbeat.requests.mover.left == 1
    pod.drainer.cancel()


async def test_a_handoff_that_fails_leaves_the_call_where_it_is(pod: Pod) -> None:
    """It is logged, and tried again."""
    call = Attached(pod, 1)
    handoffs = Handoffs([Destination("ws://a:1", 1)])

    async def fail(*, force: bool, to: str) -> bool:
        raise RuntimeError("a fault")

    with capture_logs() as lines:
        call.hand_off = fail  # type: ignore[method-assign, assignment]  # a fault
        handoffs.begin(call)  # type: ignore[arg-type]  # as a move sees it
        assert handoffs.is_under_way(call.call.call_id)
        await until(lambda: not handoffs.under_way)
        del call.hand_off  # the class's own again
        handoffs.begin(call)  # type: ignore[arg-type]  # as a move sees it
        await until(lambda: handoffs.made)
    assert call.went_to == "ws://a:1"
    assert [line["event"] for line in lines] == ["a call cannot be handed off"]
    assert handoffs.was_tried(call.call.call_id)


async def test_whoever_is_moved_by_an_edge_is_told_where_to_go(its: Rig) -> None:
    """By the reason of the close; any other client is told nothing of the kind, though it asks what is durable."""
    pod = await its.pod()
    now_ms = pod.ports.clock.wall_ms()
    other = PodHeartbeat("other", pod.color, "1", "ok", 0, 0, 10, 1, now_ms, address="ws://a:1")
    await its.store.heartbeat(other, ttl_s=600)
    for client, reason in ((EDGE, "moved to ws://a:1"), (LIBRARY, "service restart: reconnect now")):
        caller = await its.start(pod, client=client, resumable=True)
        pod.heartbeat.requests.mover.start(move(60, Destination("ws://a:1", 1)))
        await caller.transport.until(lambda transport: transport.closed)
        assert caller.transport.closed == (1012, reason)


@pytest.fixture
async def its() -> AsyncIterator[Rig]:
    """Whole pods."""
    async with rig() as made:
        yield made


async def test_no_more_calls_are_begun_than_are_asked_for(pod: Pod) -> None:
    """However long each takes: one that is under way may be the last."""
    calls = [Attached(pod, number) for number in range(30)]
    for call in calls:
        call.may_end.clear()
    pod.heartbeat.requests.mover.start(move(10**6, Destination("", 7)))
    await until(lambda: sum(call.tries for call in calls) >= 7)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(call.tries for call in calls) == 7
    for call in calls:
        call.may_end.set()
    await over(pod)
    assert sum(call.went_to is not None for call in calls) == 7
