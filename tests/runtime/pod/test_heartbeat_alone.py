"""One pod's heartbeat by a clock of the test's: what is asked of the store, and how often."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.calls import new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import FixedAgents, Rig, ScriptedAgent
from tests.waiting import until
from voice_agent.errors import StoreFull, StoreRefused, StoreUnavailable
from voice_agent.runtime.durability.write_back import NO_ANSWER
from voice_agent.runtime.pod import heartbeat
from voice_agent.runtime.pod.heartbeat import HEARTBEAT_S
from voice_agent.runtime.pod.other_pods import HEARTBEAT_TTL_S
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import DrainRequest, PodHeartbeat, StoreMemory
from voice_agent.stores.memory import MemoryStore


class AnsweringStore(MemoryStore):
    """Notes what a heartbeat asks, and fails or is silent as the test says."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.asked: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.silent: set[str] = set()
        self.now_ms: float | None = None

    async def _ask(self, question: str) -> None:
        self.asked.append(question)
        if question in self.silent:
            await asyncio.Event().wait()
        if question in self.failures:
            raise self.failures[question]

    def wall_ms(self) -> float | None:
        return self.now_ms

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        await self._ask("heartbeat")
        return await super().heartbeat(heartbeat, ttl_s=ttl_s)

    async def drain_request(self, color: str) -> DrainRequest | None:
        await self._ask("drain_request")
        return await super().drain_request(color)

    async def pods(self) -> list[PodHeartbeat]:
        await self._ask("pods")
        return await super().pods()

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        await self._ask("get_or_set")
        return await super().get_or_set(name, proposal)

    async def memory(self) -> StoreMemory | None:
        await self._ask("memory")
        return None

    async def shortcomings(self, calls: int) -> list[str]:
        await self._ask("shortcomings")
        return []


class FollowingClock(StoppedClock):
    """Notes what it is to follow."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: list[tuple[float, bool]] = []

    def follow(self, wall_ms: float, *, leaps: bool) -> None:
        self.followed.append((wall_ms, leaps))


def pod_on(store: MemoryStore, name: str = "a", **settings: Any) -> Pod:
    """One that does nothing by itself."""
    clock = settings.pop("clock", None) or StoppedClock()
    return Rig(store, FixedAgents(ScriptedAgent())).unopened_pod(name, clock=clock, **settings)


def counts(pod: Pod) -> dict[tuple[str, object], int]:
    return pod.observer.counts  # type: ignore[attr-defined]  # the rig's


ALL = ["heartbeat", "get_or_set", "memory", "shortcomings"]
WITH_WISH = ["heartbeat", "drain_request", "get_or_set", "memory", "shortcomings"]


@pytest.mark.parametrize(
    ("failure", "asked", "state"),
    [
        (None, ALL, StoreState.OK),
        (StoreRefused("no permission"), WITH_WISH, StoreState.REFUSED),
        (StoreFull("no memory"), WITH_WISH, StoreState.FULL),
        (StoreUnavailable("away"), ["heartbeat"], StoreState.UNREACHABLE),
        (TimeoutError(), ["heartbeat"], StoreState.UNREACHABLE),
        (ValueError("odd"), ["heartbeat"], StoreState.UNREACHABLE),
    ],
)
async def test_what_is_asked_of_a_store_that_failed(
    failure: Exception | None, asked: list[str], state: StoreState
) -> None:
    """What it refuses keeps nothing else from being asked, and one that does not answer is asked nothing more.

    The first failure is the one that counts. Afterwards it may be another server, so whether it is fit is asked again.
    """
    store = AnsweringStore()
    pod = pod_on(store)
    pod.heartbeat.agreed["secret"] = b"x"
    if failure is not None:
        store.failures = {"heartbeat": failure, "get_or_set": StoreFull("later")}
    with capture_logs() as lines:
        await pod.heartbeat.heartbeat()
    assert store.asked == asked
    assert (pod.store_health.heartbeat_state, pod.store_health.heartbeat_failure) == (state, failure)
    assert counts(pod).get(("store_failed", "heartbeat"), 0) == (failure is not None)
    odd = [line for line in lines if line["log_level"] == "error"]
    assert len(odd) == isinstance(failure, ValueError)
    store.failures, store.asked = {}, []
    await pod.heartbeat.heartbeat()
    assert store.asked == (ALL if failure is not None else ALL[:-1])
    assert (pod.store_health.heartbeat_state, pod.store_health.heartbeat_failure) == (StoreState.OK, None)


async def test_a_store_that_is_silent_holds_up_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the next one nor the last; the log says what is known, which is nothing."""
    monkeypatch.setattr(heartbeat, "ANSWER_S", 0.001)
    store = AnsweringStore()
    store.silent = {"heartbeat"}
    pod = pod_on(store)
    with capture_logs() as lines:
        await pod.heartbeat.heartbeat()
        await pod.heartbeat.leave()
    assert [line.get("error") for line in lines if line["log_level"] == "warning"] == [NO_ANSWER, None]
    assert pod.store_health.heartbeat_state is StoreState.UNREACHABLE


