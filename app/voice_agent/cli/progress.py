"""How calls leave pods: a bar on a terminal, elsewhere a line for each change; nothing where a script reads."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class CallsProgress:
    """A context: the bar is drawn while it is open, on standard error."""

    def __init__(self, what: str, calls: int, *, silent: bool) -> None:
        """`calls`: how many there are to move."""
        self._calls = calls
        self._silent = silent
        self._said = ""
        self._console = Console(stderr=True)
        columns = (TextColumn(escape(what)), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[remark]}"))
        shows = self._console.is_terminal and not silent
        self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True, disable=not shows)
        self._task = self._bar.add_task("", total=max(1, calls), remark="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def left(self, calls: int, remark: str = "") -> None:
        """So many are still to move; `remark` says what else there is to know."""
        gone = max(0, self._calls - calls)
        self._bar.update(self._task, completed=gone, remark=escape(remark))
        said = f"{gone} of {self._calls} calls have moved{f'; {remark}' if remark else ''}"
        if said != self._said and not (self._silent or self._console.is_terminal):
            print(said, file=sys.stderr, flush=True)
        self._said = said
