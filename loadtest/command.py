"""``python -m loadtest``: one command a profile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest import overload, profiles, ramp, report, talk
from loadtest.fleet import Fleet, pods, running
from loadtest.outcome import Outcome
from loadtest.peers.environment import NotStarted
from loadtest.peers.processor import cores, on_core
from loadtest.profiles import Tell
from voice_agent.command_options import with_options

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")

Calls = Annotated[int, typer.Option(min=1, help="Calls at once.")]
Seconds = Annotated[float, typer.Option(min=1.0, help="How long they talk.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the callers go."""

    url: Annotated[
        str | None, typer.Option(help="A running server, such as ws://127.0.0.1:8080; else pods are started.")
    ] = None
    api_key: Annotated[str | None, typer.Option(envvar="VOICE_API_KEY", help="The API key to show it.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every profile is asked: what its pods keep, and how the outcome is shown."""

    outbox: Annotated[int, typer.Option(min=0, help="`VOICE_OUTBOX_BYTES` of the pods; 0 keeps no events.")] = (
        profiles.MIB
    )
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeProfile:
    """Options of `smoke`."""

    calls: Calls = 5
    seconds: Seconds = 10.0
    target: Target
    common: Common


@app.command()
@with_options(SmokeProfile)
def smoke(given: SmokeProfile) -> None:
    """A few calls: every frame comes back once, in order and unchanged.

    `python -m loadtest smoke --url ws://127.0.0.1:8080`
    """

    async def run(tell: Tell) -> Outcome:
        async with _somewhere(given.target, ["blue"], given.common.outbox) as fleet:
            return await profiles.smoke(fleet, tell, calls=given.calls, seconds=given.seconds)

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class RampProfile:
    """Options of `ramp`."""

    guess: Annotated[int, typer.Option(min=1, help="Where to begin.")] = 200
    most: Annotated[int, typer.Option(min=1, help="Where to stop.")] = 3000
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each try.")] = 3.0
    common: Common


@app.command("ramp")
@with_options(RampProfile)
def ramp_command(given: RampProfile) -> None:
    """The most calls on one core whose added latency stays below 20 ms at the 99th percentile.

    `python -m loadtest ramp --outbox 0`
    """

    async def run(tell: Tell) -> Outcome:
        return await ramp.ramp(
            tell, guess=given.guess, most=given.most, seconds=given.seconds, outbox_bytes=given.common.outbox
        )

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkProfile:
    """Options of `talk`."""

    calls: Calls = 40
    seconds: Seconds = 10.0
    common: Common


@app.command("talk")
@with_options(TalkProfile)
def talk_command(given: TalkProfile) -> None:
    """Conversations with all defaults on: what a heard frame costs, and whether each turn is answered as it should be.

    `python -m loadtest talk --calls 120`
    """

    async def run(tell: Tell) -> Outcome:
        return await talk.talk(tell, calls=given.calls, seconds=given.seconds, outbox_bytes=given.common.outbox)

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnProfile:
    """Options of `churn`."""

    calls: Calls = 40
    seconds: Seconds = 30.0
    seed: Annotated[int, typer.Option(help="Of the chances taken.")] = 1
    target: Target
    common: Common


@app.command()
@with_options(ChurnProfile)
def churn(given: ChurnProfile) -> None:
    """Calls come and go, think, lose their connections and come back.

    `python -m loadtest churn --calls 100 --seconds 60`
    """

    async def run(tell: Tell) -> Outcome:
        async with _somewhere(given.target, ["blue", "green"], given.common.outbox) as fleet:
            return await profiles.churn(fleet, tell, calls=given.calls, seconds=given.seconds, seed=given.seed)

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class StormProfile:
    """Options of `storm`."""

    calls: Calls = 200
    seconds: Seconds = 5.0
    common: Common


@app.command()
@with_options(StormProfile)
def storm(given: StormProfile) -> None:
    """A pod is killed with all its calls; they resume at once on another.

    `python -m loadtest storm --calls 200`
    """

    async def run(tell: Tell) -> Outcome:
        return await profiles.storm(tell, calls=given.calls, seconds=given.seconds, outbox_bytes=given.common.outbox)

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeProfile:
    """Options of `resume`."""

    calls: Calls = 60
    seconds: Seconds = 10.0
    per_second: Annotated[float, typer.Option(min=1.0, help="Resumes a second.")] = profiles.RESUMES_PER_S
    common: Common


@app.command()
@with_options(ResumeProfile)
def resume(given: ResumeProfile) -> None:
    """A steady stream of resumes between two pods: connect to the first replayed event.

    `python -m loadtest resume --per-second 50`
    """

    async def run(tell: Tell) -> Outcome:
        return await profiles.resume(
            tell, calls=given.calls, seconds=given.seconds, per_s=given.per_second, outbox_bytes=given.common.outbox
        )

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoverProfile:
    """Options of `cutover`."""

    calls: Calls = 100
    seconds: Seconds = 5.0
    common: Common


@app.command()
@with_options(CutoverProfile)
def cutover(given: CutoverProfile) -> None:
    """Blue is drained under load, and every call goes on with green. `make rehearse` adds the load balancer.

    `python -m loadtest cutover --calls 100`
    """

    async def run(tell: Tell) -> Outcome:
        return await profiles.cutover(tell, calls=given.calls, seconds=given.seconds, outbox_bytes=given.common.outbox)

    _end(run, given.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadProfile:
    """Options of `overload`."""

    calls: Calls = 200
    seconds: Seconds = 15.0
    per_second: Annotated[float, typer.Option(min=1.0, help="New callers a second.")] = 50.0
    places: Annotated[
        int | None, typer.Option(min=0, help="Calls the pod takes; 0: as many as its core can bear. As `--calls`.")
    ] = None
    common: Common


@app.command("overload")
@with_options(OverloadProfile)
def overload_command(given: OverloadProfile) -> None:
    """Twice as many callers as a pod takes: those who talk keep talking, the others are refused quickly.

    `python -m loadtest overload --calls 400 --places 0`
    """

    async def run(tell: Tell) -> Outcome:
        taken = given.calls if given.places is None else given.places
        return await overload.overload(
            tell,
            calls=given.calls,
            seconds=given.seconds,
            per_s=given.per_second,
            places=taken,
            outbox_bytes=given.common.outbox,
        )

    _end(run, given.common)


@contextlib.asynccontextmanager
async def _somewhere(target: Target, colors: list[str], outbox: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a context
    if target.url is not None:
        yield running(target.url, target.api_key)
        return
    async with pods(*colors, outbox_bytes=outbox) as fleet:
        yield fleet


def _end(run: Callable[[Tell], Awaitable[Outcome]], common: Common) -> None:
    """Run it on the generator's own core, show what was found, exit 1 if that is not good enough."""
    console = Console()

    async def whole() -> Outcome:
        with _shown(quiet=common.as_json) as tell:
            return await run(tell)

    try:
        with on_core(cores()[1]):
            outcome = uvloop.run(whole())
    except (NotStarted, OSError, TimeoutError, ValueError, httpx.HTTPError) as error:
        typer.echo(f"the run could not be made: {str(error) or 'no answer in time'}", err=True)
        raise typer.Exit(2) from None
    if common.report is not None:
        report.write(outcome, common.report)
    if common.as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=2))
    else:
        _show(console, outcome)
    if not outcome.passed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _shown(*, quiet: bool) -> Iterator[Tell]:
    if quiet:
        yield lambda line: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as progress:
        task = progress.add_task("starting")
        yield lambda line: progress.update(task, description=line)


def _show(console: Console, outcome: Outcome) -> None:
    table = Table("", "count", "p50 ms", "p95 ms", "p99 ms", "max ms", title=outcome.profile, title_justify="left")
    for name, told in outcome.as_json()["times"].items():
        table.add_row(name.replace("_", " "), *(f"{value:g}" for value in told.values()))
    console.print(table)
    for name, value in outcome.facts.items():
        console.print(f"{name.replace('_', ' ')}: {value:g}")
    for check in outcome.checks:
        console.print(f"[{'green' if check.holds else 'red'}]{'✓' if check.holds else '✗'}[/] {check}", highlight=False)
    if not outcome.kept_time:
        console.print("The generator was late itself, so its latencies do not count; try fewer calls.", style="yellow")
    console.print(outcome.verdict, style="bold green" if outcome.passed else "bold red", highlight=False)


__all__ = ["Fleet", "app"]
