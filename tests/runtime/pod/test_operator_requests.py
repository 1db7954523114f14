"""What operators ask of a pod by way of the store: which request counts, and that each is taken up once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import Rig, rig
from tests.waiting import until
from voice_agent.call.drain import DrainMode
from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.pod_request import MAX_REQUEST_BYTES, Destination, PodRequest, value_name
from voice_agent.stores.base import DrainRequest, PodHeartbeat

OF_COLOR = DrainRequest("finish", 60, 1)


@pytest.fixture
async def its() -> AsyncIterator[Rig]:
    """Pods whose heartbeats are the test's."""
    async with rig(FaultyStore()) as made:
        yield made


def pod_of(its: Rig, name: str = "blue-1") -> Pod:
    return its.unopened_pod(name, clock=StoppedClock(), node="node-17", address="ws://10.0.3.7:8080")


async def ask(its: Rig, pod: Pod, request_id: str | None, **more: object) -> PodRequest | None:
    """What is asked of a pod from now on."""
    name = value_name(pod.name)
    made = None
    if request_id is not None:
        made = PodRequest(request_id, pod.started_at_ms, 60, evacuates=True)
        made = replace(made, **more)  # type: ignore[arg-type]  # its fields
    packed = None if made is None else made.packed()
    assert await its.store.compare_and_set(name, await its.store.get(name), packed, ttl_s=60)
    return made


async def said(its: Rig, pod: Pod) -> PodHeartbeat:
    """What it says of itself, once it has read what is asked."""
    await pod.heartbeat.heartbeat()
    await pod.heartbeat.heartbeat()
    [found] = [heartbeat for heartbeat in await its.store.pods() if heartbeat.name == pod.name]
    return found


async def test_a_pod_is_evacuated_and_taken_back(its: Rig) -> None:
    """It takes nothing new, and says which request it took up; whoever is signalled to leave drains in its own way."""
    pod = pod_of(its)
    heartbeat = await said(its, pod)
    assert (heartbeat.applied_request, heartbeat.status) == ("", "ok")
    assert (heartbeat.node, heartbeat.address) == ("node-17", "ws://10.0.3.7:8080")
    await ask(its, pod, "4f")
    heartbeat = await said(its, pod)
    assert (heartbeat.applied_request, heartbeat.status, pod.drains_as_requested) == ("4f", "draining", True)
    await ask(its, pod, None)
    assert (await said(its, pod)).status == "ok"


async def test_a_request_is_taken_up_once(its: Rig) -> None:
    """Each heartbeat reads it again; one that somebody undid at the pod's own door stays undone."""
    pod = pod_of(its)
    await ask(its, pod, "4f")
    assert (await said(its, pod)).status == "draining"
    assert pod.drainer.cancel()
    assert (await said(its, pod)).status == "ok"
    await ask(its, pod, "5a")
    assert (await said(its, pod)).applied_request == "5a"
    assert pod.draining


async def test_what_an_earlier_process_was_asked_for_counts_for_nothing(its: Rig) -> None:
    """A pod that is started again under its name takes calls."""
    pod = pod_of(its)
    await ask(its, pod, "4f", started_at_ms=pod.started_at_ms - 1)
    heartbeat = await said(its, pod)
    assert (heartbeat.status, heartbeat.applied_request) == ("ok", "")


async def test_an_evacuation_goes_before_what_the_color_is_asked_for(its: Rig) -> None:
    """Which counts again once that is taken back."""
    pod = pod_of(its)
    await its.store.request_drain("blue", OF_COLOR)
    await its.store.heartbeat(PodHeartbeat("blue-2", "blue", "1", "ok", 0, 0, 10, 1, 1), ttl_s=600)
    await said(its, pod)
    assert (await pod.ready_pods()).why_none == "there is no pod of another color"
    await ask(its, pod, "4f")
    await said(its, pod)
    assert await pod.ready_pods() == ReadyPods(("blue-2",))
    await ask(its, pod, None)
    await said(its, pod)
    assert pod.draining
    assert (await pod.ready_pods()).why_none == "there is no pod of another color"
    await its.store.request_drain("blue", None)
    assert (await said(its, pod)).status == "ok"


