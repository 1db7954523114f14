"""The command line: arguments in, text out; the work is done elsewhere.

Exit status: 0 done, 1 it did not work, 2 wrong arguments or settings.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from app import __version__
from app.client.command import call
from app.cutover.fleet import Fleet, RemotePod, until_drained, wish_drain
from app.errors import SettingsError, VoiceAgentError
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.stores.base import Store

EXTRA_WAIT_S = 10
"""How much longer than the deadline `--wait` waits: heartbeats are 2 s apart."""

cli = typer.Typer(
    name="voice-agent",
    help="A realtime voice-agent server whose calls outlive the pods that serve them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

Url = Annotated[str | None, typer.Option(help="A pod's address; default: this machine's, at VOICE_PORT.")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="Store URL, such as redis://localhost:6379/0.")]
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
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    color: Annotated[str | None, typer.Option(help="blue, green or any short label.")] = None,
    pod: Annotated[str | None, typer.Option(help="This pod's name in the fleet.")] = None,
    store: StoreUrl = None,
    agent: Annotated[str | None, typer.Option(help="Who answers when a caller names no model.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
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
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # only compared
    address = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    command = _own_command()
    return f"""
voice-agent {__version__}: {settings.color} pod {settings.pod} takes calls at ws://{address}/v1/realtime

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


@cli.command()
def drain(
    url: Url = None,
    color: Annotated[str | None, typer.Option(help="Drain every pod of a color, through the store.")] = None,
    store: StoreUrl = None,
    mode: Annotated[Literal["handoff", "finish"] | None, typer.Option(help="Default: VOICE_DRAIN_MODE.")] = None,
    deadline: Annotated[int | None, typer.Option(min=0, help="Seconds; default: VOICE_DRAIN_DEADLINE.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take calls again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when no call is left.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take no new calls and let those under way go: of one pod, or of a whole color.

    Examples: voice-agent drain --wait (as a preStop hook);
    voice-agent drain --color blue --store redis://localhost:6379/0; voice-agent drain --color blue --cancel
    """
    settings, _ = load_settings(for_server=False, store_url=store)
    if color is not None and url is not None:
        raise SettingsError("--url drains one pod and --color every pod of a color: give one of them.")
    if color is not None:
        work = _drain_color(settings, color, mode, deadline, cancel=cancel, wait=wait)
    else:
        work = _drain_pod(settings, url, mode, deadline, cancel=cancel, wait=wait)
    result = asyncio.run(work)
    print(json.dumps(result) if as_json else _told(result))


@cli.command()
def fleet(url: Url = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show every pod of every color, and what each color adds up to.

    Asks the store if --store or VOICE_STORE_URL names one, else a pod.
    Examples: voice-agent fleet; voice-agent fleet --store redis://localhost:6379/0 --json
    """
    settings, _ = load_settings(for_server=False, store_url=store)
    found = asyncio.run(_fleet(settings, url))
    if as_json:
        print(json.dumps(found.as_json()))
    else:
        Console().print(table(found))


def table(found: Fleet) -> Table:
    """The fleet for people: a line a pod, a sum a color."""
    drawn = Table("color", "pod", "version", "status", "calls", "parked", "capacity", box=None, pad_edge=False)
    for color, total in found.colors.items():
        for pod in (pod for pod in found.pods if pod.color == color):
            numbers = (str(pod.active_calls), str(pod.parked_calls), str(pod.capacity))
            drawn.add_row(color, pod.name, pod.version, pod.status, *numbers)
        sums = (str(total.active_calls), str(total.parked_calls), str(total.capacity))
        drawn.add_row(color, f"= {total.pods} pods", "", f"{total.taking_calls} take calls", *sums, style="bold")
    return drawn


def _pod(settings: Settings, url: str | None) -> tuple[RemotePod, str]:
    address = url or f"http://127.0.0.1:{settings.port}"
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    return RemotePod(address, token), address


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    from app.bootstrap import make_store

    store = make_store(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def _fleet(settings: Settings, url: str | None) -> Fleet:
    if url is None and "store_url" in settings.model_fields_set:
        async with _opened(settings) as store:
            return Fleet(await store.pods())
    pod, _ = _pod(settings, url)
    return await pod.fleet()


async def _drain_pod(
    settings: Settings, url: str | None, mode: str | None, deadline: int | None, *, cancel: bool, wait: bool
) -> dict[str, Any]:
    from app.runtime.clock import SystemClock

    pod, address = _pod(settings, url)
    if cancel:
        return {"what": address, "draining": False, "cancelled": await pod.cancel_drain()}
    begun = await pod.drain(mode, deadline)

    async def is_empty() -> bool:
        return not await pod.active_calls()

    if wait:
        await until_drained(is_empty, address, begun["deadline_s"] + EXTRA_WAIT_S, SystemClock())
    return {"what": address, **begun, "drained": wait}


async def _drain_color(
    settings: Settings, color: str, mode: str | None, deadline: int | None, *, cancel: bool, wait: bool
) -> dict[str, Any]:
    from app.runtime.clock import SystemClock

    async with _opened(settings) as store:
        if cancel:
            was = await store.drain_wish(color)
            await store.wish_drain(color, None)
            return {"what": color, "draining": False, "cancelled": was is not None}
        clock = SystemClock()
        deadline_s = settings.drain_deadline if deadline is None else deadline
        wish = await wish_drain(store, color, mode or settings.drain_mode, deadline_s, clock)

        async def is_empty() -> bool:
            return Fleet(await store.pods()).is_drained(color)

        if wait:
            await until_drained(is_empty, color, wish.deadline_s + EXTRA_WAIT_S, clock)
        return {"what": color, "draining": True, "mode": wish.mode, "deadline_s": wish.deadline_s, "drained": wait}


def _told(result: dict[str, Any]) -> str:
    what = result["what"]
    if not result["draining"]:
        return f"{what} takes calls again." if result["cancelled"] else f"{what} was not draining."
    if result["drained"]:
        return f"{what} is drained."
    return f"{what} is draining: {result['mode']}, at most {result['deadline_s']:g} s."


if __name__ == "__main__":
    main()
