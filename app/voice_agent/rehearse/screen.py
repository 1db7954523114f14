"""A rehearsal on a terminal: what is being done, who is served where, and what was found."""

from __future__ import annotations

from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from voice_agent.rehearse.figures import RehearsalRecording
from voice_agent.rehearse.script import Rehearsal

PHASES = {
    "starting": 0,
    "warm-up": 5,
    "blue to green": 10,
    "calm": 32,
    "a pod is": 32,
    "back to blue": 36,
    "a faulty release": 56,
}
PHASES |= {"the faulty green": 62, "a good release": 66, "calls on": 72, "to green": 75, "the last turns": 96}
"""Where the script is, in percent of its usual time."""


class RehearsalScreen:
    """Draws a rehearsal while it runs; on what is no terminal, one line a phase."""

    def __init__(self, console: Console, rehearsal: Rehearsal) -> None:
        self._console = console
        self._rehearsal = rehearsal
        self._told = ""
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(40), TimeElapsedColumn(), console=console, expand=False
        )
        self._task = self._progress.add_task("starting", total=100)
        self.live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def draw(self) -> None:
        """As it stands now."""
        phase = self._rehearsal.phase
        if self.live is None:
            if phase != self._told:
                self._told = phase
                self._console.print(f"{self._rehearsal.now_s:6.1f} s  {phase}", markup=False, highlight=False)
            return
        known = [percent for name, percent in PHASES.items() if phase.startswith(name)]
        self._progress.update(self._task, description=phase, completed=max([self._done(), *known]))
        self.live.update(Group(self._progress, self._calls()))

    def _done(self) -> float:
        return self._progress.tasks[0].completed

    def _calls(self) -> Table:
        callers = list(self._rehearsal.callers.live.values())
        on = Counter(caller.call.line.is_on or "between two pods" for caller in callers)
        table = Table(box=None, pad_edge=False, show_header=False)
        for pod, calls in sorted(on.items()):
            color = pod.partition("-")[0]
            table.add_row(pod, str(calls), f"[{color if color in ('blue', 'green') else 'dim'}]" + "█" * calls)
        ended = self._rehearsal.recording.calls
        resumes = sum(call.resumes for call in ended) + sum(len(caller.call.line.gaps_s) for caller in callers)
        turns = sum(call.turns for call in ended) + sum(caller.talk.turns for caller in callers)
        table.add_row("calls ended", str(len(ended)))
        table.add_row("turns", str(turns))
        table.add_row("resumes", str(resumes))
        dropped = self._rehearsal.callers.dropped
        table.add_row("dropped", str(dropped), style="bold red" if dropped else "")
        return table


def summary(recording: RehearsalRecording) -> Table:
    """What came of it, for people."""
    figures = recording.as_json()
    table = Table("what", "how many", title="Rehearsal", title_justify="left")
    table.columns[1].justify = "right"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["calls_by_kind"].items()))
    table.add_row("calls", f"{figures['calls']} ({kinds})")
    for name in ("turns", "events", "resumes"):
        table.add_row(name, f"{figures[name]:,}")
    for cause, count in figures["resumes_by_cause"].items():
        table.add_row(f"… after a {cause}", f"{count:,}", style="dim")
    gaps = figures["resume_gap_ms"]
    if gaps["p50"] is not None:
        table.add_row("gap of a resume, p50 / p99", f"{gaps['p50']:.0f} / {gaps['p99']:.0f} ms")
    if (behind := figures["behind_edges"]) is not None:
        table.add_section()
        table.add_row("calls held by edges", str(behind["calls"]))
        for cause, gap_ms in behind["gap_ms"].items():
            told = f"{behind['moves'][cause]:,}, {gap_ms['p50']:.0f} / {gap_ms['p99']:.0f} ms"
            table.add_row(f"… moved after a {cause}, gap p50 / p99", told, style="dim")
        for fault in recording.faults:
            table.add_row(f"{fault.what} {fault.pod}: its {fault.calls} calls served elsewhere after", fault.told)
    table.add_section()
    for cutover in recording.cutovers:
        drained = cutover.outcome.drain_seconds
        took = "" if drained is None else f", old color empty after {drained:.1f} s"
        table.add_row(cutover.title, ("rolled back" if cutover.outcome.status else "done") + took)
    table.add_section()
    verdict = {
        "calls dropped": "dropped",
        "events lost": "events_lost",
        "events repeated": "events_repeated",
        "replies with other sound or words": "wrong_replies",
        "turns lost": "words_lost",
        "turns repeated": "words_repeated",
        "speech lost, ms": "speech_lost_ms",
    }
    for said, name in verdict.items():
        table.add_row(said, str(figures[name]), style="bold red" if figures[name] else "")
    return table
