"""A drain by a clock of the test's: whom it tells, lets go and counts, and when."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import pytest
from structlog.testing import capture_logs

from tests.call.calls import new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import Rig, rig
from tests.waiting import until
from voice_agent.call.drain import DrainMode
from voice_agent.call.machine import is_quiet
from voice_agent.call.status import Lifecycle, Status
from voice_agent.runtime.pod import drainer
from voice_agent.runtime.pod.drainer import NO_OTHER_COLOR, STORE_IS_SILENT, UNSAVED, draining_call
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ClientOptions, StoreState
from voice_agent.stores.base import DrainRequest, PodHeartbeat

LOOK_S = 1 / 16
"""Exact as a float: so is the time of each look."""
GREEN = PodHeartbeat("green-1", "green", "1", "ok", 0, 0, 10, 1, 1)


@pytest.fixture
async def its(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """Pods of which nothing runs but their drains."""
    monkeypatch.setattr(drainer, "LOOK_S", LOOK_S)
    async with rig(FaultyStore()) as made:
        yield made


def pod_of(its: Rig, name: str = "blue-1") -> tuple[Pod, StoppedClock]:
    clock = StoppedClock()
    return its.unopened_pod(name, clock=clock), clock


class Attached:
    """A call as a drain sees it; it goes at the `goes_at`-th try, once it `may_end`."""

    activity = Mock(has_sent_nothing=False)

    def __init__(self, pod: Pod, number: int = 1, *, resumable: bool = True, goes_at: int = 1) -> None:
        self.call = new_call(call_id=f"call_{number:026d}")
        self.call.lifecycle.resumable = resumable
        self.connection: object | None = SimpleNamespace(client=ClientOptions())
        self.warned: list[int] = []
        self.tries: list[tuple[float, bool]] = []
        """At which look it was tried to let it go, and whether by force."""
        self.goes_at = goes_at
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._pod = pod
        pod.owned.by_id[self.call.call_id] = self  # type: ignore[assignment]  # as a drain sees it
        pod.admission.active += 1

    def warn_of_drain(self, time_left_ms: int) -> None:
        self.warned.append(time_left_ms)

    async def hand_off(self, *, force: bool = False, to: str = "") -> bool:
        at_s = self._pod.ports.clock.monotonic_s() - 1000.0 - LOOK_S  # A task begins once the drain sleeps.
        self.tries.append((at_s, force))
        await self.may_end.wait()
        if len(self.tries) == self.goes_at:
            self.connection = None
            self._pod.admission.active -= 1
            return True
        return False


async def looks(number: int) -> None:
    """Let a drain look so often, at most."""
    for _ in range(number):
        await asyncio.sleep(0)


def dropped(pod: Pod) -> int:
    counts: dict[tuple[str, object], int] = pod.observer.counts  # type: ignore[attr-defined]
    return counts.get(("call_dropped", "drain"), 0)


async def test_a_handoff_to_nobody_ends_at_its_deadline(its: Rig) -> None:
    """Exactly then each caller is told, once, and let go whatever is lost.

    Until then the fleet is asked each second, and the pod says why it waits, once.
    """
    pod, _ = pod_of(its)
    back, slow = Attached(pod, 1), Attached(pod, 2, goes_at=3)
    took: list[float] = []
    pod.observer.drain_finished = took.append  # type: ignore[assignment, method-assign]  # a number
    with capture_logs() as lines:
        pod.drain(DrainMode.HANDOFF, 4)
        await pod.wait_drained()
        await looks(2)
    assert back.tries == [(4.0, True)]
    assert slow.tries == [(4.0, True), (4.0 + LOOK_S, True), (4.0 + 2 * LOOK_S, True)]
    assert back.warned == slow.warned == [0]
    assert took == [4.0 + 3 * LOOK_S]
    assert pod.status().drain_waits == ""
    assert dropped(pod) == 0
    events = ["drain started", "handoff waits: calls are left to finish until the deadline", "drained"]
    assert [line["event"] for line in lines] == events
    assert its.store.asked_pods == 5  # type: ignore[attr-defined]


async def test_a_call_that_nobody_can_take_up_again_is_counted_as_dropped_at_the_deadline(its: Rig) -> None:
    """Once, however often it is tried to let it go; with `finish` nothing waits for other pods."""
    pod, _ = pod_of(its)
    never = Attached(pod, resumable=False, goes_at=3)
    with capture_logs() as lines:
        pod.drain(DrainMode.FINISH, 4)
        await looks(8)
        assert pod.status().drain_waits == ""
        await pod.wait_drained()
    assert (len(never.tries), dropped(pod)) == (3, 1)
    assert [line["event"] for line in lines] == ["drain started", "drained"]


async def test_a_handoff_goes_on_as_soon_as_somebody_takes_calls(its: Rig) -> None:
    """Callers are told how long they may stay, once.

    What cannot go now is tried again, one try at a time, and nothing is given up before the deadline.
    """
    pod, clock = pod_of(its)
    call = Attached(pod, goes_at=3)
    call.may_end.clear()
    with capture_logs() as lines:
        pod.drain(DrainMode.HANDOFF, 16)
        await looks(4)
        assert (call.warned, call.tries) == ([], [])
        await its.store.heartbeat(GREEN, ttl_s=600)
        await until(lambda: call.tries)
        began_s = clock.now_s
        await until(lambda: clock.now_s > began_s + 1)
        assert len(call.tries) == 1
        call.may_end.set()
        await pod.wait_drained()
    assert call.warned == [15_000]
    assert len(call.tries) == 3
    assert all(forced == (at_s >= 16.0) for at_s, forced in call.tries)
    told = [line for line in lines if line["event"].startswith("handoff")]
    assert [line["event"].partition(":")[0] for line in told] == ["handoff waits", "handoff goes on"]
    assert told[1]["to"] == "green-1"


async def test_nothing_is_given_up_in_the_last_second_before_the_deadline(its: Rig) -> None:
    """A deadline so short that it is always near."""
    pod, _ = pod_of(its)
    await its.store.heartbeat(GREEN, ttl_s=600)
    call = Attached(pod, goes_at=-1)
    pod.drain(DrainMode.HANDOFF, 0.75)
    await until(lambda: call.tries and call.tries[-1][1])
    pod.drainer.cancel()
    assert call.tries[0][0] < 0.75
    assert all(forced == (at_s >= 0.75) for at_s, forced in call.tries)


@pytest.mark.parametrize("is_requested", [False, True])
async def test_a_second_drain_takes_the_place_of_the_first(its: Rig, is_requested: bool) -> None:
    """With its own mode, and a deadline that is counted from now."""
    pod, clock = pod_of(its)
    call, began_s = Attached(pod), 0.0
    for mode, deadline_s in ((DrainMode.HANDOFF, 1), (DrainMode.FINISH, 8)):
        began_s = clock.now_s - 1000.0
        if is_requested:
            pod.heartbeat.requests.take_up_color(DrainRequest(mode, deadline_s, 1))
        else:
            pod.drain(mode, deadline_s)
        await looks(4)
        assert (pod.status().drain_waits != "") == (mode is DrainMode.HANDOFF)
    await pod.wait_drained()
    assert call.tries == [(began_s + 8, True)]


async def test_a_drain_that_was_cancelled_is_requested_no_more(its: Rig) -> None:
    """The next one, of this pod alone, hands calls to others of its color, too."""
    pod, _ = pod_of(its)
    pod.heartbeat.requests.take_up_color(DrainRequest("finish", 8, 1))
    assert pod.drainer.is_requested
    assert pod.drainer.cancel()
    assert not pod.drainer.is_requested


async def test_a_drain_that_was_cancelled_lets_nobody_go(its: Rig) -> None:
    """The pod waits for nothing any more, and whoever waits for the end of a drain waits for another one."""
    pod, _ = pod_of(its)
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    pod.drain(DrainMode.FINISH, 4)
    await pod.wait_drained()
    assert pod.drainer.cancel()
    assert not pod.drainer.done.is_set()
    call = Attached(pod)
    pod.drain(DrainMode.HANDOFF, 4)
    await looks(4)
    assert pod.status().drain_waits
    assert pod.drainer.cancel()
    assert not pod.drainer.cancel()
    await looks(200)
    assert (call.tries, call.warned, problems) == ([], [], [])
    assert (pod.draining, pod.status().drain_waits, pod.drainer.done.is_set()) == (False, "", False)


async def test_a_drain_may_be_asked_for_again_after_one_that_broke(its: Rig) -> None:
    """The first one cuts its calls off, and the log says so; the second one waits for them."""
    pod, _ = pod_of(its)
    call = Attached(pod)
    with patch.object(pod.owned, "by_id", None), capture_logs() as lines:
        pod.drain(DrainMode.FINISH, 4)
        await pod.wait_drained()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["drain failed; calls are cut off"]
    pod.drain(DrainMode.FINISH, 4)
    assert not pod.drainer.done.is_set()
    await pod.wait_drained()
    assert call.tries == [(4.0, True)]


async def test_who_takes_over_is_also_said_before_a_drain_and_why_nobody_does(
    its: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod of this color counts unless all of the color drain; what is not written yet, nobody could take over."""
    pod, _ = pod_of(its)
    pod.heartbeat.requests.take_up_color(DrainRequest("finish", 60, 1))
    assert await pod.ready_pods() == ReadyPods((), "there is no other pod")
    pod.drainer.cancel()
    await its.store.heartbeat(PodHeartbeat("blue-2", "blue", "1", "ok", 0, 0, 10, 1, 1), ttl_s=600)
    fresh, _ = pod_of(its, "blue-3")
    assert await fresh.ready_pods() == ReadyPods(("blue-2",))
    fresh.heartbeat.requests.take_up_color(DrainRequest("finish", 60, 1))
    assert await fresh.ready_pods() == NO_OTHER_COLOR
    await its.store.heartbeat(GREEN, ttl_s=600)
    assert await fresh.ready_pods() == ReadyPods(("green-1",))
    fresh.drain(DrainMode.FINISH, 60)
    fresh.heartbeat.requests.take_up_color(DrainRequest("finish", 60, 2))
    assert await fresh.ready_pods() == ReadyPods(("blue-2", "green-1"))
    fresh.drainer.cancel()
    fresh.committer.write_back.given_up = StoreState.FULL
    assert await fresh.ready_pods() == UNSAVED
    monkeypatch.setattr(drainer, "FLEET_ANSWER_S", 0.001)
    with patch.object(its.store, "weights", asyncio.Event().wait):
        assert await fresh.ready_pods() == STORE_IS_SILENT