async def test_each_change_of_the_stores_state_is_told_once() -> None:
    """Nothing is said while it stays the same, or while those who write calls have said that it is given up."""
    store = AnsweringStore()
    pod = pod_on(store)
    away, refused = StoreUnavailable("away"), StoreRefused("no permission")
    told = []
    for failure in (None, away, away, refused, None, None):
        store.failures = {} if failure is None else {"heartbeat": failure}
        with capture_logs() as lines:
            await pod.heartbeat.heartbeat()
        told.append([(line["log_level"], line.get("error")) for line in lines if line["log_level"] != "debug"])
    assert told == [[], [("warning", "away")], [], [("warning", "no permission")], [("info", None)], []]
    pod.committer.write_back.given_up = StoreState.UNREACHABLE
    store.failures = {"heartbeat": away}
    with capture_logs() as lines:
        await pod.heartbeat.heartbeat()
    assert lines == []
    assert pod.store_health.heartbeat_state is StoreState.UNREACHABLE


@pytest.mark.parametrize("failure", [None, StoreRefused("no")])
async def test_the_stores_clock_is_followed_whatever_it_refuses(failure: Exception | None) -> None:
    """And set by it only while nothing has been measured: a pod that has calls is led."""
    store, clock = AnsweringStore(), FollowingClock()
    pod = pod_on(store, clock=clock)
    if failure is not None:
        store.failures = {"heartbeat": failure}
    await pod.heartbeat.heartbeat()
    assert clock.followed == []
    store.now_ms = 5e12
    await pod.heartbeat.heartbeat()
    live: Any = SimpleNamespace(call=new_call(), connection=None)
    pod.owned.by_id["call_a"] = live
    await pod.heartbeat.heartbeat()
    assert clock.followed == [(5e12, True), (5e12, False)]


async def test_the_fleet_is_asked_for_only_where_it_matters() -> None:
    """To a pod that counts calls per key, or that is overloaded."""
    store = AnsweringStore()
    plain, counting = pod_on(store), pod_on(store, "b", calls_per_key=1)
    for pod, asks in ((plain, False), (counting, True)):
        store.asked = []
        await pod.heartbeat.heartbeat()
        assert ("pods" in store.asked) == asks
        pod.admission.overloaded = True
        store.asked = []
        await pod.heartbeat.heartbeat()
        assert "pods" in store.asked


async def test_what_others_said_is_worth_as_much_as_a_heartbeat() -> None:
    """Of a store that is silent since, so long and no longer."""
    store, clock = AnsweringStore(), StoppedClock()
    pod = pod_on(store, clock=clock, calls_per_key=1)
    await store.heartbeat(PodHeartbeat("b", "blue", "1", "ok", 1, 0, 10, 0, 0, keys={"k": 1}), ttl_s=600)
    await pod.heartbeat.heartbeat()
    store.failures = {"heartbeat": StoreUnavailable("away")}
    for later_s, is_known in ((0, True), (HEARTBEAT_TTL_S, True), (1, False)):
        clock.now_s += later_s
        await pod.heartbeat.heartbeat()
        assert pod.admission.quota.is_used_up("k") == is_known


async def test_a_pod_that_is_known_to_leave_takes_no_calls() -> None:
    """Sooner than its heartbeat says so: another one is needed."""
    store = MemoryStore(ttl_s=60)
    pods = [pod_on(store, name) for name in "bca"]
    pod, leaving = pods[-1], set[str]()
    pod.admission.overloaded = True
    for one in pods:
        await one.heartbeat.heartbeat()
    pod.heartbeat.others.is_leaving = leaving.__contains__
    assert pod.heartbeat.others.take_calls
    leaving.add("b")
    assert pod.heartbeat.others.take_calls
    leaving.add("c")
    assert not pod.heartbeat.others.take_calls


async def test_a_drain_request_is_applied_once() -> None:
    """Each heartbeat brings it again; a drain that began anew each time would never come to its deadline."""
    store = MemoryStore(ttl_s=60)
    pod = pod_on(store)
    with capture_logs() as lines:
        for request in (DrainRequest("finish", 60, 1), None):
            await store.request_drain("blue", request)
            for _ in range(3):
                await pod.heartbeat.heartbeat()
                await asyncio.sleep(0)
    events = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert events == ["drain started", "draining as requested", "drained", "drain request removed", "drain cancelled"]


async def test_a_heartbeat_comes_every_so_often_for_as_long_as_the_pod_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, and not before the time has come."""
    pod, times = pod_on(MemoryStore(ttl_s=60)), list[float]()

    async def heartbeats() -> None:
        times.append(pod.ports.clock.monotonic_s())

    monkeypatch.setattr(pod.heartbeat, "heartbeat", heartbeats)
    task = asyncio.create_task(pod.heartbeat.run())
    await until(lambda: len(times) > 2)
    task.cancel()
    assert times[:3] == [1000.0 + HEARTBEAT_S * n for n in (1, 2, 3)]
