"""The fleet's numbers in CloudWatch, for alarms and for a cutover that watches there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from voice_agent.errors import StoreError
from voice_agent.operate.ports import CutoverError, MetricsSource, Numbers
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store


class Publisher(Protocol):
    """Takes one set of numbers. Raises `CutoverError`."""

    async def publish(self, numbers: Mapping[str, Numbers]) -> None:
        """Bring them there."""


async def publish_once(store: Store, watch: MetricsSource, publisher: Publisher) -> Sequence[str]:
    """Every color that has a pod, with 0 for one without calls; returns which. Raises `CutoverError`, `StoreError`.

    A color without a pod is left out: nobody knows how many calls it has.
    """
    colors = sorted({heartbeat.color for heartbeat in await store.pods()})
    if colors:
        await publisher.publish(await watch.look(colors))
    return colors


async def publish_forever(
    store: Store, watch: MetricsSource, publisher: Publisher, clock: Clock, every_s: float, say: Callable[[str], None]
) -> None:
    """Publish until cancelled; what goes wrong is said once, and tried again with the next turn."""
    trouble = ""
    while True:
        began_s = clock.monotonic_s()
        try:
            colors = await publish_once(store, watch, publisher)
        except (CutoverError, StoreError) as error:
            if str(error) != trouble:
                trouble = str(error)
                say(f"not published: {trouble}")
        else:
            if trouble:
                trouble = ""
                say(f"published again: {', '.join(colors)}")
        await clock.sleep(max(0.0, every_s - (clock.monotonic_s() - began_s)))
