"""`voice-agent drain` and `voice-agent fleet`: arguments only."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voice_agent.call.drain import DrainMode
from voice_agent.cli.options import AsJson, StoreUrl
from voice_agent.command_options import one_of, with_options
from voice_agent.errors import SettingsError
from voice_agent.operate.drain import APPLIED_WITHIN_S, ColorDrain, drain_color, drain_pod
from voice_agent.operate.fleet import Fleet, RemotePod
from voice_agent.operate.outlook import Outlook
from voice_agent.runtime.pod.fleet import count
from voice_agent.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from voice_agent.runtime.pod.fleet import ColorSum
    from voice_agent.stores.base import PodHeartbeat, Store

PIPE_COLUMNS = 200
"""How wide a table is where no terminal says so: whoever reads it line by line finds a pod in one line."""

Url = Annotated[
    str | None, typer.Option(metavar="URL", help="A pod's address; default: this machine's, at VOICE_PORT.")
]


@dataclass(frozen=True, slots=True)
class DrainArguments:
    """All options of `voice-agent drain`."""

    url: Url = None
    color: Annotated[
        str | None, typer.Option(metavar="COLOR", help="Drain every pod of a color, through the store.")
    ] = None
    store: StoreUrl = None
    mode: Annotated[
        DrainMode | None,
        typer.Option(parser=one_of(*DrainMode), metavar="|".join(DrainMode), help="Default: VOICE_DRAIN_MODE."),
    ] = None
    deadline: Annotated[int | None, typer.Option(min=0, metavar="SECONDS", help="Default: VOICE_DRAIN_DEADLINE.")] = (
        None
    )
    cancel: Annotated[bool, typer.Option("--cancel", help="Take calls again.")] = False
    wait: Annotated[bool, typer.Option("--wait", help="Return when no call is left.")] = False
    yes: Annotated[
        bool, typer.Option("--yes", help="Drain a color though no pod is expected to take its calls over.")
    ] = False
    as_json: AsJson = False


@with_options(DrainArguments)
def drain(given: DrainArguments) -> None:
    """Take no new calls and let those under way go: of one pod, or of a whole color.

    What a color's pods do is known with their next heartbeats: without --wait, it is only said who was asked.
    Where callers are sent to no other color, a handoff would wait until its deadline: of a color that is asked about
    before, or refused with exit status 2 where nobody can answer (see --yes).

    Examples: voice-agent drain --wait (as a preStop hook);
    voice-agent drain --color blue --store redis://localhost:6379/0; voice-agent drain --color blue --cancel
    """
    settings, _ = load_settings(for_server=False, store_url=given.store)
    if given.color is not None and given.url is not None:
        raise SettingsError("--url drains one pod and --color every pod of a color: give one of them.")
    if given.cancel:
        found, told = asyncio.run(_cancel(settings, given.url, given.color))
    else:
        mode = given.mode or (settings.drain_mode if given.color else None)

        def approve(expected: Outlook) -> None:
            if not given.as_json:
                print(expected)
            if mode is DrainMode.HANDOFF and not given.yes and not expected.ready_pods.pods:
                _ask(expected, can_answer=not given.as_json and sys.stdin.isatty())

        done = asyncio.run(_drain(settings, given, approve))
        found, told = done.as_json(), str(done)
    print(json.dumps(found) if given.as_json else told)


def _ask(expected: Outlook, *, can_answer: bool) -> None:
    """Have the operator agree to a drain that hands nobody off. Raises `SettingsError` unless that is done."""
    color = expected.color
    if not can_answer:
        raise SettingsError(
            f"{color} is not asked to drain, for {expected.ready_pods.why_none}: its calls would wait for the "
            "deadline. Give --yes to drain it all the same, or --mode finish"
        )
    if not typer.confirm(f"Drain {color} all the same? Its calls wait for the deadline, {expected.deadline_s:g} s"):
        raise SettingsError(f"{color} is not asked to drain")


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
        Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table(found) if found.pods else NOBODY)


NOBODY = "no pods yet: start one with `voice-agent serve`; it shows up as soon as it takes calls"


def table(found: Fleet) -> Table:
    """The fleet for people: a line a pod, a sum a color."""
    columns = ("color", "pod", "version", "status", "store", "calls", "no resume", "parked", "capacity")
    drawn = Table(*columns, box=None, pad_edge=False)
    for color, total in found.colors.items():
        for pod in (pod for pod in found.pods if pod.color == color):
            words = map(escape, (color, pod.name, pod.version, pod.status, pod.store))
            drawn.add_row(*words, *_numbers(pod))
        taking = f"{total.taking_calls} {'takes' if total.taking_calls == 1 else 'take'} calls"
        drawn.add_row(escape(color), f"= {count(total.pods, 'pod')}", "", taking, "", *_numbers(total), style="bold")
    return drawn


def _numbers(of: PodHeartbeat | ColorSum) -> list[str]:
    return [str(number) for number in (of.active_calls, of.calls_not_resumable, of.parked_calls, of.capacity)]


def _pod(settings: Settings, url: str | None) -> RemotePod:
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    if url is not None:
        return RemotePod(url, token)
    return RemotePod(settings.http_url, token, own=settings.tls_cert)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of the settings, for the length of a block. Raises what keeps it from being used."""
    from voice_agent.bootstrap import make_store
    from voice_agent.stores.layout import check_layout

    store = make_store(settings)
    try:
        await store.open()
        await check_layout(store, begins=False)
        yield store
    finally:
        await store.close()


async def _publish(settings: Settings, namespace: str, every_s: float) -> None:
    from voice_agent.operate.publishing import publish_forever
    from voice_agent.operate.sources.cloudwatch import CloudWatchPublisher
    from voice_agent.operate.sources.fleet import FleetWatch
    from voice_agent.runtime.clock import SystemClock

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    publisher = CloudWatchPublisher(namespace=namespace)
    async with opened_store(settings) as store:
        clock = SystemClock()
        await publish_forever(store, FleetWatch(store, clock), publisher, clock, every_s, say)


async def _fleet(settings: Settings, url: str | None) -> Fleet:
    if url is None and "store_url" in settings.model_fields_set:
        async with opened_store(settings) as store:
            return Fleet(await store.pods())
    return await _pod(settings, url).fleet()


async def _drain(settings: Settings, given: DrainArguments, approve: Callable[[Outlook], None]) -> ColorDrain:
    from voice_agent.runtime.clock import SystemClock

    clock = SystemClock()
    if given.color is None:
        return await drain_pod(_pod(settings, given.url), given.mode, given.deadline, clock, wait=given.wait)
    async with opened_store(settings) as store:
        deadline_s = settings.drain_deadline if given.deadline is None else given.deadline
        mode = given.mode or settings.drain_mode
        return await drain_color(store, given.color, mode, deadline_s, clock, wait=given.wait, approve=approve)


async def _cancel(settings: Settings, url: str | None, color: str | None) -> tuple[dict[str, Any], str]:
    """For scripts, and for people."""
    if color is None:
        pod = _pod(settings, url)
        cancelled = await pod.cancel_drain()
        told = f"{pod.url} takes calls again." if cancelled else f"{pod.url} was not draining."
        return {"what": pod.url, "draining": False, "cancelled": cancelled}, told
    async with opened_store(settings) as store:
        cancelled = await store.drain_request(color) is not None
        await store.request_drain(color, None)
    undone = f"{color} takes calls again within {APPLIED_WITHIN_S} s."
    told = undone if cancelled else f"{color} was not asked to drain."
    return {"what": color, "cancelled": cancelled}, told
