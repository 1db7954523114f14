"""Every metric of a pod, in one table, and the observer that fills it.

Known label values exist from the start, so that a counter shows 0 before the first event
and a dashboard can tell "none" from "no data". Every family has `POD_LABELS`; no label ever holds a call id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client import generate_latest as generate
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voice_agent.observe.logs import dropped_lines
from voice_agent.runtime.ports import Frames, PodStatus, StoreState
from voice_agent.stores.base import PodCounters, PodState


class Kind(Enum):
    """How a metric is kept. `SAMPLED` ones are read when the page is asked for, and cost nothing before."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SAMPLED = "sampled"


FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""For store round trips and loop lag."""
SPOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
"""For what a caller waits for."""
PAUSE_S = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120)
"""For the time between two connections of a call."""
DRAIN_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 3600)


@dataclass(frozen=True, slots=True)
class Spec:
    """One line of the table. `label` comes beside `POD_LABELS`; `known` are its values that exist from the start.

    Several labels stand in `label` with spaces between them, and so do their values in `known`.
    """

    name: str
    kind: Kind
    text: str
    label: str | None = None
    known: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All of its labels, in the order that values are given in."""
        return (*POD_LABELS, *(self.label or "").split())


POD_LABELS = ("color", "version")
"""What every sample says of its pod."""

TABLE = (
    Spec("voice_active_calls", Kind.SAMPLED, "Attached calls of this pod."),
    Spec("voice_capacity_calls", Kind.SAMPLED, "Calls that may be attached to this pod before new ones are refused."),
    Spec("voice_calls_not_resumable", Kind.SAMPLED, "Attached calls whose client never said that it can come back."),
    Spec("voice_parked_calls", Kind.SAMPLED, "Calls of this pod that wait for their caller to come back."),
    Spec("voice_draining", Kind.SAMPLED, "1 while the pod takes nothing new."),
    Spec("voice_store_state", Kind.SAMPLED, "1 for how writing to the store goes now, else 0.", "state"),
    Spec("voice_build_info", Kind.SAMPLED, "Always 1; its labels say what runs."),
    Spec("voice_log_lines_dropped_total", Kind.SAMPLED, "Log lines that were dropped because the log was not read."),
    Spec("voice_audio_frames_total", Kind.SAMPLED, "Messages with audio.", "direction", ("in", "out")),
    Spec("voice_calls_started_total", Kind.COUNTER, "Calls that were begun on this pod."),
    Spec(
        "voice_calls_total",
        Kind.COUNTER,
        "Calls that have ended.",
        "outcome",
        ("hangup", "abandoned", "timeout", "admin", "agent", "error"),
    ),
    Spec("voice_resumes_total", Kind.COUNTER, "Calls taken up again.", "kind", ("handoff", "drop", "crash")),
    Spec(
        "voice_calls_dropped_total",
        Kind.COUNTER,
        "Calls lost through a fault of ours.",
        "cause",
        ("drain", "handoff", "error"),
    ),
    Spec(
        "voice_calls_incomplete_total",
        Kind.COUNTER,
        "Calls taken over of which the store had lost a part.",
        "part",
        ("items", "events", "speech"),
    ),
    Spec("voice_store_errors_total", Kind.COUNTER, "Requests that the store did not answer, or refused, as when full."),
    Spec("voice_fenced_writes_total", Kind.COUNTER, "Writes refused because another pod owns the call."),
    Spec(
        "voice_refusals_total",
        Kind.COUNTER,
        "Connections that were refused before the upgrade.",
        "status reason",
        ("503 draining", "503 at_capacity", "503 overloaded", "429 too_many_calls"),
    ),
    Spec("voice_limits_total", Kind.COUNTER, "What was cut short, by the bound that did it.", "limit", ("overload",)),
    Spec(
        "voice_agent_faults_total",
        Kind.COUNTER,
        "What agents did wrong; the log names them.",
        "kind",
        ("raised", "no_part", "silent", "blocked", "other_text", "other_audio"),
    ),
    Spec("voice_resume_seconds", Kind.HISTOGRAM, "From a resume's request until it may be accepted.", buckets=FAST_S),
    Spec(
        "voice_resume_gap_seconds",
        Kind.HISTOGRAM,
        "From the last byte on the old connection to the first on the new.",
        buckets=PAUSE_S,
    ),
    Spec(
        "voice_turn_seconds",
        Kind.HISTOGRAM,
        "Parts of a turn.",
        "stage",
        ("stt", "think", "tts", "first_audio"),
        SPOKEN_S,
    ),
    Spec("voice_drain_seconds", Kind.HISTOGRAM, "From a drain's start until no call was attached.", buckets=DRAIN_S),
    Spec("voice_store_seconds", Kind.HISTOGRAM, "Store round trips.", "op", ("commit", "claim"), FAST_S),
    Spec("voice_loop_lag_seconds", Kind.HISTOGRAM, "How late the event loop ran a timer.", buckets=FAST_S),
)