async def test_pods_that_leave_together_take_none_of_each_others_calls(its: Rig) -> None:
    """Though their heartbeats do not say yet that they leave."""
    pod = pod_of(its)
    await its.store.heartbeat(PodHeartbeat("blue-2", "blue", "1", "ok", 0, 0, 10, 1, 1), ttl_s=600)
    await ask(its, pod, "4f", along=("blue-2",))
    await said(its, pod)
    assert await pod.ready_pods() == ReadyPods((), "there is no other pod")


async def test_what_a_pod_is_asked_at_its_own_door_goes_first(its: Rig) -> None:
    """It leaves whatever is asked of it by way of the store, which is done once that is taken back."""
    pod = pod_of(its)
    pod.drain(DrainMode.FINISH, 600)
    await ask(its, pod, "4f")
    assert (await said(its, pod)).applied_request == "4f"
    assert not pod.drains_as_requested
    assert pod.drainer.cancel()
    assert (await said(its, pod)).status == "draining"
    assert pod.drains_as_requested
    pod.drain(DrainMode.FINISH, 600)
    await ask(its, pod, None)
    assert (await said(its, pod)).status == "draining"
    pod.drainer.cancel()


async def test_a_pod_that_is_to_move_calls_takes_calls(its: Rig) -> None:
    """It says how many are left to be moved; a store that is silent changes nothing."""
    pod = pod_of(its)
    await ask(its, pod, "4f", evacuates=False, destinations=(Destination("", 3),), deadline_s=10**6)
    heartbeat = await said(its, pod)
    assert (heartbeat.status, heartbeat.applied_request, heartbeat.moves_left) == ("ok", "4f", 3)
    await ask(its, pod, "5a")
    await said(its, pod)
    with patch.object(its.store, "get", side_effect=StoreUnavailable("away")) as asked:
        await pod.heartbeat.heartbeat()
    assert asked.called
    assert pod.draining
    pod.heartbeat.requests.mover.stop()
    pod.drainer.cancel()


async def test_moves_that_are_taken_back_are_made_no_more(its: Rig) -> None:
    """What is left stays."""
    pod = pod_of(its)
    await ask(its, pod, "4f", evacuates=False, destinations=(Destination("", 3),), deadline_s=10**6)
    await said(its, pod)
    task = pod.heartbeat.requests.mover._task
    assert task is not None
    await ask(its, pod, None)
    assert (await said(its, pod)).moves_left == 3
    await until(task.done)
    assert task.cancelled()


async def test_an_evacuation_takes_the_place_of_moves(its: Rig) -> None:
    """All calls go, then."""
    pod = pod_of(its)
    await ask(its, pod, "4f", evacuates=False, destinations=(Destination("", 3),), deadline_s=10**6)
    await said(its, pod)
    task = pod.heartbeat.requests.mover._task
    assert task is not None
    await ask(its, pod, "50")
    assert (await said(its, pod)).status == "draining"
    await until(task.done)
    pod.drainer.cancel()


async def test_what_cannot_be_read_takes_nothing_back(its: Rig) -> None:
    """A newer version may ask in another way; it is logged once."""
    pod = pod_of(its)
    await ask(its, pod, "4f")
    await said(its, pod)
    name = value_name(pod.name)
    for unreadable in (b'{"asks": "otherwise"}', b" " * (MAX_REQUEST_BYTES + 1)):
        assert await its.store.compare_and_set(name, await its.store.get(name), unreadable, ttl_s=60)
        with capture_logs() as lines:
            assert (await said(its, pod)).status == "draining"
        assert [line["event"] for line in lines].count("what this pod is asked for cannot be read") <= 1
    await ask(its, pod, None)
    assert (await said(its, pod)).status == "ok"
