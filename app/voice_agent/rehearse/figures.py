"""What came of a rehearsal: every call, every cutover, and the verdict. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.closing import CloseCode
from voice_agent.rehearse.conversation import Found, totals
from voice_agent.rehearse.cutovers import Outcome
from voice_agent.rehearse.edge_figures import EdgeCounts, EdgeFigures, distribution
from voice_agent.rehearse.timeline import CallLine, Mark, PodFault


@dataclass(slots=True)
class CallResult:
    """One call."""

    line: CallLine
    found: Found
    turns: int
    events: int
    silence_s: float = 0.0
    """The longest that a caller who cannot resume heard within a reply."""

    @property
    def resumes(self) -> int:
        """How often it went on over another connection to a pod."""
        return max(0, len(self.line.legs) - 1)


@dataclass(frozen=True, slots=True)
class ScriptedCutover:
    """One cutover of the script, and how it was to end."""

    title: str
    outcome: Outcome
    is_to_fail: bool = False
    crash: str = ""
    """The pod that was killed in the middle of it."""

    @property
    def is_as_planned(self) -> bool:
        """Whether it ended as it was to: with status 0, or rolled back with status 1."""
        return self.outcome.ok is not self.is_to_fail and self.outcome.status == int(self.is_to_fail)


@dataclass(slots=True)
class RehearsalRecording:
    """All that is known of a rehearsal. Times are seconds since it began."""

    callers: int
    cutovers_planned: int
    calls: list[CallResult] = field(default_factory=list)
    cutovers: list[ScriptedCutover] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    connects_again: int = 0
    """Connects of calls that had not begun, and were tried again."""
    edges: Sequence[EdgeCounts] = ()
    faults: Sequence[PodFault] = ()
    """What was done to pods between two cutovers, where edges hold callers."""
    moved_by_rollback: int = 0
    """Calls that changed their pod while a cutover was refused and rolled back."""
    complaints: list[str] = field(default_factory=list)
    """Errors in the pods' and the edges' logs."""
    seconds: float = 0.0

    @property
    def gaps_ms(self) -> list[float]:
        """How long callers were without a pod, for each resume but those behind a pod that fell silent."""
        return [gap_s * 1000 for call in self.calls for gap_s in call.line.brief_gaps_s]

    @property
    def resumes_by_cause(self) -> dict[str, int]:
        """How many resumes followed a handoff, a connection that broke with its pod, and a pod that fell silent."""
        codes = Counter(code for call in self.calls for code in call.line.resumed_after)
        handoffs = codes.pop(CloseCode.SERVICE_RESTART, 0)
        silences = sum(move.cause == "silence" for call in self.calls for move in call.line.moves)
        return {"handoff": handoffs, "crash": codes.total() - silences, "silence": silences}

    @property
    def drain_seconds(self) -> list[float]:
        """From the shift until the old color was empty, for each cutover that moved callers."""
        return [cutover.outcome.drain_seconds for cutover in self.cutovers if cutover.outcome.drain_seconds is not None]

    @property
    def behind_edges(self) -> EdgeFigures | None:
        """Of the calls that edges held; None without edges."""
        if not self.edges:
            return None
        silences_s = [call.silence_s for call in self.calls if call.line.edge and call.line.kind == "plain"]
        return EdgeFigures([call.line for call in self.calls if call.line.edge], silences_s, self.faults, self.edges)

    def as_json(self) -> dict[str, Any]:
        """For scripts: the figures by which a rehearsal is judged, and some more."""
        found = totals([call.found for call in self.calls])
        kinds = Counter(call.line.kind for call in self.calls)
        return {
            "ok": self.verdict == [],
            "verdict": self.verdict,
            "calls": len(self.calls),
            "calls_by_kind": dict(kinds),
            "callers": self.callers,
            "dropped": found.dropped,
            "events": sum(call.events for call in self.calls),
            "events_lost": found.lost,
            "events_repeated": found.repeated,
            "turns": sum(call.turns for call in self.calls),
            "wrong_replies": found.wrong_replies,
            "words_lost": found.lost_words,
            "words_repeated": found.extra_words,
            "speech_lost_ms": found.lost_speech_ms,
            # Each cutover counts once: as one that went through, as a rollback, or as one with a crash in it.
            "cutovers": sum(it.is_as_planned and not it.is_to_fail and not it.crash for it in self.cutovers),
            "rollbacks": sum(cutover.is_as_planned and cutover.is_to_fail for cutover in self.cutovers),
            "crashes": sum(cutover.is_as_planned and bool(cutover.crash) for cutover in self.cutovers),
            "moved_by_rollback": self.moved_by_rollback,
            "resumes": sum(call.resumes for call in self.calls),
            "resumes_by_cause": self.resumes_by_cause,
            "drain_seconds": [round(seconds, 1) for seconds in self.drain_seconds],
            "resume_gap_ms": distribution(self.gaps_ms),
            "connects_again": self.connects_again,
            "behind_edges": None if self.behind_edges is None else self.behind_edges.as_json(),
            "errors_in_logs": len(self.complaints),
            "seconds": round(self.seconds, 1),
        }

    @property
    def verdict(self) -> list[str]:
        """What speaks against it, a sentence each; empty: all is as it should be."""
        against = [
            f"{cutover.title}: it was {'to be rolled back' if cutover.is_to_fail else 'to go through'}, and ended with "
            f"{cutover.outcome.status}: {cutover.outcome.reason or 'done'}"
            for cutover in self.cutovers
            if not cutover.is_as_planned
        ]
        if len(self.cutovers) < self.cutovers_planned:
            against.append(f"only {len(self.cutovers)} of {self.cutovers_planned} cutovers were made")
        if self.moved_by_rollback:
            against.append(f"{self.moved_by_rollback} calls were moved although the new version had failed")
        against += [f"{call.line.caller} ({call.line.kind}): {faults(call.found)}" for call in self.bad_calls]
        if self.behind_edges is not None:
            against += self.behind_edges.verdict
        if not self.calls:
            against.append("there was no call")
        return against

    @property
    def bad_calls(self) -> Sequence[CallResult]:
        """Calls whose callers did not get what they should."""
        return [call for call in self.calls if not call.found.is_clean]


def faults(found: Found) -> str:
    """What is wrong with a call, in one line."""
    said = [f"dropped: {found.dropped}"] if found.dropped else []
    counts = {
        "events lost": found.lost,
        "events repeated": found.repeated,
        "turns lost": found.lost_words,
        "turns too many": found.extra_words,
        "ms of speech lost": found.lost_speech_ms,
    }
    said += [f"{count} {what}" for what, count in counts.items() if count]
    return "; ".join([*said, *found.wrong_audio]) or "nothing"
