"""Every metric of a pod, in one table: the names that dashboards and alerts rely on.

Known label values exist from the start, so that a counter shows 0 before the first event
and a dashboard can tell "none" from "no data". Every family has `POD_LABELS`; no label ever holds a call id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
    Spec("voice_deletion_cost_failures_total", Kind.COUNTER, "Kubernetes did not take how many calls this pod has."),
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
        "voice_moved_calls_total",
        Kind.COUNTER,
        "Calls that an operator had moved to other pods, and those that were to move and stayed.",
        "outcome",
        ("moved", "left"),
    ),
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
        "voice_tls_reloads_total",
        Kind.COUNTER,
        "Changes of the certificate's files: taken, or the old one kept because the new one cannot be used.",
        "outcome",
        ("taken", "kept"),
    ),
    Spec(
        "voice_agent_faults_total",
        Kind.COUNTER,
        "What agents did wrong; the log names them.",
        "kind",
        ("raised", "no_part", "silent", "blocked", "other_text", "other_audio"),
    ),
    Spec(
        "voice_usage_total",
        Kind.COUNTER,
        "What requests to providers used, as far as they told it: tokens, characters, milliseconds of audio.",
        "provider model unit",
    ),
    Spec(
        "voice_usage_requests_total",
        Kind.COUNTER,
        "Requests to providers that are over, by whether it is known what they used.",
        "provider model known",
    ),
    Spec("voice_provider_state", Kind.SAMPLED, "1 for how a provider does now, else 0.", "provider model state"),
    Spec("voice_provider_answers_total", Kind.SAMPLED, "Requests that a provider answered.", "provider model"),
    Spec(
        "voice_provider_failures_total",
        Kind.SAMPLED,
        "Requests that a provider did not answer, or not to the end.",
        "provider model kind",
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
