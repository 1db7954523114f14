"""Pods on machines whose clocks differ, and a clock that is set."""

from __future__ import annotations

from tests.runtime.rig import rig
from voice_agent.call.status import Status
from voice_agent.runtime.clock import SteadyClock, SystemClock
from voice_agent.stores.base import PodHeartbeat
from voice_agent.stores.redis import RedisStore

HOURS_MS = 3_600_000


def wrong(by_ms: int) -> SteadyClock:
    """The clock of a pod on a machine that is wrong by so much."""
    return SteadyClock(lambda: (SystemClock().wall_ms() + by_ms) * 1_000_000)


async def test_a_pod_two_hours_ahead_hides_no_other(redis_url: str) -> None:
    """What is old is judged by the store's clock, and every heartbeat tells its time."""
    store = RedisStore(redis_url, ttl_s=60)
    await store.open()
    try:
        for name, at_ms in (("a", 0), ("ahead", 2 * HOURS_MS), ("behind", -2 * HOURS_MS), ("b", 0)):
            told_ms = SystemClock().wall_ms() + at_ms
            await store.heartbeat(PodHeartbeat(name, "blue", "1", "ok", 0, 0, 10, 0, told_ms), ttl_s=7)
        pods = await store.pods()
        assert [pod.name for pod in pods] == ["a", "ahead", "b", "behind"]
        assert max(pod.heartbeat_at_ms for pod in pods) - min(pod.heartbeat_at_ms for pod in pods) < 10_000
    finally:
        await store.close()


async def test_two_pods_agree_on_how_long_a_call_is_parked(redis_url: str) -> None:
    """One that is two hours ahead takes over a call that was parked a moment ago, and does not end it."""
    store = RedisStore(redis_url, ttl_s=60)
    await store.open()
    try:
        async with rig(store) as its:
            blue = await its.pod("blue", clock=wrong(0))
            green = await its.pod("green", clock=wrong(2 * HOURS_MS))
            assert abs(green.ports.clock.wall_ms() - blue.ports.clock.wall_ms()) < 1000
            caller = await its.start(blue, resumable=True)
            await caller.gone()
            again = await its.resume(green, caller.call_id)
            await again.gone()
            await blue.upkeep.look_after_calls()
            await green.upkeep.look_after_calls()
            assert green.owned.by_id[caller.call_id].call.lifecycle.status is Status.PARKED
    finally:
        await store.close()


async def test_a_pod_started_when_it_did_by_the_stores_clock(redis_url: str) -> None:
    """Others judge by it which process has the name, and whether callers can have come; they never see another."""
    store = RedisStore(redis_url, ttl_s=60)
    await store.open()
    try:
        async with rig(store) as its:
            began_ms = SystemClock().wall_ms()
            pod = await its.pod("ahead", clock=wrong(2 * HOURS_MS))
            started_ms = pod.heartbeat.facts.now().started_at_ms
            assert began_ms - 1000 <= started_ms <= SystemClock().wall_ms() + 1000
            assert [heartbeat.started_at_ms for heartbeat in await store.pods()] == [started_ms]
            await pod.heartbeat.heartbeat()
            assert [heartbeat.started_at_ms for heartbeat in await store.pods()] == [started_ms]
    finally:
        await store.close()


async def test_a_clock_that_is_set_ends_no_call() -> None:
    """Parked and attached calls are as old as they are, whatever the machine believes the date to be."""
    machine_ms = [SystemClock().wall_ms()]
    clock = SteadyClock(lambda: machine_ms[0] * 1_000_000)
    async with rig() as its:
        pod = await its.pod(clock=clock)
        parked, attached = await its.start(pod, resumable=True), await its.start(pod)
        await parked.gone()
        machine_ms[0] += 48 * HOURS_MS
        await pod.upkeep.look_after_calls()
        calls = pod.owned.by_id
        assert calls[parked.call_id].call.lifecycle.status is Status.PARKED
        assert calls[attached.call_id].call.lifecycle.status is Status.ATTACHED
