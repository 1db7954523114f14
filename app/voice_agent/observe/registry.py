"""The metric families of a pod: made from the table, counted up, sampled when somebody asks, and shown as a page."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client import generate_latest as generate
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voice_agent.observe.logs import dropped_lines
from voice_agent.observe.metric_table import TABLE, Kind, Spec
from voice_agent.providers.breaker import BreakerState
from voice_agent.providers.health import ProviderHealth
from voice_agent.runtime.ports import Frames, PodStatus, StoreState
from voice_agent.stores.base import PodState

WORSE = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


class MetricRegistry:
    """One pod's, on a Prometheus registry of its own."""

    def __init__(self, frames: Frames, *, version: str, color: str) -> None:
        """`frames` are counted up elsewhere."""
        self._frames = frames
        self._pod = (color, version)
        self._status: Callable[[], PodStatus] | None = None
        self._not_resumable: Callable[[], int] = lambda: 0
        self._providers: Callable[[], Iterable[ProviderHealth]] = tuple
        self._families = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        for spec in TABLE:
            self._make(spec)
        self._families.register(_Sampler(self._sample))

    def _make(self, spec: Spec) -> None:
        labels = spec.labels
        values = [value.split() for value in spec.known] if spec.label else [[]]
        if spec.kind is Kind.COUNTER:
            counter = self._counters[spec.name] = Counter(
                spec.name.removesuffix("_total"), spec.text, labels, registry=self._families
            )
            for value in values:
                counter.labels(*self._pod, *value)
        elif spec.kind is Kind.HISTOGRAM:
            histogram = self._histograms[spec.name] = Histogram(
                spec.name, spec.text, labels, registry=self._families, buckets=spec.buckets
            )
            for value in values:
                histogram.labels(*self._pod, *value)

    def count(self, name: str, *values: str, times: int = 1) -> None:
        """Count up a `COUNTER` of the table, by the values of its own labels."""
        self._counters[name].labels(*self._pod, *values).inc(times)

    def measure(self, name: str, seconds: float, *values: str) -> None:
        """Take a value of a `HISTOGRAM` of the table."""
        self._histograms[name].labels(*self._pod, *values).observe(seconds)

    def watch(self, status: Callable[[], PodStatus], not_resumable: Callable[[], int] = lambda: 0) -> None:
        """Read the gauges from a pod from now on; before that they are 0. `not_resumable` counts such calls."""
        self._status = status
        self._not_resumable = not_resumable

    def watch_providers(self, healths: Callable[[], Iterable[ProviderHealth]]) -> None:
        """Read how providers do from now on."""
        self._providers = healths

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate(self._families)

    async def read(self) -> bytes:
        """For the web layer, which may have to ask others for their page."""
        return self.page()

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
            "voice_audio_frames_total": [(("in",), self._frames.came), (("out",), self._frames.went)],
        }
        values |= _provider_values(self._providers())
        for spec in TABLE:
            if spec.kind is Kind.SAMPLED:
                yield self._family(spec, values[spec.name])

    def _family(self, spec: Spec, values: list[tuple[tuple[str, ...], float]]) -> Metric:
        make = CounterMetricFamily if spec.name.endswith("_total") else GaugeMetricFamily
        family = make(spec.name.removesuffix("_total"), spec.text, labels=spec.labels)
        for label_values, value in values:
            family.add_metric((*self._pod, *label_values), value)
        return family


def _provider_values(healths: Iterable[ProviderHealth]) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """Endpoints of one provider and model are one; the worst of their states is told."""
    states: dict[tuple[str, str], BreakerState] = {}
    answers: Counts[tuple[str, ...]] = Counts()
    failures: Counts[tuple[str, ...]] = Counts()
    for health in healths:
        who = health.provider, health.model
        states[who] = max(states.get(who, BreakerState.CLOSED), health.state, key=WORSE.index)
        answers[who] += health.answers
        for kind, count in health.failures.items():
            failures[*who, kind.value] += count
    return {
        "voice_provider_state": [
            ((*who, each.value), 1 if state is each else 0) for who, state in states.items() for each in BreakerState
        ],
        "voice_provider_answers_total": list(answers.items()),
        "voice_provider_failures_total": list(failures.items()),
    }


class _Sampler(Collector):
    def __init__(self, sample: Callable[[], Iterable[Metric]]) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        return self._sample()
