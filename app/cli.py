"""The command line: arguments in, text out; the work is done elsewhere.

Exit status: 0 done, 1 it did not work, 2 wrong arguments or settings.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from app import __version__
from app.client.command import call
from app.client.options import one_of
from app.cutover.command import cutover, smoke
from app.cutover.drain import OBEYED_WITHIN_S, Drain, drain_color, drain_pod
from app.cutover.fleet import Fleet, RemotePod, count
from app.cutover.rehearsal.command import rehearse
from app.errors import SettingsError, VoiceAgentError
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.stores.base import Store

MODES = ("handoff", "finish")

cli = typer.Typer(
    name="voice-agent",
    help="A realtime voice-agent server whose calls outlive the pods that serve them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

Url = Annotated[
    str | None, typer.Option(metavar="URL", help="A pod's address; default: this machine's, at VOICE_PORT.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Where calls are kept, such as redis://localhost:6379/0.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def main() -> None:
    """Entry point of `voice-agent`; errors that a user can mend are one line."""
    try:
        cli()
    except SettingsError as error:
        _fail(error, 2)
    except VoiceAgentError as error:
        _fail(error, 1)


def _fail(error: Exception, status: int) -> NoReturn:
    sys.stderr.write(f"voice-agent: {error}\n")
    raise SystemExit(status)


@cli.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """A realtime voice-agent server whose calls outlive the pods that serve them."""
    if version:
        print(f"voice-agent {__version__}")
        raise typer.Exit


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on.")] = None,
    color: Annotated[str | None, typer.Option(metavar="LABEL", help="blue, green or any short label.")] = None,
    pod: Annotated[str | None, typer.Option(metavar="NAME", help="This pod's name in the fleet.")] = None,
    store: StoreUrl = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Who answers when a caller names no model.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="json|console", help="How log lines look.")] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="debug|info|warning|error", help="The least important log lines to write.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without keys.")] = False,
) -> None:
    """Run a pod. Options win over VOICE_* variables, which set everything else too.

    Example: voice-agent serve --port 8081 --color green --store redis://localhost:6379/0
    """
    from app import bootstrap

    settings, warnings = load_settings(
        insecure=insecure,
        host=host,
        port=port,
        color=color,
        pod=pod,
        store_url=store,
        agent=agent,
        log_format=log_format,
        log_level=log_level,
    )
    bootstrap.serve(settings, warnings, on_started=lambda: print(welcome(settings), flush=True))


def welcome(settings: Settings) -> str:
    """What to know and try once the server runs."""
    address = settings.address
    command = _own_command()
    # Which of its addresses others reach this machine by, they know better.
    beyond = f"\nand at port {settings.port} of every address of this machine" if settings.listens_everywhere else ""
    return f"""
voice-agent {__version__}: {settings.color} pod {settings.pod} takes calls at ws://{address}/v1/realtime{beyond}

Try, in another terminal:
  {command} call --url ws://{address}/v1/realtime     talk to it
  curl http://{address}/healthz/realtime     ask how it is
  {command} fleet --url http://{address}     see every pod
Ctrl+C hands its calls over and leaves; a second one leaves at once.
"""


def _own_command() -> str:
    """How the user reached this program: by its path if that is below the current folder."""
    path = Path(sys.argv[0])
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "voice-agent"


cli.command()(call)
cli.command()(smoke)
cli.command()(cutover)
cli.command()(rehearse)


@cli.command()
def drain(
    url: Url = None,
    color: Annotated[
        str | None, typer.Option(metavar="COLOR", help="Drain every pod of a color, through the store.")
    ] = None,
    store: StoreUrl = None,
    mode: Annotated[
        str | None, typer.Option(parser=one_of(*MODES), metavar="|".join(MODES), help="Default: VOICE_DRAIN_MODE.")
    ] = None,
    deadline: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Default: VOICE_DRAIN_DEADLINE.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take calls again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when no call is left.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take no new calls and let those under way go: of one pod, or of a whole color.

    What a color's pods do is known with their next heartbeats: without --wait, it is only said who was asked.

    Examples: voice-agent drain --wait (as a preStop hook);
    voice-agent drain --color blue --store redis://localhost:6379/0; voice-agent drain --color blue --cancel
    """
    settings, _ = load_settings(for_server=False, store_url=store)
    if color is not None and url is not None:
        raise SettingsError("--url drains one pod and --color every pod of a color: give one of them.")
    if cancel:
        found, told = asyncio.run(_cancel(settings, url, color))
    else:
        done = asyncio.run(_drain(settings, url, color, mode, deadline, wait=wait))
        found, told = done.as_json(), str(done)
    print(json.dumps(found) if as_json else told)