AS_USUAL = ClientOptions()


def facts(number: int, client: ClientOptions = AS_USUAL, **changes: Any) -> Any:
    """Of one of many calls."""
    call = new_call()
    call.call_id = f"call_{number:026d}"
    for name, value in changes.items():
        setattr(call, name, value)
    live: Any = SimpleNamespace(call=call, connection=SimpleNamespace(client=client))
    return draining_call(live)


def test_calls_are_spread_over_all_of_the_time_there_is() -> None:
    """By their ids, so that the other color is not stampeded; the same call always at the same place."""
    spread = sorted(facts(number).spread for number in range(300))
    assert facts(7) == facts(7)
    assert spread[0] < 0.02
    assert spread[-1] > 0.98
    assert max(b - a for a, b in itertools.pairwise(spread)) < 0.05


def test_a_call_is_quiet_while_it_is_attached_and_nobody_speaks() -> None:
    """One that has ended, and says so still, is none to hand off."""
    speaking = new_call()
    speaking.input_audio.speaking = True
    assert not is_quiet(speaking)
    assert facts(1).quiet
    assert not facts(1, input_audio=speaking.input_audio).quiet
    assert not facts(1, lifecycle=Lifecycle(Status.ENDED)).quiet


def test_a_client_that_may_move_at_any_moment_is_handed_off_in_the_middle_of_a_word() -> None:
    """It said `resumable=now`; a call that has ended is none to hand off all the same."""
    speaking = new_call()
    speaking.input_audio.speaking = True
    at_once = ClientOptions(resumable_now=True)
    assert facts(1, at_once, input_audio=speaking.input_audio).quiet
    assert not facts(1, at_once, lifecycle=Lifecycle(Status.ENDED)).quiet


async def test_a_drain_that_was_requested_is_one_while_it_lasts() -> None:
    """Not once it was cancelled, and never where this very pod was asked."""
    async with rig() as its:
        pod = await its.pod()
        await its.start(pod)
        assert not pod.drains_as_requested
        pod.heartbeat.requests.take_up_color(DrainRequest("finish", 600, 1))
        assert pod.drains_as_requested
        pod.heartbeat.requests.take_up_color(None)
        assert not pod.draining
        pod.heartbeat.requests.take_up_color(DrainRequest("finish", 600, 1))
        assert pod.drainer.cancel()
        assert not pod.drains_as_requested
        pod.drain(DrainMode.FINISH, 600)
        pod.heartbeat.requests.take_up_color(None)
        assert pod.draining
        assert not pod.drains_as_requested
