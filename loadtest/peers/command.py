"""``python -m loadtest.peers``: `compare` this server with others, `guard` its cost."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import sys
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.peers import table, venvs
from loadtest.peers.comparing import Extent, compare, compare_at
from loadtest.peers.contenders import BASELINE, HERE, TALK, chosen
from loadtest.peers.environment import NotStarted
from loadtest.peers.fronting import CALLS, edge_cost
from loadtest.peers.guard import Outcome, Stored
from loadtest.peers.guarding import hold, ratios_now
from loadtest.peers.holding import Refused
from loadtest.peers.measuring import Tell
from loadtest.peers.processor import cores, on_core
from loadtest.peers.releasing import release_costs, sources_of

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
GUARD = HERE / "guard.json"
TOLERANCE = 0.15
TABLE_WIDTH = 180
Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Only = Annotated[
    list[str] | None,
    typer.Option(help="A contender's name; give it again for more. The baseline is always in.", show_default="all"),
]
Report = Annotated[Path | None, typer.Option(help="A Markdown file; the table goes between its markers.")]


@app.command("compare")
def compare_command(
    only: Only = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds of CPU a frame.")] = 3,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each run.")] = 4.0,
    most_rounds: Annotated[int, typer.Option(min=0, help="Rounds of most calls at p99 < 20 ms; 0: none.")] = 2,
    memory: Annotated[bool, typer.Option(help="Whether to measure memory a call, too.")] = True,
    calls: Annotated[int | None, typer.Option(min=1, help="CPU a frame alone, with so many calls each.")] = None,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """This server beside others under one load: CPU a frame, most calls, memory a call; medians of ratios.

    Servers share the first core; callers and the store have the last one. For example, in two minutes:

    `python -m loadtest.peers compare --only voice-agent --only picows --most-rounds 0`
    """
    with _plain_errors(), _progress() as tell:
        contenders = chosen(only or [])
        if report is not None:
            table.replaced(report.read_text(), "", report.name)
        venvs.ensure(contenders, tell)
        extent = Extent(rounds, seconds, most_rounds, memory)
        found = _run(compare_at(contenders, calls, extent, tell) if calls else compare(contenders, extent, tell))
    text = table.markdown(found, _circumstances())
    if report is not None:
        table.put_into(report, text)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=1) + "\n")
    else:
        Console(width=TABLE_WIDTH).print(Markdown(text))


@app.command("guard")
def guard_command(
    store: Annotated[bool, typer.Option("--store", help="Store what is measured now as what must hold.")] = False,
    file: Annotated[Path, typer.Option(help="Where the ratios are stored.")] = GUARD,
    as_json: AsJson = False,
) -> None:
    """Fail if a frame of a conversation costs over 15 % more of the bare echo's CPU than when the ratio was stored.

    A minute and a half when all is well; it measures up to three times before it fails. For example, after a change
    that is meant to be dearer or has made conversations cheaper: `python -m loadtest.peers guard --store`
    """
    with _plain_errors(), _progress() as tell:
        stored = None if store else Stored.from_json(json.loads(file.read_text()))
        venvs.ensure(chosen([TALK]), tell)
        if stored is None:
            stored = Stored(_run(ratios_now([TALK], tell)), TOLERANCE)
            file.write_text(json.dumps(stored.as_json(), indent=2) + "\n")
            sys.stdout.write(f"stored in {file}: {stored.as_json()}\n")
            return
        outcome, judgements = _run(hold(stored, tell))
    if as_json:
        told = {"outcome": outcome.value, "judged": [vars(one) for one in judgements]}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(map(str, judgements)) + "\n")
    raise typer.Exit(0 if outcome is Outcome.HOLDS else 1)


@app.command("edge")
def edge_command(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds of each measure.")] = 4,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each run.")] = 4.0,
    latency_calls: Annotated[int, typer.Option(min=1, help="Calls that talk where latency is looked at.")] = CALLS,
    as_json: AsJson = False,
) -> None:
    """What an edge costs: CPU a frame by the bare echo's, added latency, memory a call. Exit 1 if it is too much.

    Three minutes. The edge has the first core; its pod shares the last one with callers and store. For example:

    `python -m loadtest.peers edge --json`
    """
    with _plain_errors(), _progress() as tell:
        venvs.ensure(chosen([BASELINE]), tell)
        found = _run(edge_cost(rounds, seconds, tell, latency_calls))
    verdicts = found.verdicts()
    if as_json:
        told = {**vars(found), "added_ms": found.added_ms, "targets": [vars(one) for one in verdicts]}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        for one in verdicts:
            word = "reached" if one.reached else "NOT REACHED"
            sys.stdout.write(f"{one.measure}: {one.value:.2f}, {one.target}: {word}\n")
        sys.stdout.write("".join(f"{note}\n" for note in found.notes))
    raise typer.Exit(0 if all(one.reached for one in verdicts) else 1)


@app.command("releases")
def releases_command(
    before: Annotated[str, typer.Option(metavar="DIR|REVISION", help="The other release.")],
    calls: Annotated[int, typer.Option(min=1, help="Conversations at once.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, the two in turn.")] = 4,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each run, after a turn to warm up.")] = 8.0,
    as_json: AsJson = False,
) -> None:
    """What a turn costs this release beside another one: CPU of pod and store, bytes sent to the store.

    Two to three minutes. For example, what has been changed since the last tag costs or saves:

    `python -m loadtest.peers releases --before v1.4.0`
    """
    with _plain_errors(), _progress() as tell, sources_of(before) as sources:
        found = _run(release_costs(sources, calls=calls, rounds=rounds, seconds=seconds, tell=tell))
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=1) + "\n")
        return
    title = f"{calls} conversations, {found.rounds} sound rounds of {rounds}"
    shown = Table("a turn", "this", before, "ratio", title=title)
    for name in vars(found.this):
        this, other, ratio = (getattr(cost, name) for cost in (found.this, found.before, found.ratio))
        shown.add_row(name, f"{this:,.1f}", f"{other:,.1f}", f"{ratio:.3f}")
    Console().print(shown)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    with on_core(cores()[1]):
        return uvloop.run(work)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, venvs.NotInstalled, table.NoMarkers, NotStarted, Refused) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from None


@contextlib.contextmanager
def _progress() -> Iterator[Tell]:
    """Says on the terminal's error output what is going on, between runs only: a run's time is the generator's."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting")

        def tell(line: str) -> None:
            progress.update(task, description=line)
            progress.refresh()
            if not console.is_terminal:
                console.print(line)

        yield tell


def _circumstances() -> table.Circumstances:
    # Tells the day of a report; nothing is decided by it.
    today = datetime.now(UTC).date().isoformat()  # noqa: TID251
    first, last = cores()
    shared = "2 shared cores" if first != last else "1 shared core"
    machine = f"{shared} ({_processor()}), Linux {platform.release()}, Python {platform.python_version()}"
    return table.Circumstances(today, machine, shlex.join(["python", "-m", "loadtest.peers", *sys.argv[1:]]))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
