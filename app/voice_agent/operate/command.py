"""`voice-agent cutover` and `voice-agent smoke`: arguments only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from voice_agent.client.addresses import PATH, check
from voice_agent.client.options import one_of
from voice_agent.client.refusals import CallFailed
from voice_agent.errors import SettingsError, VoiceAgentError
from voice_agent.operate.choosing import (
    ROUTERS,
    WATCHES,
    RouterOptions,
    choose_router,
    choose_watch,
    parse_targets,
    read_terraform,
)
from voice_agent.operate.context import Context
from voice_agent.operate.dry_run import dry_run
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.lines import CutoverLines
from voice_agent.operate.plan import Exit, Options
from voice_agent.operate.ports import FULL, CutoverError
from voice_agent.operate.runner import CutoverRefused, NothingToDo, Runner, forget, refusing, retry_at_start
from voice_agent.operate.screen import CutoverScreen
from voice_agent.operate.smoke import COLOR_KEY, SAID_FIRST, SmokeOptions, smoke_call, smoked
from voice_agent.runtime.clock import SystemClock
from voice_agent.settings import ROUTERS_KEY, Settings, load_settings
from voice_agent.stores.factory import open_store

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ApiKey = Annotated[str | None, typer.Option(envvar="VOICE_API_KEY", metavar="KEY", help="A key of the server.")]
ColorKey = Annotated[
    str | None,
    typer.Option(envvar=ROUTERS_KEY, metavar="KEY", help="The router's, for the smoke call to choose its color."),
]
EXTRA_WATCH_S = 60.0


def smoke(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where calls go; default: this machine's pod, at VOICE_PORT.")
    ] = None,
    color: Annotated[
        str | None, typer.Option(metavar="COLOR", help="The color to call, also at weight 0; default: any.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="AGENT", help="The agent to talk to.")] = None,
    api_key: ApiKey = None,
    color_key: ColorKey = None,
    expect: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that must be heard of the recording; '' for none.")
    ] = SAID_FIRST,
    limit: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="The longest wait for the first audio of a reply.")
    ] = 2.0,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for a reply.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Make a real spoken call to one color, lose its connection in mid-sentence, and see it resumed.

    Exit status 0 if everything was as it should be, else 1; one line says why.

    Example: voice-agent smoke --url wss://voice.example.com/v1/realtime --color green --limit 1.5
    """
    terms = SmokeOptions(_call_url(url), color, _color_key(color_key), model, api_key, expect, limit, timeout)
    report = asyncio.run(smoke_call(terms, SystemClock()))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        print(f"{'ok' if report.ok else 'failed'}: {report.reason}", file=sys.stdout if report.ok else sys.stderr)
    raise typer.Exit(0 if report.ok else 1)


def _call_url(url: str | None) -> str:
    if url is None:
        settings, _ = load_settings(for_server=False)
        return f"ws://{settings.address}{PATH}"
    try:
        check(url)
    except CallFailed as error:
        raise SettingsError(f"--url: {error}") from None
    return url


def _color_key(given: str | None) -> str | None:
    if given and not COLOR_KEY.match(given):
        raise SettingsError(f"{ROUTERS_KEY} is not a key of 16 to 100 letters, digits, - and _ (openssl rand -hex 16)")
    return given or None