@cli.command()
def fleet(
    url: Url = None,
    store: StoreUrl = None,
    cloudwatch: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE", help="Publish calls by color there, until stopped."),
    ] = None,
    every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How often to publish.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show every pod of every color, and what each color adds up to.

    Asks the store if --store or VOICE_STORE_URL names one, else a pod.
    Examples: voice-agent fleet; voice-agent fleet --store redis://localhost:6379/0 --json;
    voice-agent fleet --cloudwatch VoiceAgent
    """
    settings, _ = load_settings(for_server=False, store_url=store)
    if cloudwatch is not None:
        if url is not None:
            raise SettingsError("--cloudwatch asks the store: give --store instead of --url.")
        with suppress(KeyboardInterrupt):
            asyncio.run(_publish(settings, cloudwatch, every))
        return
    found = asyncio.run(_fleet(settings, url))
    if as_json:
        print(json.dumps(found.as_json()))
    else:
        Console().print(table(found) if found.pods else NOBODY)


NOBODY = "no pods yet: start one with `voice-agent serve`; it shows up as soon as it takes calls"


def table(found: Fleet) -> Table:
    """The fleet for people: a line a pod, a sum a color."""
    drawn = Table("color", "pod", "version", "status", "calls", "parked", "capacity", box=None, pad_edge=False)
    for color, total in found.colors.items():
        for pod in (pod for pod in found.pods if pod.color == color):
            numbers = (str(pod.active_calls), str(pod.parked_calls), str(pod.capacity))
            drawn.add_row(color, pod.name, pod.version, pod.status, *numbers)
        sums = (str(total.active_calls), str(total.parked_calls), str(total.capacity))
        takers = f"{total.taking_calls} {'takes' if total.taking_calls == 1 else 'take'} calls"
        drawn.add_row(color, f"= {count(total.pods, 'pod')}", "", takers, *sums, style="bold")
    return drawn


def _pod(settings: Settings, url: str | None) -> RemotePod:
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    return RemotePod(url or f"http://{settings.address}", token)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    from app.bootstrap import make_store

    store = make_store(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def _publish(settings: Settings, namespace: str, every_s: float) -> None:
    from app.cutover.publishing import publish_forever
    from app.cutover.watches.cloudwatch import CloudWatchPublisher
    from app.cutover.watches.fleet import FleetWatch
    from app.runtime.clock import SystemClock

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    publisher = CloudWatchPublisher(namespace=namespace)
    async with _opened(settings) as store:
        clock = SystemClock()
        await publish_forever(store, FleetWatch(store, clock), publisher, clock, every_s, say)


async def _fleet(settings: Settings, url: str | None) -> Fleet:
    if url is None and "store_url" in settings.model_fields_set:
        async with _opened(settings) as store:
            return Fleet(await store.pods())
    return await _pod(settings, url).fleet()


async def _drain(
    settings: Settings,
    url: str | None,
    color: str | None,
    mode: str | None,
    deadline: int | None,
    *,
    wait: bool,
) -> Drain:
    from app.runtime.clock import SystemClock

    clock = SystemClock()
    if color is None:
        return await drain_pod(_pod(settings, url), mode, deadline, clock, wait=wait)
    async with _opened(settings) as store:
        deadline_s = settings.drain_deadline if deadline is None else deadline
        return await drain_color(store, color, mode or settings.drain_mode, deadline_s, clock, wait=wait)


async def _cancel(settings: Settings, url: str | None, color: str | None) -> tuple[dict[str, Any], str]:
    """For scripts, and for people."""
    if color is None:
        pod = _pod(settings, url)
        cancelled = await pod.cancel_drain()
        told = f"{pod.url} takes calls again." if cancelled else f"{pod.url} was not draining."
        return {"what": pod.url, "draining": False, "cancelled": cancelled}, told
    async with _opened(settings) as store:
        cancelled = await store.drain_wish(color) is not None
        await store.wish_drain(color, None)
    told = f"{color} takes calls again within {OBEYED_WITHIN_S} s." if cancelled else f"{color} was not asked to drain."
    return {"what": color, "cancelled": cancelled}, told


if __name__ == "__main__":
    main()
