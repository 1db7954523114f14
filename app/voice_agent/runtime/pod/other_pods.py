"""What this pod knows of the others: if they take calls in its place, what they count against keys, what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voice_agent.call.schema import READS_SCHEMAS, written_schema
from voice_agent.runtime.pod.fleet import TAKES_CALLS
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import PodHeartbeat, PodState

HEARTBEAT_TTL_S = 7
"""Three heartbeats may be missed before a pod is taken for dead."""


class OtherPods:
    """Told by each heartbeat of this pod; `said` is what it said of itself."""

    def __init__(
        self,
        clock: Clock,
        quota: KeyQuota,
        *,
        reads_schemas: tuple[int, int] = READS_SCHEMAS,
        use_schema: Callable[[int], None] = lambda schema: None,
    ) -> None:
        """`use_schema` is told what this pod is to write records in, of the schemas that it reads."""
        self.is_leaving: Callable[[str], bool] = lambda name: False
        """Whether a pod of the fleet is known to leave, sooner than its heartbeat says so."""
        self.quota = quota
        self._clock = clock
        self._reads_schemas = reads_schemas
        self._use_schema = use_schema
        use_schema(reads_schemas[0])
        self._taking: frozenset[str] = frozenset()
        """Pods of this color that took calls after this one had said that it is overloaded; empty: not known."""
        self._learned_at_s = float("-inf")

    def about_to_say(self, said: PodHeartbeat) -> None:
        """From now on others may think that this pod takes calls, and send theirs here, unless it is overloaded."""
        if said.status != PodState.OVERLOADED:
            self._taking = frozenset()

    def is_wanted(self, said: PodHeartbeat) -> bool:
        """Whether it matters what the others say."""
        oldest, newest = self._reads_schemas
        return said.status == PodState.OVERLOADED or self.quota.limit > 0 or oldest != newest

    def learn(self, said: PodHeartbeat, pods: Iterable[PodHeartbeat]) -> None:
        """What all pods say, asked for after this pod's own heartbeat is in the store.

        So of two pods that are overloaded, the one that asked last knows of the other: never do all send callers away.
        """
        others = [heartbeat for heartbeat in pods if heartbeat.name != said.name]
        self.quota.learn(others)
        self._learned_at_s = self._clock.monotonic_s()
        there = (heartbeat.reads_schemas for heartbeat in others if heartbeat.status != PodState.LEFT)
        self._use_schema(written_schema(self._reads_schemas, there))
        if said.status == PodState.OVERLOADED:
            taking = (
                heartbeat for heartbeat in others if heartbeat.color == said.color and heartbeat.status in TAKES_CALLS
            )
            self._taking = frozenset(heartbeat.name for heartbeat in taking)

    def forget(self) -> None:
        """The store is silent: what was learned is worth as much as a heartbeat."""
        self._taking = frozenset()
        if self._clock.monotonic_s() - self._learned_at_s > HEARTBEAT_TTL_S:
            self.quota.learn([])

    @property
    def take_calls(self) -> bool:
        """Whether another pod of this color is known to take calls, and knows that this one does not."""
        return any(not self.is_leaving(name) for name in self._taking)
