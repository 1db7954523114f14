"""`voice-agent cutover` and `voice-agent smoke`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import typer
from rich.console import Console

from voice_agent.command_options import with_options
from voice_agent.errors import SettingsError, VoiceAgentError
from voice_agent.operate.choosing import choose_router, choose_watch
from voice_agent.operate.context import Context
from voice_agent.operate.dry_run import dry_run
from voice_agent.operate.lines import CutoverLines
from voice_agent.operate.options import CutoverArguments, SmokeCommandArguments
from voice_agent.operate.plan import Exit
from voice_agent.operate.ports import CutoverError
from voice_agent.operate.request import CutoverRequest, cutover_request, smoke_request
from voice_agent.operate.runner import CutoverRefused, NothingToDo, Runner, forget, refusing, retry_at_start
from voice_agent.operate.screen import CutoverScreen
from voice_agent.operate.smoke import smoke_call, smoked
from voice_agent.runtime.clock import SystemClock
from voice_agent.stores.base import Store
from voice_agent.stores.factory import open_store
from voice_agent.stores.layout import check_layout


@with_options(SmokeCommandArguments)
def smoke(given: SmokeCommandArguments) -> None:
    """Make a real spoken call to one color, lose its connection in mid-sentence, and see it resumed.

    Exit status 0 if everything was as it should be, else 1; one line says why.

    Example: voice-agent smoke --url wss://voice.example.com/v1/realtime --color green --limit 1.5
    """
    report = asyncio.run(smoke_call(smoke_request(given), SystemClock()))
    if given.as_json:
        print(json.dumps(report.as_json()))
    else:
        print(f"{'ok' if report.ok else 'failed'}: {report.reason}", file=sys.stdout if report.ok else sys.stderr)
    raise typer.Exit(0 if report.ok else 1)


@with_options(CutoverArguments)
def cutover(given: CutoverArguments) -> None:
    """Move all callers to the other color: smoke call, weights, drain, and a rollback by itself if it goes wrong.

    Its progress is kept in the store: after a crash the same command goes on where it was.
    Ctrl+C rolls back; a second one stops at once. Exit status: 0 the color serves all callers and no caller was lost,
    1 rolled back, or stopped before its end, 2 refused, nobody was moved, 3 done, but callers were lost.
    With --rollback, rolled back is done: 0, or 3.

    Examples: voice-agent cutover --to green --router haproxy --haproxy /run/haproxy.sock
    --store redis://localhost:6379/0 --smoke-url ws://localhost:8000/v1/realtime;
    voice-agent cutover --to green --router alb --terraform outputs.json --steps 5,25,100 --hold 60;
    voice-agent cutover --rollback --router gateway --namespace voice
    """
    request, clock = cutover_request(given), SystemClock()
    if given.mode.as_json:
        lines = CutoverLines(sys.stdout, clock)
        try:
            status = asyncio.run(_cut_over(request, lines, clock))
        except SettingsError:
            raise
        except VoiceAgentError as error:
            status = error.exit_status
            lines.stopped(str(error), status)
    else:
        with CutoverScreen(Console(), clock) as screen:
            try:
                status = asyncio.run(_cut_over(request, screen, clock))
            except NothingToDo as nothing:
                status = nothing.exit_status
                screen.said(str(nothing))
    raise typer.Exit(status)


async def _cut_over(request: CutoverRequest, reporter: CutoverScreen | CutoverLines, clock: SystemClock) -> int:
    """Do it; returns the exit status (`plan.Exit`)."""
    settings = request.settings
    store = open_store(settings.store_url, ttl_s=settings.call_ttl, key_prefix=settings.key_prefix)
    try:
        await retry_at_start(store.open, clock, reporter)
        # What a cutover writes must not be taken for what a version before schemas left behind.
        writes = not (request.dry or request.forget)
        await retry_at_start(lambda: check_layout(store, begins=writes), clock, reporter)
        if request.forget:
            reporter.said(await retry_at_start(lambda: forget(store, clock), clock, reporter))
            return Exit.NO_CALLER_LOST
        context = _context(request, store, reporter, clock)
        runner = Runner(context, request.options, request.budget)
        if request.dry and request.to is not None:
            return await _dry_run(runner, context, request.to, request.old)
        with _interrupting(runner, reporter):
            if request.to is None:
                return (await runner.roll_back()).exit
            return (await runner.run(request.to, old=request.old)).exit
    finally:
        await store.close()


def _context(
    request: CutoverRequest, store: Store, reporter: CutoverScreen | CutoverLines, clock: SystemClock
) -> Context:
    async def smoke(color: str) -> str:
        if request.smoke is None:
            return "no smoke call, as asked"
        return await smoked(replace(request.smoke, color=color), clock)

    with refusing():
        watch = choose_watch(request.source, store, clock)
        return Context(choose_router(request.router), watch, store, smoke, clock, reporter)


async def _dry_run(runner: Runner, context: Context, new: str, old: str | None) -> int:
    """Print every change of a cutover. Raises `CutoverRefused` with what speaks against it."""
    progress = await retry_at_start(lambda: runner.begin(new, old), context.clock, context.reporter)
    with refusing():
        against, changes = await dry_run(context, progress)
    for line in changes:
        context.reporter.said(line)
    if against:
        raise CutoverRefused("; ".join(against))
    return Exit.NO_CALLER_LOST


@contextlib.contextmanager
def _interrupting(runner: Runner, reporter: CutoverScreen | CutoverLines) -> Iterator[None]:
    """The first Ctrl+C (or SIGTERM) rolls back; the second stops at once, and what is done stays."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    count = 0

    def interrupt() -> None:
        nonlocal count
        count += 1
        if count == 1:
            reporter.said("interrupted: rolling back; once more stops at once")
            runner.interrupt()
        else:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    except asyncio.CancelledError:
        raise CutoverError("stopped half way; the same command goes on, --rollback undoes it") from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
