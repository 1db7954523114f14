"""The observer of a pod: what happens in it, as metrics."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from voice_agent.call.usage import OTHER, Settled
from voice_agent.observe.metric_table import SPOKEN_S
from voice_agent.observe.registry import MetricRegistry
from voice_agent.runtime.ports import Frames
from voice_agent.stores.base import PodCounters

MAX_PAIRS = 200
"""Providers with their models in one pod's metrics: stops names that agents make up from filling the memory of the pod,
and of whoever collects. Beyond it they are counted as `OTHER`."""


@dataclass(slots=True)
class Counted:
    """Plain counters beside the library's, which cannot be read back."""

    ended: int = 0
    failed: int = 0
    dropped: int = 0
    resumed: int = 0
    causes: dict[str, int] = field(default_factory=dict)


class Metrics:
    """`runtime.ports.Observer`. One per pod."""

    def __init__(self, *, version: str, color: str) -> None:
        self.frames = Frames()
        self.registry = MetricRegistry(self.frames, version=version, color=color)
        self._counted = Counted()
        self._turn_bounds_s = (*SPOKEN_S, float("inf"))
        self._turns = [0] * len(self._turn_bounds_s)
        self._pairs: set[tuple[str, str]] = set()

    def counters(self) -> PodCounters:
        """The counters that a cutover watches, for the pod's heartbeat."""
        counted = self._counted
        within = zip(map(str, self._turn_bounds_s), accumulate(self._turns), strict=True)
        causes = dict(counted.causes)
        return PodCounters(counted.ended, counted.failed, counted.dropped, counted.resumed, dict(within), causes)

    # --- runtime.ports.Observer ------------------------------------------------

    def call_started(self) -> None:
        """Counts a new call."""
        self.registry.count("voice_calls_started_total")

    def call_ended(self, outcome: str) -> None:
        """Counts an ended call."""
        self.registry.count("voice_calls_total", outcome)
        self._counted.ended += 1
        self._counted.failed += outcome == "error"

    def call_dropped(self, cause: str) -> None:
        """Counts a call that we lost."""
        self.registry.count("voice_calls_dropped_total", cause)
        self._counted.dropped += 1
        self._counted.causes[cause] = self._counted.causes.get(cause, 0) + 1

    def call_resumed(self, kind: str, gap_s: float | None) -> None:
        """Counts a resume; `gap_s` None: the old connection's end is not known."""
        self.registry.count("voice_resumes_total", kind)
        self._counted.resumed += 1
        if gap_s is not None:
            self.registry.measure("voice_resume_gap_seconds", gap_s)

    def call_incomplete(self, part: str) -> None:
        """Counts a call of which the store had lost a part."""
        self.registry.count("voice_calls_incomplete_total", part)

    def resume_took(self, seconds: float) -> None:
        """Takes the time of one resume."""
        self.registry.measure("voice_resume_seconds", seconds)

    def turn_stage(self, stage: str, seconds: float) -> None:
        """Takes the time of one part of a turn."""
        self.registry.measure("voice_turn_seconds", seconds, stage)
        if stage == "first_audio":
            self._turns[bisect_left(self._turn_bounds_s, seconds)] += 1

    def store_call(self, op: str, seconds: float) -> None:
        """Takes the time of one round trip."""
        self.registry.measure("voice_store_seconds", seconds, op)

    def store_failed(self, op: str) -> None:
        """Counts a request that the store did not answer, or refused, as a full one does."""
        self.registry.count("voice_store_errors_total")

    def write_fenced(self) -> None:
        """Counts a refused write."""
        self.registry.count("voice_fenced_writes_total")

    def drain_finished(self, seconds: float) -> None:
        """Takes the time of a drain."""
        self.registry.measure("voice_drain_seconds", seconds)

    def calls_moved(self, moved: int, left: int) -> None:
        """Counts the calls of a move."""
        self.registry.count("voice_moved_calls_total", "moved", times=moved)
        self.registry.count("voice_moved_calls_total", "left", times=left)

    def refused(self, status: int, reason: str) -> None:
        """Counts a refused connection."""
        self.registry.count("voice_refusals_total", str(status), reason)

    def limit_reached(self, limit: str) -> None:
        """Counts what a bound cut short."""
        self.registry.count("voice_limits_total", limit)

    def certificate_read(self, outcome: str) -> None:
        """Counts a change of the certificate's files."""
        self.registry.count("voice_tls_reloads_total", outcome)

    def agent_fault(self, kind: str) -> None:
        """Counts what an agent did wrong."""
        self.registry.count("voice_agent_faults_total", kind)

    def usage_settled(self, provider: str, model: str, settled: Settled) -> None:
        """Counts requests to a provider, and what they used."""
        pair = (provider, model)
        if pair not in self._pairs and len(self._pairs) >= MAX_PAIRS:
            pair = (OTHER, OTHER)
        self._pairs.add(pair)
        self.registry.count("voice_usage_requests_total", *pair, "true", times=settled.known)
        self.registry.count("voice_usage_requests_total", *pair, "false", times=settled.unknown)
        for unit, figure in settled.figures.items():
            self.registry.count("voice_usage_total", *pair, unit, times=figure)

    def loop_lag(self, seconds: float) -> None:
        """Takes one measurement of the loop's lag."""
        self.registry.measure("voice_loop_lag_seconds", seconds)

    # --- of the host -------------------------------------------------------------

    def deletion_cost_failed(self) -> None:
        """Counts that Kubernetes was not told how many calls there are."""
        self.registry.count("voice_deletion_cost_failures_total")
