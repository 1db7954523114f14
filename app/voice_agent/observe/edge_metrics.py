"""The observer of an edge: what happens at it, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from voice_agent.observe.metric_table import FAST_S, PAUSE_S

LOST_CAUSES = ("patience", "gap", "refused", "closed", "drain", "error")
"""Shown from the start: a counter that begins at 1 has never risen, and no alert sees the first one that was lost."""


class EdgeMetrics:
    """One per edge. `page` is what Prometheus gets."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        self._registry = CollectorRegistry()
        self._resumes = self._counter(
            "resumes", "Calls that went on over another connection to a pod, by how the last one ended.", "code"
        )
        self._lost = self._counter("lost", "Callers that were closed though nobody hung up.", "cause")
        for cause in LOST_CAUSES:
            self._lost.labels(cause)
        self._refusals = self._counter("refusals", "Callers refused by the edge itself.", "status", "reason")
        self._limits = self._counter("limits", "Bounds that cut something short.", "limit")
        self._reloads = self._counter(
            "tls_reloads",
            "Changes of the certificate's files: taken, or the old one kept because the new one cannot be used.",
            "outcome",
        )
        for outcome in ("taken", "kept"):
            self._reloads.labels(outcome)
        self._gap_s = Histogram(
            "voice_edge_gap_seconds",
            "How long no pod served a call that went on.",
            registry=self._registry,
            buckets=PAUSE_S,
        )

        self._lag_s = Histogram(
            "voice_edge_loop_lag_seconds",
            "How late the event loop ran a timer.",
            registry=self._registry,
            buckets=FAST_S,
        )

    def watch(self, **gauges: tuple[str, Callable[[], float]]) -> None:
        """Show these gauges, each with what it means: they are read when the page is asked for."""
        for name, (text, read) in gauges.items():
            Gauge(f"voice_edge_{name}", text, registry=self._registry).set_function(read)

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    # --- `edge.EdgeObserver` ----------------------------------------------------

    def resumed(self, code: int, gap_s: float) -> None:
        """Counts and times a resume."""
        self._resumes.labels(str(code)).inc()
        self._gap_s.observe(gap_s)

    def lost(self, cause: str) -> None:
        """Counts a caller that was closed."""
        self._lost.labels(cause).inc()

    def loop_lag(self, seconds: float) -> None:
        """Measures how late the event loop is."""
        self._lag_s.observe(seconds)

    def refused(self, status: int, reason: str) -> None:
        """Counts a caller that was refused."""
        self._refusals.labels(str(status), reason).inc()

    def limit_reached(self, limit: str) -> None:
        """Counts what a bound cut short."""
        self._limits.labels(limit).inc()

    def certificate_read(self, outcome: str) -> None:
        """Counts a change of the certificate's files."""
        self._reloads.labels(outcome).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"voice_edge_{name}", text, labels, registry=self._registry)
