"""A cutover on a terminal: what has happened above, how it stands below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from voice_agent.operate.plan import CutoverProgress, Step
from voice_agent.operate.ports import Numbers
from voice_agent.runtime.pod.fleet import count
from voice_agent.runtime.ports import Clock

TITLES = {
    Step.PREPARE: "taking back a drain of {new}",
    Step.PREFLIGHT: "preflight",
    Step.SMOKE: "smoke call to {new}",
    Step.SHIFT: "shifting: {routing}",
    Step.HOLD: "watching {new}",
    Step.EXCLUSIVE: "{new} alone in the rule",
    Step.DRAIN: "{old} hands its calls off",
    Step.WATCH: "watching {old} drain",
    Step.FINISH: "{old} stands by",
    Step.DONE: "done",
    Step.REOPEN: "rollback: {old} takes calls again",
    Step.RETURN: "rollback: weights back to {old}",
    Step.HAND_BACK: "rollback: {new} hands its calls back",
    Step.WATCH_BACK: "rollback: watching {new} drain",
    Step.RESTORE: "rollback: as it was before",
    Step.ROLLED_BACK: "rolled back",
    Step.REFUSED: "refused",
}
BAR = 24


class CutoverScreen:
    """`context.Reporter` for people. A context: the live part is drawn while it is open."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._first: dict[str, Numbers] = {}
        self._waited = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self, text: str) -> None:
        shown = f"[dim]{self._clock.monotonic_s() - self._began_s:7.1f} s[/]  {text}"
        self._console.print(shown, highlight=False, soft_wrap=not self._console.is_terminal)

    def begun(self, progress: CutoverProgress, *, again: bool) -> None:
        """A heading."""
        how = f"going on at {progress.step.value}" if again else f"now: {progress.before}"
        self._line(f"[bold]{escape(progress.old)} → {escape(progress.new)}[/] over {escape(progress.router)}, {how}")

    def step(self, progress: CutoverProgress) -> None:
        """A line a step."""
        if progress.step is Step.REOPEN:
            self._line(f"[red]{escape(progress.reason)}[/]")
        words = {"old": progress.old, "new": progress.new, "routing": str(progress.routing)}
        self._line(escape(TITLES[progress.step].format(**words)))

    def looked(self, progress: CutoverProgress, numbers: Mapping[str, Numbers] | None, waits_for: str) -> None:
        """The live part; on anything but a terminal, a line when what it waits for changes."""
        if self._live is not None:
            self._live.update(self._drawn(progress, numbers, waits_for))
        elif waits_for != self._waited:
            self._waited = waits_for
            if waits_for:
                self._line(f"  waits for {escape(waits_for)}")

    def said(self, text: str) -> None:
        """A line."""
        self._line(f"  {escape(text)}")

    def over(self, progress: CutoverProgress) -> None:
        """The last word."""
        for remark in progress.remarks:
            self._line(f"[yellow]{escape(remark)}[/]")
        if progress.why_lost:
            self._line(f"[red]{escape(lost(progress))}[/]")
        if progress.step is not Step.DONE:
            how = "refused" if progress.step is Step.REFUSED else "rolled back"
            self._line(f"[red]{how}: {escape(progress.reason)}[/]")
            return
        took_s = progress.drain.seconds
        drained = "" if took_s is None else f"; {progress.old} was empty {took_s:.1f} s after the shift"
        color = "yellow" if progress.lost else "green"
        self._line(f"[{color}]{escape(progress.new)} serves all callers[/]{escape(drained)}")

    def _drawn(self, progress: CutoverProgress, numbers: Mapping[str, Numbers] | None, waits_for: str) -> Group:
        table = Table("color", "weight", "active calls", "", "resumes", "errors", "dropped", box=None, pad_edge=False)
        most = max((of_color.active_calls for of_color in (numbers or {}).values()), default=0)
        for color in (progress.old, progress.new):
            found = (numbers or {}).get(color)
            weight = progress.routing.weights.get(color)
            shown = "out" if weight is None else f"{weight} %"
            if found is None:
                table.add_row(color, shown, "?")
                continue
            first = self._first.setdefault(color, found)
            bar = "█" * round(BAR * found.active_calls / most) if most else ""
            grown = (_grown(first.resumes, found.resumes), _grown(first.failed, found.failed))
            drops = _grown(first.dropped, found.dropped)
            table.add_row(color, shown, str(found.active_calls), Text(bar, style=color), *grown, drops)
        passed_s = self._clock.monotonic_s() - self._began_s
        wait = f"waits for {waits_for}" if waits_for else ""
        return Group(table, Text(f"{progress.step.value}   {wait}   {passed_s:.0f} s   Ctrl+C rolls back", style="dim"))


def lost(progress: CutoverProgress) -> str:
    """How many callers were lost, and why."""
    were = "was" if progress.lost == 1 else "were"
    number = f"{count(progress.lost, 'caller')} {were}" if progress.lost else "no caller is known to be"
    return f"{number} lost: {'; '.join(progress.why_lost)}"


def _grown(before: int | None, now: int | None) -> str:
    return "" if before is None or now is None else str(max(0, now - before))
