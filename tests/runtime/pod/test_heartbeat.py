"""What pods know of each other, and what their health says of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import FixedAgents, Rig, ScriptedAgent, rig
from voice_agent import bootstrap
from voice_agent.runtime.pod.pod import Pod
from voice_agent.settings import Settings
from voice_agent.stores.base import DrainRequest, PodCounters, PodHeartbeat
from voice_agent.stores.memory import MemoryStore

NAMES = ("a", "b")
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["busy", "calm", "say", "ask"])), max_size=60)


def fleet(store: MemoryStore, names: Sequence[str] = NAMES) -> dict[str, Pod]:
    """Pods of one color whose heartbeats are the test's."""
    its = Rig(store, FixedAgents(ScriptedAgent()))
    return {name: its.unopened_pod(name) for name in names}


async def test_an_overloaded_pod_is_unhealthy_only_while_another_of_its_color_takes_calls() -> None:
    """A balancer must not lose its last target; other colors are other targets."""
    async with rig() as its:
        pod, green = its.unopened_pod("a"), its.unopened_pod("g", "green")
        pod.admission.overloaded = True
        for one in (green, pod):
            await one.heartbeat.heartbeat()
        assert (pod.view.state, pod.status().status) == ("overloaded", "degraded")
        assert pod.status().store == "memory:ok"
        other = its.unopened_pod("b")
        for one in (other, pod):
            await one.heartbeat.heartbeat()
        assert pod.status().status == "overloaded"
        other.admission.draining = True
        for one in (other, pod):
            await one.heartbeat.heartbeat()
        assert pod.status().status == "degraded"
        pod.admission.overloaded = False
        assert pod.status().status == "ok"


async def test_a_pod_that_cannot_ask_is_its_colors_last() -> None:
    """While the store is silent nobody knows of another pod."""
    store = FaultyStore()
    pods = fleet(store, "ab")
    pods["a"].admission.overloaded = True
    for pod in (pods["b"], pods["a"]):
        await pod.heartbeat.heartbeat()
    assert pods["a"].status().status == "overloaded"
    store.is_away = True
    await pods["a"].heartbeat.heartbeat()
    assert pods["a"].status().status == "degraded"


async def test_a_pod_that_closes_says_so_once_more() -> None:
    """With what it has counted to the end: whoever looks on knows that nothing was lost with it."""
    async with rig() as its:
        ended = itertools.count(1)
        pod = its.unopened_pod("a", counters=lambda: PodCounters(ended=next(ended)))
        await pod.open()
        caller = await its.start(pod)
        await caller.greeting()
        await pod.heartbeat.heartbeat()
        before = (await its.store.pods())[0]
        await caller.gone()
        await pod.close()
        (last,) = await its.store.pods()
        assert (before.active_calls, before.calls_not_resumable) == (1, 1)
        assert (last.status, last.active_calls, last.calls_not_resumable) == ("left", 0, 0)
        assert before.counters is not None
        assert last.counters == PodCounters(ended=before.counters.ended + 1)


async def test_a_drain_request_is_applied_though_the_others_cannot_be_listed() -> None:
    """One answer does not wait for the other."""

    class Unlisted(MemoryStore):
        """Takes heartbeats and does not say who else lives."""

        async def pods(self) -> list[PodHeartbeat]:
            raise TimeoutError

    async with rig(Unlisted(ttl_s=60)) as its:
        pod = await its.pod(calls_per_key=1)
        await its.store.request_drain("blue", DrainRequest("finish", 60, 1))
        await pod.heartbeat.heartbeat()
        assert pod.draining


async def test_a_store_that_comes_back_empty_is_told_what_the_pods_agreed_on() -> None:
    """A pod that starts later would else agree with itself on another secret, and refuse all older calls' tokens."""
    store = MemoryStore(ttl_s=60)
    settings = Settings(store_url="memory://", agent="echo")
    with patch.object(bootstrap, "make_store", return_value=store):
        async with bootstrap.build(settings) as parts:
            secret = await bootstrap.find_secret(settings, store)
            store._settled.clear()
            await parts.pod.heartbeat.heartbeat()
            assert await bootstrap.find_secret(settings, store) == secret


class InTwoSteps(MemoryStore):
    """Answers the first question of a heartbeat, and the rest of them only when the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60, now_s=lambda: 0.0)
        self.gates: dict[asyncio.Task[None], asyncio.Event] = {}

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        request = await super().heartbeat(heartbeat, ttl_s=ttl_s)
        await self._wait()
        return request

    async def pods(self) -> list[PodHeartbeat]:
        found = await super().pods()
        await self._wait()
        return found

    async def _wait(self) -> None:
        asking = asyncio.current_task()
        assert asking is not None
        if asking not in self.gates:
            self.gates[asking] = asyncio.Event()
        await self.gates[asking].wait()


async def act(steps: Sequence[tuple[str, str]]) -> None:
    """Carry the steps out; after each, one pod at least is healthy."""
    store = InTwoSteps()
    pods = fleet(store)
    beating: dict[str, asyncio.Task[None]] = {}
    for name, step in steps:
        if step in {"busy", "calm"}:
            pods[name].admission.overloaded = step == "busy"
        elif step == "say" and name not in beating:
            asking = beating[name] = asyncio.create_task(pods[name].heartbeat.heartbeat())
            while asking not in store.gates:
                await asyncio.sleep(0)
        elif step == "ask" and name in beating:
            store.gates[beating[name]].set()
            await beating.pop(name)
        health = {name: pod.status().status for name, pod in pods.items()}
        assert set(health.values()) != {"overloaded"}, health
    for task in beating.values():
        task.cancel()
    await asyncio.gather(*beating.values(), return_exceptions=True)


def steps(text: str) -> list[tuple[str, str]]:
    """Written as ``a busy, a say``."""
    return [(name, step) for name, _, step in (part.strip().partition(" ") for part in text.split(","))]


@example(steps("a say, a ask, b say, b ask, a busy, b busy, a say, b say, a ask, b ask"))
@example(steps("b say, b ask, a busy, a say, a ask, a calm, a say, b busy, b say, b ask, a busy"))
@given(STEPS)
def test_never_are_all_pods_of_a_color_unhealthy_for_overload(taken: list[tuple[str, str]]) -> None:
    """In whatever order they get busy and calm, tell it, and ask for the others."""
    asyncio.run(act(taken))
