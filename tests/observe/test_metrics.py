"""Metrics: the names that dashboards and alerts rely on, and what fills them.

Tests of `metric_table` and `registry`, too.
"""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from voice_agent.call.usage import Settled
from voice_agent.observe.metric_table import TABLE
from voice_agent.observe.metrics import MAX_PAIRS, Metrics
from voice_agent.providers.breaker import MIN_FAILURES, BreakerState
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.health import ProviderHealth
from voice_agent.runtime.ports import Observer, PodStatus, StoreState
from voice_agent.stores.base import PodState

DESIGNED: dict[str, set[str]] = {
    "voice_active_calls": set(),
    "voice_parked_calls": set(),
    "voice_calls_total": {"outcome"},
    "voice_resumes_total": {"kind"},
    "voice_resume_seconds": set(),
    "voice_turn_seconds": {"stage"},
    "voice_resume_gap_seconds": set(),
    "voice_calls_dropped_total": {"cause"},
    "voice_calls_incomplete_total": {"part"},
    "voice_drain_seconds": set(),
    "voice_store_seconds": {"op"},
    "voice_store_errors_total": set(),
    "voice_fenced_writes_total": set(),
    "voice_draining": set(),
    "voice_audio_frames_total": {"direction"},
    "voice_loop_lag_seconds": set(),
    "voice_build_info": set(),
    "voice_capacity_calls": set(),
    "voice_calls_not_resumable": set(),
    "voice_refusals_total": {"status", "reason"},
    "voice_limits_total": {"limit"},
    "voice_tls_reloads_total": {"outcome"},
    "voice_deletion_cost_failures_total": set(),
    "voice_moved_calls_total": {"outcome"},
    "voice_store_state": {"state"},
    "voice_agent_faults_total": {"kind"},
}
"""The labels of each beside those of its pod."""
NAMED_BY_AGENTS = {
    "voice_usage_total": {"provider", "model", "unit"},
    "voice_usage_requests_total": {"provider", "model", "known"},
    "voice_provider_state": {"provider", "model", "state"},
    "voice_provider_answers_total": {"provider", "model"},
    "voice_provider_failures_total": {"provider", "model", "kind"},
}
"""And of those of which nothing is known before an agent has named a provider."""


def status(**changes: object) -> PodStatus:
    """A pod's status with some fields changed."""
    fields: dict[str, object] = {
        "status": PodState.OK,
        "pod": "pod-a",
        "color": "green",
        "version": "1.2",
        "active_calls": 0,
        "parked_calls": 0,
        "capacity": 10,
        "store": "memory:ok",
    }
    return PodStatus(**(fields | changes))  # type: ignore[arg-type]


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of the page, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.registry.page().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample of a green pod of version 1.2."""
    return read(metrics)[name, frozenset(({"color": "green", "version": "1.2"} | labels).items())]


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a green pod of version 1.2."""
    return Metrics(version="1.2", color="green")


def test_every_designed_metric_is_on_the_page_with_its_labels(metrics: Metrics) -> None:
    """Names and labels are those of the design, before anything has happened."""
    labels: dict[str, set[str]] = {}
    for name, pairs in read(metrics):
        base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        labels.setdefault(base, set()).update(key for key, _ in pairs if key != "le")
    assert {name: labels.get(name) for name in DESIGNED} == {
        name: own | {"color", "version"} for name, own in DESIGNED.items()
    }


def test_every_sample_says_its_pods_color_and_version(metrics: Metrics) -> None:
    """Those of the table, and whatever comes later."""
    metrics.refused(403, "origin_not_allowed")
    metrics.limit_reached("handshakes")
    for name, pairs in read(metrics):
        assert {("color", "green"), ("version", "1.2")} <= pairs, name
    others = {"voice_calls_started_total", "voice_log_lines_dropped_total", *NAMED_BY_AGENTS}
    assert {spec.name for spec in TABLE} <= {*DESIGNED, *others}


def test_nothing_is_absent_before_the_first_event(metrics: Metrics) -> None:
    """Every counter and gauge shows 0 from the start."""
    samples = read(metrics)
    assert samples.pop(("voice_build_info", frozenset({("version", "1.2"), ("color", "green")}))) == 1
    assert set(samples.values()) == {0}
    for outcome in ("hangup", "abandoned", "timeout", "admin", "agent", "error"):
        assert value(metrics, "voice_calls_total", outcome=outcome) == 0
    for kind in ("handoff", "drop", "crash"):
        assert value(metrics, "voice_resumes_total", kind=kind) == 0
    assert value(metrics, "voice_active_calls") == 0


def test_gauges_are_read_from_the_pod_when_somebody_asks(metrics: Metrics) -> None:
    """The page says what is true now, without anybody having reported it."""
    now = status(active_calls=3, parked_calls=2)
    metrics.registry.watch(lambda: now, lambda: 1)
    assert value(metrics, "voice_active_calls") == 3
    assert value(metrics, "voice_parked_calls") == 2
    assert value(metrics, "voice_capacity_calls") == 10
    assert value(metrics, "voice_calls_not_resumable") == 1
    assert value(metrics, "voice_draining") == 0
    now = status(status=PodState.DRAINING)
    assert value(metrics, "voice_active_calls") == 0
    assert value(metrics, "voice_draining") == 1


