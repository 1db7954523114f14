"""A conversation on a terminal, for people."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.exchanges import Exchange, Report
from voice_agent.client.sequence import Tally


class CallScreen:
    """Prints both sides of the conversation as it goes."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._progress = Progress(
            TextColumn("         {task.description}"),
            BarColumn(bar_width=30),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._quiet = quiet
        self._task: Any = None
        self._told_of_break = False

    def _line(self, text: str) -> None:
        if not self._quiet:
            shown = f"[dim]{time.monotonic() - self._began_s:6.1f} s[/]  {text}"
            # What is piped into a file stays on its line.
            self._console.print(shown, highlight=False, soft_wrap=not self._console.is_terminal)

    def connected(self, call: RealtimeCall) -> None:
        where = f" on the {call.color} pod {call.pod}" if call.pod else ""
        self._line(f"[dim]connected: {escape(call.call_id or 'a call')}{escape(where)}[/]")

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(f"speaking {escape(name)}", total=total_ms)
        self._progress.update(self._task, completed=done_ms)
        if done_ms >= total_ms:
            self._stop_progress()

    def _stop_progress(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._progress.stop()
            self._task = None

    def heard(self, exchange: Exchange) -> None:
        self._line(f"[bold]caller[/]  {escape(exchange.heard) or '[dim](not understood)[/]'}")

    def answered(self, exchange: Exchange) -> None:
        late = "" if exchange.latency_s is None else f" [dim](after {exchange.latency_s * 1000:.0f} ms)[/]"
        color = exchange.color if exchange.color in ("blue", "green") else "cyan"
        self._line(f"[bold {color}]agent[/]   {escape(exchange.answered)}{late}")

    def waiting(self, code: int, reason: str) -> None:
        if not self._told_of_break:
            self._told_of_break = True
            self._line(f"[yellow]connection lost ({code}); trying to resume: {escape(reason)}[/]")

    def resumed(self, resumed: ResumedConnection) -> None:
        self._told_of_break = False
        self._line(
            f"[yellow]connection lost ({resumed.code}); resumed on the {escape(resumed.color)} pod "
            f"{escape(resumed.pod)} after {resumed.break_s * 1000:.0f} ms[/]"
        )

    def going_away(self, time_left_ms: int) -> None:
        self._line(f"[yellow]this pod will leave in {time_left_ms / 1000:.1f} s[/]")

    def failed(self, message: str) -> None:
        self._line(f"[red]error[/]   {escape(message)}")

    def summary(self, report: Report, call_id: str | None, tally: Tally, failure: str | None) -> None:
        """The last word, also after a failure; the failure itself is printed by whoever catches it."""
        self._stop_progress()
        if self._quiet or (failure is not None and call_id is None):
            return
        table = Table("turn", "caller", "agent", "first answer after", "served by", box=None, pad_edge=False)
        for number, turn in enumerate(report.exchanges, 1):
            late = "-" if turn.latency_s is None else f"{turn.latency_s * 1000:.0f} ms"
            shown = (turn.heard, turn.answered, late, turn.color)
            table.add_row(str(number), *(escape(text) or "-" for text in shown))
        self._console.print()
        self._console.print(table)
        resumes = "1 resume" if tally.resumes == 1 else f"{tally.resumes} resumes"
        beyond = f"; {tally.lost_ms} ms of audio lost" if tally.lost_ms else ""
        beyond += f"; {tally.forgotten} events no longer held by the server" if tally.forgotten else ""
        self._console.print(
            f"{tally.events} events, {tally.gaps} missing, {tally.repeats} repeated; "
            f"{resumes}, {tally.resent_ms} ms of audio sent again{beyond}; "
            f"sending was at most {report.worst_lag_ms:.0f} ms late",
            highlight=False,
            soft_wrap=not self._console.is_terminal,
        )
