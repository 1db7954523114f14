"""The fleet's numbers, published by color."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.operate.simulated import Simulation
from voice_agent.errors import StoreUnavailable
from voice_agent.operate.ports import Numbers, WatchError
from voice_agent.operate.publishing import publish_forever


class RecordingPublisher:
    """Keeps what it was given; fails as often as told."""

    def __init__(self) -> None:
        self.got: list[dict[str, int]] = []
        self.fails = 0

    async def publish(self, numbers: Mapping[str, Numbers]) -> None:
        if self.fails:
            self.fails -= 1
            raise WatchError("throttled", retryable=True)
        self.got.append({color: found.active_calls for color, found in numbers.items()})


async def run(its: Simulation, publisher: RecordingPublisher, seconds: float) -> list[str]:
    """Publish for a while; returns what was said."""
    said: list[str] = []
    task = asyncio.create_task(publish_forever(its.store, its.watch, publisher, its.clock, 10, said.append))
    await its.clock.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return said


async def test_a_color_without_calls_is_published_as_0_and_one_without_pods_not_at_all() -> None:
    """No data and no calls are two things."""
    its, publisher = Simulation(), RecordingPublisher()
    assert await run(its, publisher, 5) == []
    assert publisher.got == [{"blue": 8, "green": 0}]
    for pod in its.of("blue"):
        pod.alive = False
    await its.clock.sleep(10)
    await run(its, publisher, 5)
    assert publisher.got[-1] == {"green": 0}


async def test_trouble_is_said_once_and_gone_on_with() -> None:
    """A throttled service, or a store that is away, ends nothing."""
    its, publisher = Simulation(), RecordingPublisher()
    publisher.fails = 3
    pods = its.store.pods
    said = await run(its, publisher, 55)
    assert said == ["not published: throttled", "published again: blue, green"]

    async def away() -> object:
        raise StoreUnavailable("it is away")

    its.store.pods = away  # type: ignore[method-assign, assignment]
    said = await run(its, publisher, 25)
    its.store.pods = pods  # type: ignore[method-assign]
    assert len(said) == 1
    assert "it is away" in said[0]
