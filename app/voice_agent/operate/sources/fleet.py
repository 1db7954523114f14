"""Numbers from the pods' heartbeats in the store: nothing else has to run for a cutover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voice_agent.errors import StoreError
from voice_agent.operate.ports import Numbers, WatchError
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import PodCounters, PodHeartbeat, Store

SILENT_S = 120.0
"""A pod that fell silent with calls may be cut off from the store, and go on serving them: they count for so long.

The calls of a dead one have been resumed elsewhere by then, or are given up (`VOICE_RESUME_WINDOW`).
"""


class FleetWatch:
    """`Watch` over the heartbeats.

    It remembers what pods had counted: one that leaves takes its calls along, but not its counts.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, tuple[PodHeartbeat, float]] = {}
        """Each pod's newest heartbeat, and when it was seen."""
        self._counted: dict[tuple[str, str, int], PodCounters] = {}

    @property
    def name(self) -> str:
        """For people."""
        return f"the fleet in the store ({self._store.kind})"

    async def look(self, colors: Sequence[str]) -> Mapping[str, Numbers]:
        """Look at all heartbeats. Raises `WatchError` for a color that has none: that does not mean no calls."""
        try:
            heartbeats = await self._store.pods()
        except StoreError as error:
            raise WatchError(f"the store does not say how the fleet is: {error}", retryable=True) from error
        now_s = self._clock.monotonic_s()
        for heartbeat in heartbeats:
            self._seen[heartbeat.name] = (heartbeat, now_s)
            if heartbeat.counters is not None:
                self._counted[heartbeat.color, heartbeat.name, heartbeat.started_at_ms] = heartbeat.counters
        return {
            color: self._numbers(color, [heartbeat for heartbeat in heartbeats if heartbeat.color == color])
            for color in colors
        }

    def _numbers(self, color: str, heartbeats: Sequence[PodHeartbeat]) -> Numbers:
        if not heartbeats:
            raise WatchError(f"no {color} pod has a heartbeat: how many calls it has is not known", retryable=True)
        active_calls = sum(heartbeat.active_calls for heartbeat in heartbeats) + self._silent_calls(
            color, {it.name for it in heartbeats}
        )
        counted = [counters for (of, _, _), counters in self._counted.items() if of == color]
        if not counted:
            return Numbers(active_calls)
        turns: dict[float, int] = {}
        for counters in counted:
            for bound, count in counters.turns.items():
                turns[float(bound)] = turns.get(float(bound), 0) + count
        return Numbers(
            active_calls,
            ended=sum(counters.ended for counters in counted),
            failed=sum(counters.failed for counters in counted),
            dropped=sum(counters.dropped for counters in counted),
            resumes=sum(counters.resumed for counters in counted),
            turns=turns,
        )

    def _silent_calls(self, color: str, heard: set[str]) -> int:
        """Calls of pods of a color that have not been heard of for a short while."""
        since_s = self._clock.monotonic_s() - SILENT_S
        return sum(
            heartbeat.active_calls
            for heartbeat, seen_s in self._seen.values()
            if heartbeat.color == color and heartbeat.name not in heard and seen_s > since_s
        )
