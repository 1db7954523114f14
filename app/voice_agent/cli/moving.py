"""`voice-agent evacuate` and `voice-agent rebalance`: arguments only."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voice_agent.cli.operating import PIPE_COLUMNS, opened_store
from voice_agent.cli.options import AsJson, StoreUrl
from voice_agent.cli.progress import CallsProgress
from voice_agent.command_options import with_options
from voice_agent.errors import SettingsError
from voice_agent.operate import evacuating, rebalancing
from voice_agent.operate.drain import APPLIED_WITHIN_S
from voice_agent.operate.evacuating import Evacuation, EvacuationOptions, EvacuationWatch
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.journal import Journal
from voice_agent.operate.move_plan import MovePlan, MoveRequest
from voice_agent.operate.pod_requests import named, withdraw
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.fleet import ReadyPods, count, some
from voice_agent.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_agent.operate.rebalancing import MoveWatch
    from voice_agent.settings import Settings
    from voice_agent.stores.base import PodHeartbeat, Store

NOT_DONE = 1
"""Exit status: calls are left that were to move."""


@dataclass(frozen=True, slots=True)
class EvacuateArguments:
    """All options of `voice-agent evacuate`."""

    pods: Annotated[
        list[str], typer.Argument(metavar="POD|NODE...", help="Pods, or nodes all of whose pods are meant.")
    ]
    store: StoreUrl = None
    deadline: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="The longest wait; default: VOICE_DRAIN_DEADLINE.")
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="At the deadline, close also those who cannot resume: they are lost.")
    ] = False
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back what they were asked; they take calls.")] = False
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the pods are asked.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do it though no pod is expected to take the calls over.")] = False
    as_json: AsJson = False


@with_options(EvacuateArguments)
def evacuate(given: EvacuateArguments) -> None:
    """Empty pods before their node goes: they take nothing new, and calls that can move go to other pods.

    Callers behind an edge move at once, in the middle of a word; others who resume, at their next quiet moment, or at
    half the deadline. Those who cannot resume stay until they end; with --force they are closed at the deadline.
    The pods take nothing new for a day, until --cancel, or until they are gone. Ctrl+C ends the waiting alone.
    Exit status 0: no call is left. 1: some are, or the pods cannot be asked.

    Examples: voice-agent evacuate voice-agent-blue-6d5f-x2k --store redis://localhost:6379/0;
    voice-agent evacuate node-17 --deadline 1200 --force; voice-agent evacuate node-17 --cancel
    """
    settings, _ = load_settings(for_server=False, store_url=given.store)
    if given.cancel:
        found, told = asyncio.run(_cancel(settings, given.pods))
        print(json.dumps(found) if given.as_json else told)
        return
    done = asyncio.run(_evacuate(settings, given))
    print(json.dumps(done.as_json()) if given.as_json else _told(done, given))
    if not (done.evacuated or given.no_wait):
        raise typer.Exit(NOT_DONE)


def _told(done: Evacuation, given: EvacuateArguments) -> str:
    if given.no_wait:
        return f"asked {some(done.pods)} to hand its calls off; pods act within {APPLIED_WITHIN_S} s."
    if done.evacuated:
        return str(done)
    hint = "" if given.force else "; --force closes them at its deadline"
    return f"{done}{hint}. Nothing new is taken there until --cancel."


async def _evacuate(settings: Settings, given: EvacuateArguments) -> Evacuation:
    async with opened_store(settings) as store:
        fleet = Fleet(await store.pods())
        pods = named(fleet, given.pods)
        ready = evacuating.who_takes_over(fleet, await store.weights(), pods)
        if not (ready.pods or given.yes):
            raise SettingsError(
                f"{some(pod.name for pod in pods)}: not evacuated, for {ready.why_none}. "
                "Give --yes to do it all the same: calls wait until there is a pod that takes them"
            )
        deadline_s = settings.drain_deadline if given.deadline is None else given.deadline
        options = EvacuationOptions(deadline_s, closes_rest=given.force, wait=not given.no_wait)
        return await _leave(store, pods, options, ready, silent=given.as_json)


async def _leave(
    store: Store, pods: Sequence[PodHeartbeat], options: EvacuationOptions, ready: ReadyPods, *, silent: bool
) -> Evacuation:
    stuck = sum(pod.calls_not_resumable for pod in pods)
    if not silent:
        are = "is" if len(ready.pods) == 1 else "are"
        takes = f"{some(ready.pods)} {are} expected to take over" if ready.pods else "nobody takes over yet"
        cannot = f"; {count(stuck, 'call')} cannot resume, and {'stays' if stuck == 1 else 'stay'}" if stuck else ""
        print(takes + cannot, file=sys.stderr)
    with CallsProgress("evacuating", sum(pod.active_calls for pod in pods), silent=silent) as bar:

        def looked(watch: EvacuationWatch) -> None:
            stays = watch.calls_not_resumable
            bar.left(watch.active_calls, f"{stays} cannot resume" if stays else "")

        return await evacuating.evacuate(store, pods, options, SystemClock(), ready=ready, looked=looked)


async def _cancel(settings: Settings, names: list[str]) -> tuple[dict[str, Any], str]:
    """For scripts, and for people."""
    async with opened_store(settings) as store:
        pods = named(Fleet(await store.pods()), names)
        back = [pod.name for pod in pods if await withdraw(store, pod.name)]
    told = f"{some(back)}: taken back; within {APPLIED_WITHIN_S} s." if back else "nothing was asked of them."
    return {"pods": [pod.name for pod in pods], "cancelled": back}, told


@dataclass(frozen=True, slots=True)
class RebalanceArguments:
    """All options of `voice-agent rebalance`."""

    source: Annotated[list[str] | None, typer.Option("--from", metavar="POD|NODE", help="Only these give calls.")] = (
        None
    )
    target: Annotated[list[str] | None, typer.Option("--to", metavar="POD|NODE", help="Only these take calls.")] = None
    number: Annotated[
        int | None, typer.Option("--count", min=1, metavar="CALLS", help="Move so many, whatever the load.")
    ] = None
    share: Annotated[
        int | None, typer.Option(min=1, max=100, metavar="PERCENT", help="Move so much of what --from have.")
    ] = None
    pack: Annotated[bool, typer.Option("--pack", help="Empty the pods with the fewest calls, before a scale-in.")] = (
        False
    )
    fill: Annotated[
        int, typer.Option(min=1, max=100, metavar="PERCENT", help="With --pack: how full the others may get.")
    ] = 80
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and move nothing.")] = False
    store: StoreUrl = None
    deadline: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="What has not moved by then stays.")] = 60
    as_json: AsJson = False


@with_options(RebalanceArguments)
def rebalance(given: RebalanceArguments) -> None:
    """Move some calls: from pods that have more than their share, or whose loop lags, to those that have less.

    Prints the plan, and does it; a second run finds nothing to do. --count or --share say how many instead, --from
    and --to which pods. --pack empties pods for a scale-in and says which can be removed: they take nothing new from
    then on (see evacuate). A call goes to the very pod that is planned where its caller is behind an edge, and the pod
    tells its address (VOICE_ADVERTISE_ADDRESS); others go where the load balancer sends them.
    Exit status 0: all that was planned has moved. 1: not all. Ctrl+C takes back what has not moved yet.

    Examples: voice-agent rebalance --dry-run --store redis://localhost:6379/0;
    voice-agent rebalance --from blue-1 --to node-17 --count 20; voice-agent rebalance --pack --fill 70
    """
    settings, _ = load_settings(for_server=False, store_url=given.store)
    request = MoveRequest(
        sources=given.source,
        targets=given.target,
        calls=given.number,
        percent=given.share,
        packs=given.pack,
        fill=given.fill / 100,
    )
    found, done = asyncio.run(_rebalance(settings, given, request))
    if given.as_json:
        print(json.dumps(found))
    if not done:
        raise typer.Exit(NOT_DONE)


async def _rebalance(
    settings: Settings, given: RebalanceArguments, request: MoveRequest
) -> tuple[dict[str, Any], bool]:
    """What is told to scripts, and whether all that was planned is done."""
    async with opened_store(settings) as store:
        fleet = Fleet(await store.pods())
        if given.pack:
            await Journal(store, SystemClock()).check_none_unfinished()
        plan = request.plan(fleet, await store.weights())
        if not given.as_json:
            _show(plan, fleet)
        if given.dry or not plan.is_work:
            return plan.as_json(), True
        if given.pack:
            done = await _pack(store, fleet, plan, given)
            found, is_done, told = done.as_json(), done.evacuated, str(done)
        else:
            moved = await _move(store, fleet, plan, given)
            found, is_done, told = moved.as_json(), moved.moved == moved.planned, str(moved)
    if not given.as_json:
        print(told)
    return {**plan.as_json(), **found}, is_done


async def _pack(store: Store, fleet: Fleet, plan: MovePlan, given: RebalanceArguments) -> Evacuation:
    options = EvacuationOptions(given.deadline, destinations=rebalancing.destinations(plan.moves, fleet))
    ready = ReadyPods(tuple(sorted({move.target for move in plan.moves})))
    pods = [pod for pod in fleet.pods if pod.name in plan.emptied]
    return await _leave(store, pods, options, ready, silent=given.as_json)


async def _move(store: Store, fleet: Fleet, plan: MovePlan, given: RebalanceArguments) -> rebalancing.Rebalanced:
    with CallsProgress("moving", plan.calls, silent=given.as_json) as bar:

        def looked(watch: MoveWatch) -> None:
            bar.left(sum(watch.left.values()))

        return await rebalancing.rebalance(store, fleet, plan.moves, given.deadline, SystemClock(), looked=looked)


def _show(plan: MovePlan, fleet: Fleet) -> None:
    """The plan for people: a line a pod that gives or takes, then what there is to say."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    if plan.moves:
        table = Table("color", "pod", "calls", "lag", "then", box=None, pad_edge=False)
        for pod in fleet.pods:
            if change := plan.change(pod.name):
                lag = f"{pod.loop_lag_ms} ms"
                row = (escape(pod.color), escape(pod.name), str(pod.active_calls), lag, str(pod.active_calls + change))
                table.add_row(*row)
        console.print(table)
    for remark in plan.remarks:
        console.print(escape(remark), highlight=False, soft_wrap=True)