def cutover(
    to: Annotated[str | None, typer.Option("--to", metavar="COLOR", help="The color that is to serve.")] = None,
    old: Annotated[
        str | None, typer.Option("--from", metavar="COLOR", help="The color to leave; default: the router's other one.")
    ] = None,
    router: Annotated[
        str, typer.Option(parser=one_of(*ROUTERS), metavar="|".join(ROUTERS), help="What sends callers to colors.")
    ] = "haproxy",
    haproxy: Annotated[
        str, typer.Option(metavar="SOCKET", help="HAProxy's runtime API: a socket's path, or HOST:PORT.")
    ] = "",
    rule: Annotated[
        list[str] | None, typer.Option(metavar="ARN", help="A weighted rule of the ALB, first connects first; repeat.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="COLOR=NAME", help="A color's target group (ARN) or Service; repeat."),
    ] = None,
    terraform: Annotated[
        Path | None, typer.Option(metavar="FILE", help="`terraform output -json` of deploy/terraform: says all of it.")
    ] = None,
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Kubernetes namespace.")] = "default",
    resource: Annotated[str, typer.Option(metavar="NAME", help="The HTTPRoute, Ingress or Rollout.")] = "voice-agent",
    color_label: Annotated[
        str, typer.Option(metavar="LABEL", help="Of a Rollout's pods: what tells its revisions apart.")
    ] = "voice-agent/color",
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="Where calls are kept; default: VOICE_STORE_URL.")
    ] = None,
    watch: Annotated[
        str, typer.Option(parser=one_of(*WATCHES), metavar="|".join(WATCHES), help="Who counts active calls.")
    ] = "store",
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="Prometheus' address.")] = None,
    cloudwatch: Annotated[str, typer.Option(metavar="NAMESPACE", help="CloudWatch's namespace.")] = "VoiceAgent",
    smoke_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the smoke call goes: the load balancer's address.")
    ] = None,
    smoke_model: Annotated[str | None, typer.Option(metavar="AGENT", help="The agent that it talks to.")] = None,
    smoke_limit: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="Its longest wait for a reply's first audio.")
    ] = 2.0,
    smoke_expect: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that must be heard of its recording; '' for none.")
    ] = SAID_FIRST,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Move callers without having made a call.")] = False,
    api_key: ApiKey = None,
    color_key: ColorKey = None,
    steps: Annotated[
        str, typer.Option(metavar="PERCENTS", help="Weights one after the other, such as 5,25,100.")
    ] = str(FULL),
    hold: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to watch under each weight.")] = 10.0,
    buffer: Annotated[
        float, typer.Option(min=5, metavar="SECONDS", help="How long the old color must have had no call.")
    ] = 300.0,
    drain_deadline: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Default: VOICE_DRAIN_DEADLINE.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="The longest wait for an empty old color.")
    ] = None,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Of the new color's calls; more roll back.")
    ] = 0.02,
    max_turn: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="First audio of 95 % of its turns; more rolls back.")
    ] = 2.0,
    max_dropped: Annotated[
        int, typer.Option(min=0, metavar="CALLS", help="Calls that it may lose; more roll back.")
    ] = 0,
    delete: Annotated[bool, typer.Option("--delete", help="Retire the old color at the end.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Leave a color that is ill or dead: its problems do not stop the cutover.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Undo an unfinished cutover.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Drop the record of an unfinished cutover, and touch nothing else.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print every change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
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
    outputs = {} if terraform is None else read_terraform(terraform)
    settings, _ = load_settings(for_server=False, store_url=store or outputs.get("store_url"))
    if [to is not None, rollback, forget].count(True) != 1:
        raise SettingsError("give one of --to COLOR, --rollback and --forget")
    if dry and to is None:
        raise SettingsError("--dry-run goes with --to COLOR")
    terms = _terms(
        percents=steps,
        hold_s=hold,
        buffer_s=buffer,
        drain_deadline_s=settings.drain_deadline if drain_deadline is None else drain_deadline,
        watch_deadline_s=deadline,
        delete=delete,
        force=force,
    )
    budget = ErrorBudget(error_rate=max_error_rate, turn_p95_s=max_turn, dropped=max_dropped)
    options = RouterOptions(
        kind=router,
        haproxy=haproxy,
        rules=tuple(rule or outputs.get("alb_rule_arns", ())),
        targets=parse_targets(target) if target else outputs.get("target_group_arns", {}),
        namespace=namespace,
        resource=resource,
        color_label=color_label,
    )
    calls = smoke_url or outputs.get("url")
    if not (calls or no_smoke or to is None or dry):
        raise SettingsError("--smoke-url: where does the smoke call go? Or give --no-smoke")
    key = _color_key(color_key or outputs.get("color_key"))
    smoke_terms = (
        SmokeOptions(_call_url(calls), None, key, smoke_model, api_key, smoke_expect, smoke_limit)
        if calls and not no_smoke
        else None
    )
    wish = _SplitRequest(to, old, dry, forget, (watch, prometheus, outputs.get("cloudwatch_namespace", cloudwatch)))
    clock = SystemClock()
    if as_json:
        lines = CutoverLines(sys.stdout, clock)
        try:
            status = asyncio.run(_cut_over(settings, options, terms, budget, smoke_terms, wish, lines, clock))
        except SettingsError:
            raise
        except VoiceAgentError as error:
            status = error.exit_status
            lines.stopped(str(error), status)
    else:
        with CutoverScreen(Console(), clock) as screen:
            try:
                status = asyncio.run(_cut_over(settings, options, terms, budget, smoke_terms, wish, screen, clock))
            except NothingToDo as nothing:
                status = nothing.exit_status
                screen.said(str(nothing))
    raise typer.Exit(status)


@dataclass(frozen=True, slots=True)
class _SplitRequest:
    """What is to be done, and who counts meanwhile."""

    to: str | None
    """None: roll back, or forget."""
    old: str | None
    dry: bool
    forget: bool
    watch: tuple[str, str | None, str]
    """Kind, Prometheus' address, CloudWatch's namespace."""


def _terms(*, percents: str, watch_deadline_s: float | None, **more: Any) -> Options:
    try:
        weights = tuple(int(percent) for percent in percents.split(","))
    except ValueError:
        raise SettingsError(f"--steps: {percents!r} is not a list of percents, such as 5,25,100") from None
    longest_s = more["drain_deadline_s"] + more["buffer_s"] + EXTRA_WATCH_S
    try:
        return Options(percents=weights, watch_deadline_s=watch_deadline_s or longest_s, **more)
    except ValueError as error:
        raise SettingsError(f"{'--steps' if 'weights' in str(error) else '--deadline'}: {error}") from None


async def _cut_over(
    settings: Settings,
    options: RouterOptions,
    terms: Options,
    budget: ErrorBudget,
    smoke_terms: SmokeOptions | None,
    wish: _SplitRequest,
    reporter: CutoverScreen | CutoverLines,
    clock: SystemClock,
) -> int:
    """Do it; returns the exit status (`plan.Exit`)."""

    async def smoke(color: str) -> str:
        if smoke_terms is None:
            return "no smoke call, as asked"
        return await smoked(replace(smoke_terms, color=color), clock)

    store = open_store(settings.store_url, ttl_s=settings.call_ttl, key_prefix=settings.key_prefix)
    kind, prometheus, cloudwatch = wish.watch
    try:
        await retry_at_start(store.open, clock, reporter)
        if wish.forget:
            reporter.said(await retry_at_start(lambda: forget(store, clock), clock, reporter))
            return Exit.NO_CALLER_LOST
        with refusing():
            watch = choose_watch(kind, store, clock, prometheus=prometheus, cloudwatch=cloudwatch)
            context = Context(choose_router(options), watch, store, smoke, clock, reporter)
        runner = Runner(context, terms, budget)
        if wish.dry and wish.to is not None:
            new, old = wish.to, wish.old
            progress = await retry_at_start(lambda: runner.begin(new, old), clock, reporter)
            with refusing():
                against, changes = await dry_run(context, progress)
            for line in changes:
                reporter.said(line)
            if against:
                raise CutoverRefused("; ".join(against))
            return Exit.NO_CALLER_LOST
        with _interrupting(runner, reporter):
            if wish.to is None:
                return (await runner.roll_back()).exit
            return (await runner.run(wish.to, old=wish.old)).exit
    finally:
        await store.close()


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
