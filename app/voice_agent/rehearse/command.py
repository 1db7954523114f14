"""`voice-agent rehearse`: arguments only."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from voice_agent.command_options import one_of, with_options
from voice_agent.errors import SettingsError
from voice_agent.extras import missing_extra
from voice_agent.runtime.clock import SystemClock

if TYPE_CHECKING:
    from voice_agent.rehearse.figures import RehearsalRecording
    from voice_agent.rehearse.script import RehearsalPlan

DRAW_S = 0.25


@dataclass(frozen=True, slots=True)
class RehearsalOptions:
    """All options of `voice-agent rehearse`."""

    callers: Annotated[int, typer.Option(min=4, max=500, metavar="N", help="Calls at once.")] = 40
    clients: Annotated[
        str,
        typer.Option(
            metavar="mixed|plain|resuming",
            parser=one_of("mixed", "plain", "resuming"),
            help="What callers hold: `plain` is a WebSocket that cannot resume, `resuming` are SDKs and browsers.",
        ),
    ] = "mixed"
    edges: Annotated[
        int, typer.Option(min=0, max=8, metavar="N", help="Edges that hold callers who cannot resume, and some others.")
    ] = 2
    report: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Write a report with plots, as HTML.")
    ] = None
    picture: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Write who served how many calls, as SVG.")
    ] = None
    short: Annotated[
        bool, typer.Option("--short", help="Only one cutover, from blue to green, without a smoke call.")
    ] = False
    keep: Annotated[
        Path | None, typer.Option(file_okay=False, metavar="DIR", help="Keep the logs of all processes there.")
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(file_okay=False, metavar="DIR", help="Record all calls there, for `voice-agent replay`."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON.")] = False

    def check(self) -> None:
        """What would only be found wrong after three minutes. Raises `SettingsError`."""
        for option, file in (("--report", self.report), ("--picture", self.picture)):
            if file is not None and not file.absolute().parent.is_dir():
                raise SettingsError(f"{option}: there is no folder {file.absolute().parent}")


@with_options(RehearsalOptions)
def rehearse(given: RehearsalOptions) -> None:
    """Cut over from blue to green and back on this machine, with live calls, a faulty release and a crash.

    Starts a store, two pods of each color, HAProxy, two edges and talking callers (half of them official SDK clients,
    a quarter browsers, a quarter that cannot resume), and checks every event and every reply. Callers who cannot
    resume, and half of the SDK clients, are held by the edges, and pods are killed, stopped and drained under them
    besides; with --edges 0 they are left to end their calls before a pod goes. The figures count each cutover once: as
    one that went through, as a rollback, or as one with a crash in it. Exit status 0 if no call was dropped and
    nothing lost or repeated, else 1.

    Example: voice-agent rehearse --callers 40 --report rehearsal.html
    """
    if (missing := missing_extra("rehearse")) is not None:
        raise SettingsError(f"rehearse {missing}")
    from voice_agent.rehearse.callers import Clients
    from voice_agent.rehearse.programs import find_haproxy
    from voice_agent.rehearse.script import RehearsalPlan

    find_haproxy()
    given.check()
    console = Console(stderr=True)
    with ExitStack() as stack:
        if given.keep is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="va-rehearsal-")))
        else:
            directory = _new_directory("--keep", given.keep)
        recordings = None if given.record is None else _new_directory("--record", given.record)
        plan = RehearsalPlan(given.callers, Clients(given.clients), given.edges)
        plan = plan.shortened() if given.short else plan
        recording = asyncio.run(_play(plan, directory, console, recordings))
    _write(recording, given, console)
    raise typer.Exit(1 if recording.verdict else 0)


def _write(recording: RehearsalRecording, given: RehearsalOptions, console: Console) -> None:
    """Report and picture where they are asked for, and the figures."""
    from voice_agent.rehearse.drawing import active_plot
    from voice_agent.rehearse.report import render
    from voice_agent.rehearse.screen import summary

    for what, file, draw in (("report", given.report, render), ("picture", given.picture, active_plot)):
        if file is not None:
            file.write_text(draw(recording), encoding="utf-8")
            console.print(f"{what}: {file}", highlight=False)
    for sentence in recording.verdict[:20]:
        console.print(sentence, markup=False, highlight=False, style="red")
    if given.as_json:
        print(json.dumps(recording.as_json()))
    else:
        Console().print(summary(recording))
        print("failed: see above" if recording.verdict else "ok: nothing was dropped, lost or repeated")


def _new_directory(option: str, wanted: Path) -> Path:
    """An empty one: in that of an earlier rehearsal its store would remember its calls and cutovers."""
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if any(wanted.iterdir()):
            raise SettingsError(f"{option}: {wanted} is not empty; name a new folder")
    except OSError as error:
        raise SettingsError(f"{option}: cannot use {wanted}: {error.strerror}") from None
    return wanted.absolute()


async def _play(plan: RehearsalPlan, directory: Path, console: Console, recordings: Path | None) -> RehearsalRecording:
    from voice_agent.rehearse.environment import RehearsalEnvironment
    from voice_agent.rehearse.screen import RehearsalScreen
    from voice_agent.rehearse.script import DRAIN_DEADLINE_S, Rehearsal

    clock = SystemClock()
    environment = RehearsalEnvironment(directory, clock, DRAIN_DEADLINE_S, edges=plan.edges, recordings=recordings)
    rehearsal = Rehearsal(plan, environment, directory, clock)
    screen = RehearsalScreen(console, rehearsal)
    with ExitStack() as stack:
        if screen.live is not None:
            stack.enter_context(screen.live)
        playing = asyncio.create_task(rehearsal.run())
        try:
            while not playing.done():
                screen.draw()
                await asyncio.wait({playing}, timeout=DRAW_S)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
    playing.result()
    return rehearsal.recording