def test_what_the_runtime_reports_is_counted(metrics: Metrics) -> None:
    """Each method of the observer moves its own metric."""
    observer: Observer = metrics
    observer.call_started()
    observer.call_ended("hangup")
    observer.call_dropped("error")
    observer.call_resumed("handoff", 0.4)
    observer.call_resumed("crash", None)
    observer.resume_took(0.002)
    observer.turn_stage("stt", 0.1)
    observer.store_call("commit", 0.001)
    observer.store_failed("commit")
    observer.write_fenced()
    observer.frames.came += 3
    observer.frames.went += 5
    observer.drain_finished(12)
    observer.calls_moved(3, 2)
    observer.loop_lag(0.003)
    assert value(metrics, "voice_calls_started_total") == 1
    assert value(metrics, "voice_calls_total", outcome="hangup") == 1
    assert value(metrics, "voice_calls_dropped_total", cause="error") == 1
    assert value(metrics, "voice_resumes_total", kind="handoff") == 1
    assert value(metrics, "voice_resumes_total", kind="crash") == 1
    assert value(metrics, "voice_resume_gap_seconds_count") == 1
    assert value(metrics, "voice_resume_seconds_count") == 1
    assert value(metrics, "voice_turn_seconds_sum", stage="stt") == pytest.approx(0.1)
    assert value(metrics, "voice_store_seconds_count", op="commit") == 1
    assert value(metrics, "voice_store_errors_total") == 1
    assert value(metrics, "voice_fenced_writes_total") == 1
    assert value(metrics, "voice_audio_frames_total", direction="in") == 3
    assert value(metrics, "voice_audio_frames_total", direction="out") == 5
    assert value(metrics, "voice_drain_seconds_sum") == 12
    assert value(metrics, "voice_moved_calls_total", outcome="moved") == 3
    assert value(metrics, "voice_moved_calls_total", outcome="left") == 2
    assert value(metrics, "voice_loop_lag_seconds_count") == 1


def test_two_pods_of_a_process_do_not_share_metrics() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(version="1.2", color="blue"), Metrics(version="1.2", color="green")
    first.write_fenced()
    assert value(second, "voice_fenced_writes_total") == 0


def test_the_state_of_the_store_is_one_of_five() -> None:
    """1 for the one that it is, 0 for the others, so that an alert names it."""
    metrics = Metrics(version="1.2", color="green")
    metrics.registry.watch(lambda: status(store="redis:full"))
    states = {state: value(metrics, "voice_store_state", state=state) for state in StoreState}
    assert states == {**dict.fromkeys(StoreState, 0), StoreState.FULL: 1}


def test_no_label_is_made_for_a_call() -> None:
    """A label with a value per call would grow without end."""
    few = set("color outcome kind cause stage op direction status reason limit state part unit known".split())
    few |= {"provider", "model"}  # At most `MAX_PAIRS` of them.
    assert {label for spec in TABLE for label in (spec.label or "").split()} <= few


def test_refusals_and_limits_are_counted_by_name(metrics: Metrics) -> None:
    """Whoever is on duty sees what is refused, why, and which bound cut something short."""
    metrics.refused(503, "draining")
    metrics.refused(503, "draining")
    metrics.limit_reached("handshakes")
    assert value(metrics, "voice_refusals_total", status="503", reason="draining") == 2
    assert value(metrics, "voice_limits_total", limit="handshakes") == 1


def test_how_providers_do_is_read_when_somebody_asks(metrics: Metrics) -> None:
    """Endpoints of one provider and model are one line, with the worst of their states."""
    assert "voice_provider_state{" not in metrics.registry.page().decode()
    healths = [ProviderHealth("openai", "gpt", lambda: 0.0) for _ in range(2)]
    metrics.registry.watch_providers(lambda: healths)
    healths[0].succeeded()
    for _ in range(MIN_FAILURES):
        healths[1].failed(ProviderFailed("openai", FailureKind.CUT, "has no end"))
    who = {"provider": "openai", "model": "gpt"}
    states = [value(metrics, "voice_provider_state", state=state.value, **who) for state in BreakerState]
    assert states == [0, 1, 0]
    assert value(metrics, "voice_provider_answers_total", **who) == 1
    assert value(metrics, "voice_provider_failures_total", kind="cut", **who) == MIN_FAILURES


def test_usage_is_counted_by_provider_and_model(metrics: Metrics) -> None:
    """What was used, and of how many requests that is known."""
    metrics.usage_settled("openai", "gpt-5-mini", Settled(2, 1, {"input_tokens": 12, "characters": 0}))
    metrics.usage_settled("openai", "gpt-5-mini", Settled(1, 0, {"input_tokens": 30}))
    who = {"provider": "openai", "model": "gpt-5-mini"}
    assert value(metrics, "voice_usage_total", unit="input_tokens", **who) == 42
    assert value(metrics, "voice_usage_total", unit="characters", **who) == 0
    assert value(metrics, "voice_usage_requests_total", known="true", **who) == 3
    assert value(metrics, "voice_usage_requests_total", known="false", **who) == 1


def test_names_made_up_by_agents_do_not_fill_the_page(metrics: Metrics) -> None:
    """Beyond the bound they are counted as others; nothing is lost."""
    for n in range(3 * MAX_PAIRS):
        metrics.usage_settled("made-up", f"model-{n}", Settled(1, 0, {"input_tokens": 1}))
    counted = {pairs: found for (name, pairs), found in read(metrics).items() if name == "voice_usage_total"}
    assert len(counted) == MAX_PAIRS + 1
    assert sum(counted.values()) == 3 * MAX_PAIRS
    assert value(metrics, "voice_usage_total", provider="other", model="other", unit="input_tokens") == 2 * MAX_PAIRS