@dataclass(slots=True)
class Counted:
    """Plain counters beside the library's, which cannot be read back."""

    ended: int = 0
    failed: int = 0
    dropped: int = 0
    resumed: int = 0
    causes: dict[str, int] = field(default_factory=dict)


class Metrics:
    """`runtime.ports.Observer` on a Prometheus registry of its own; one per pod."""

    def __init__(self, *, version: str, color: str) -> None:
        self.registry = CollectorRegistry()
        self._pod = (color, version)
        self._status: Callable[[], PodStatus] | None = None
        self._not_resumable: Callable[[], int] = lambda: 0
        self._counted = Counted()
        self._turn_bounds_s = (*SPOKEN_S, float("inf"))
        self._turns = [0] * len(self._turn_bounds_s)
        self.frames = Frames()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        for spec in TABLE:
            self._make(spec)
        self.registry.register(_Sampler(self._sample))

    def _make(self, spec: Spec) -> None:
        labels = spec.labels
        values = [value.split() for value in spec.known] if spec.label else [[]]
        if spec.kind is Kind.COUNTER:
            counter = self._counters[spec.name] = Counter(
                spec.name.removesuffix("_total"), spec.text, labels, registry=self.registry
            )
            for value in values:
                counter.labels(*self._pod, *value)
        elif spec.kind is Kind.HISTOGRAM:
            histogram = self._histograms[spec.name] = Histogram(
                spec.name, spec.text, labels, registry=self.registry, buckets=spec.buckets
            )
            for value in values:
                histogram.labels(*self._pod, *value)

    def _count(self, name: str, *values: str) -> None:
        self._counters[name].labels(*self._pod, *values).inc()

    def _measure(self, name: str, seconds: float, *values: str) -> None:
        self._histograms[name].labels(*self._pod, *values).observe(seconds)

    def watch(self, status: Callable[[], PodStatus], not_resumable: Callable[[], int] = lambda: 0) -> None:
        """Read the gauges from a pod from now on; before that they are 0. `not_resumable` counts such calls."""
        self._status = status
        self._not_resumable = not_resumable

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate(self.registry)

    async def read(self) -> bytes:
        """For the web layer, which may have to ask others for their page."""
        return self.page()

    def counters(self) -> PodCounters:
        """The counters that a cutover watches, for the pod's heartbeat."""
        counted = self._counted
        within = zip(map(str, self._turn_bounds_s), accumulate(self._turns), strict=True)
        causes = dict(counted.causes)
        return PodCounters(counted.ended, counted.failed, counted.dropped, counted.resumed, dict(within), causes)

    def _sample(self) -> Iterable[Metric]:
        status = self._status() if self._status is not None else None
        values: dict[str, list[tuple[tuple[str, ...], float]]] = {
            "voice_active_calls": [((), status.active_calls if status else 0)],
            "voice_capacity_calls": [((), status.capacity if status else 0)],
            "voice_calls_not_resumable": [((), self._not_resumable())],
            "voice_parked_calls": [((), status.parked_calls if status else 0)],
            "voice_draining": [((), 1 if status and status.status is PodState.DRAINING else 0)],
            "voice_store_state": [
                ((state.value,), 1 if status and status.store_state == state else 0) for state in StoreState
            ],
            "voice_build_info": [((), 1)],
            "voice_log_lines_dropped_total": [((), dropped_lines())],
            "voice_audio_frames_total": [(("in",), self.frames.came), (("out",), self.frames.went)],
        }
        for spec in TABLE:
            if spec.kind is Kind.SAMPLED:
                yield self._family(spec, values[spec.name])

    def _family(self, spec: Spec, values: list[tuple[tuple[str, ...], float]]) -> Metric:
        make = CounterMetricFamily if spec.name.endswith("_total") else GaugeMetricFamily
        family = make(spec.name.removesuffix("_total"), spec.text, labels=spec.labels)
        for label_values, value in values:
            family.add_metric((*self._pod, *label_values), value)
        return family

    # --- runtime.ports.Observer ------------------------------------------------

    def call_started(self) -> None:
        """Counts a new call."""
        self._count("voice_calls_started_total")

    def call_ended(self, outcome: str) -> None:
        """Counts an ended call."""
        self._count("voice_calls_total", outcome)
        self._counted.ended += 1
        self._counted.failed += outcome == "error"

    def call_dropped(self, cause: str) -> None:
        """Counts a call that we lost."""
        self._count("voice_calls_dropped_total", cause)
        self._counted.dropped += 1
        self._counted.causes[cause] = self._counted.causes.get(cause, 0) + 1

    def call_resumed(self, kind: str, gap_s: float | None) -> None:
        """Counts a resume; `gap_s` None: the old connection's end is not known."""
        self._count("voice_resumes_total", kind)
        self._counted.resumed += 1
        if gap_s is not None:
            self._measure("voice_resume_gap_seconds", gap_s)

    def call_incomplete(self, part: str) -> None:
        """Counts a call of which the store had lost a part."""
        self._count("voice_calls_incomplete_total", part)

    def resume_took(self, seconds: float) -> None:
        """Takes the time of one resume."""
        self._measure("voice_resume_seconds", seconds)

    def turn_stage(self, stage: str, seconds: float) -> None:
        """Takes the time of one part of a turn."""
        self._measure("voice_turn_seconds", seconds, stage)
        if stage == "first_audio":
            self._turns[bisect_left(self._turn_bounds_s, seconds)] += 1

    def store_call(self, op: str, seconds: float) -> None:
        """Takes the time of one round trip."""
        self._measure("voice_store_seconds", seconds, op)

    def store_failed(self, op: str) -> None:
        """Counts a request that the store did not answer, or refused, as a full one does."""
        self._count("voice_store_errors_total")

    def write_fenced(self) -> None:
        """Counts a refused write."""
        self._count("voice_fenced_writes_total")

    def drain_finished(self, seconds: float) -> None:
        """Takes the time of a drain."""
        self._measure("voice_drain_seconds", seconds)

    def refused(self, status: int, reason: str) -> None:
        """Counts a refused connection."""
        self._count("voice_refusals_total", str(status), reason)

    def limit_reached(self, limit: str) -> None:
        """Counts what a bound cut short."""
        self._count("voice_limits_total", limit)

    def agent_fault(self, kind: str) -> None:
        """Counts what an agent did wrong."""
        self._count("voice_agent_faults_total", kind)

    def loop_lag(self, seconds: float) -> None:
        """Takes one measurement of the loop's lag."""
        self._measure("voice_loop_lag_seconds", seconds)


class _Sampler(Collector):
    def __init__(self, sample: Callable[[], Iterable[Metric]]) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        return self._sample()
