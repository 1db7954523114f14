"""What a cutover would do, without doing any of it."""

from __future__ import annotations

from voice_agent.operate.context import Context
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.outlook import price
from voice_agent.operate.plan import CutoverProgress
from voice_agent.operate.ports import Routing
from voice_agent.operate.preflight import problems
from voice_agent.operate.steps import planned


async def dry_run(context: Context, progress: CutoverProgress) -> tuple[list[str], list[str]]:
    """What speaks against this cutover, and every change it would make, a line each.

    Raises `CutoverError` and `StoreError` when something cannot be read.
    """
    fleet = Fleet(await context.store.pods())
    healthy = await context.router.healthy_targets(progress.new)
    against = [problem.text for problem in problems(fleet, progress.old, progress.new, healthy)]
    try:
        await context.watch.look([progress.old, progress.new])
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what a cutover would stumble over
        against.append(str(error))
    changes: list[str] = []
    if await context.store.drain_request(progress.new) is not None:
        changes.append(f"take back the drain of {progress.new}")
    changes.append(f"smoke call to {progress.new}")
    for routing in planned(progress):
        changes += [f"{routing}: {change}" for change in await context.router.changes(routing)] or [f"{routing}"]
        if routing != Routing.alone(progress.new):
            changes.append(f"watch {progress.new} for {progress.options.hold_s:g} s")
    cost = price(fleet, progress.old, progress.options.drain_deadline_s)
    changes.append(f"drain {progress.old} by handoff, within {progress.options.drain_deadline_s} s; {cost}")
    changes.append(f"wait until {progress.old} has had no call for {progress.options.buffer_s:g} s")
    changes.append(f"retire {progress.old}" if progress.options.delete else f"let {progress.old} stand by")
    return against, changes
