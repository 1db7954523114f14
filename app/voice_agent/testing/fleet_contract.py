"""What every store promises of the fleet: heartbeats, drains, weights, values that all agree on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from voice_agent.stores.base import DrainRequest, PodCounters, PodHeartbeat, Store

TTL_S = 100
"""Longer than a test takes."""
LOOP_TURNS = 40
"""More of the event loop than a question takes."""


def heartbeat(name: str, **more: Any) -> PodHeartbeat:
    """A heartbeat."""
    given: dict[str, Any] = {
        "color": "blue",
        "version": "1",
        "status": "ok",
        "active_calls": 3,
        "parked_calls": 1,
        "capacity": 10,
        "started_at_ms": 1,
        "heartbeat_at_ms": 2,
    }
    return PodHeartbeat(name=name, **{**given, **more})


class FleetContract:
    """Of pods and of those who operate them."""

    async def test_the_fleet_is_every_pod_with_a_heartbeat(self, store: Store) -> None:
        """By name, with its numbers."""
        await store.heartbeat(heartbeat("b"), ttl_s=5)
        await store.heartbeat(heartbeat("a", active_calls=0, status="draining"), ttl_s=5)
        told = [replace(pod, heartbeat_at_ms=heartbeat("a").heartbeat_at_ms) for pod in await store.pods()]
        assert told == [heartbeat("a", active_calls=0, status="draining"), heartbeat("b")]

    async def test_what_a_pod_says_of_itself_is_told_as_it_said_it(self, store: Store) -> None:
        """Also where it has nothing to say; in place of what it said before."""
        said = {"address": "ws://10.0.3.7:8080", "node": "node-17", "applied_request": "", "loop_lag_ms": 3}
        for more in (said, {"applied_request": "4f", "moves_left": 2, "calls_resumable_now": 1}, {}):
            await store.heartbeat(heartbeat("a", **more), ttl_s=5)
            assert [replace(pod, heartbeat_at_ms=2) for pod in await store.pods()] == [heartbeat("a", **more)]

    async def test_a_color_learns_what_is_requested_of_it(self, store: Store) -> None:
        """With its next heartbeat; a request taken back is gone."""
        request = DrainRequest("handoff", 60, 7)
        assert await store.heartbeat(heartbeat("a"), ttl_s=5) is None
        await store.request_drain("blue", request)
        assert await store.drain_request("blue") == request
        assert await store.heartbeat(heartbeat("a"), ttl_s=5) == request
        assert await store.heartbeat(heartbeat("g", color="green"), ttl_s=5) is None
        await store.request_drain("blue", None)
        assert await store.heartbeat(heartbeat("a"), ttl_s=5) is None

    async def test_who_asks_can_be_cancelled_at_any_moment(self, store: Store) -> None:
        """A pod's heartbeat asks for ever; if one cancellation were swallowed, the pod would never leave."""

        async def ask_for_ever() -> None:
            while True:
                await store.heartbeat(heartbeat("a"), ttl_s=TTL_S)
                await store.pods()
                await asyncio.sleep(0)  # A store in memory waits for nothing.

        for turns in range(2 * LOOP_TURNS):
            asking = asyncio.create_task(ask_for_ever())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking], timeout=TTL_S)
            assert asking.cancelled(), f"cancelled in turn {turns} of the loop it goes on"

    async def test_what_the_router_is_set_to_is_kept(self, store: Store) -> None:
        """Until somebody tells something else; where the store has a clock, that says since when."""
        assert await store.weights() is None
        for weights in ({"blue": 0, "green": 100}, {}, {"green": 100}):
            now_ms = int(time.time() * 1000)
            await store.tell_weights(weights, now_ms)
            told = await store.weights()
            assert told is not None
            assert told.weights == weights
            assert abs(told.told_at_ms - now_ms) < 60_000

    async def test_a_heartbeat_tells_what_a_drain_costs(self, store: Store) -> None:
        """Calls that cannot come back, the oldest one, and when the last was taken."""
        costs = {"calls_not_resumable": 2, "oldest_call_at_ms": 17, "took_call_at_ms": 19}
        await store.heartbeat(heartbeat("a", **costs), ttl_s=5)
        (told,) = await store.pods()
        assert {name: getattr(told, name) for name in costs} == costs

    async def test_the_first_proposal_is_agreed_on(self, store: Store) -> None:
        """All pods settle on one value."""
        assert await store.get_or_set("secret", b"one") == b"one"
        assert await store.get_or_set("secret", b"two") == b"one"

    async def test_a_value_is_replaced_by_whoever_knows_it(self, store: Store) -> None:
        """Of two who both saw the old value one replaces it; who asks again because the answer was lost is told yes."""
        assert await store.get("cutover") is None
        assert await store.compare_and_set("cutover", None, b"one", ttl_s=TTL_S)
        assert await store.compare_and_set("cutover", None, b"one", ttl_s=TTL_S)
        assert not await store.compare_and_set("cutover", None, b"two", ttl_s=TTL_S)
        assert not await store.compare_and_set("cutover", b"0", b"two", ttl_s=TTL_S)
        assert await store.compare_and_set("cutover", b"one", b"", ttl_s=TTL_S)
        assert await store.get("cutover") == b""
        assert not await store.compare_and_set("cutover", None, None, ttl_s=TTL_S)
        assert await store.compare_and_set("cutover", b"", None, ttl_s=TTL_S)
        assert await store.get("cutover") is None
        assert await store.compare_and_set("cutover", b"", None, ttl_s=TTL_S)

    async def test_a_heartbeat_brings_its_keys_calls(self, store: Store) -> None:
        """With the next heartbeat those that have none any more are gone."""
        await store.heartbeat(heartbeat("a", keys={"0123456789abcdef": 2, "open": 1}), ttl_s=5)
        await store.heartbeat(heartbeat("b"), ttl_s=5)
        assert [pod.keys for pod in await store.pods()] == [{"0123456789abcdef": 2, "open": 1}, {}]
        await store.heartbeat(heartbeat("a"), ttl_s=5)
        assert [pod.keys for pod in await store.pods()] == [{}, {}]

    async def test_a_heartbeat_brings_its_counters(self, store: Store) -> None:
        """What a pod has counted is read as it was written."""
        counted = PodCounters(ended=5, failed=1, dropped=2, resumed=3, turns={"0.5": 1, "inf": 4}, causes={"drain": 2})
        await store.heartbeat(heartbeat("a", reads_schemas=(2, 3), counters=counted), ttl_s=5)
        await store.heartbeat(heartbeat("b"), ttl_s=5)
        assert [(pod.reads_schemas, pod.counters) for pod in await store.pods()] == [((2, 3), counted), ((0, 0), None)]
