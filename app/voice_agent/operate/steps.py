"""How each step of the plan is done. Each may be done again from its start, whatever became of the last try."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from voice_agent.operate.changes import Changes
from voice_agent.operate.context import Context
from voice_agent.operate.judging import EmptyFor, ErrorBudget
from voice_agent.operate.losses import Counts, number_lost
from voice_agent.operate.monitor import Monitor
from voice_agent.operate.outlook import price
from voice_agent.operate.patience import (
    LOOK_S,
    PATIENCE_S,
    Unfinished,
)
from voice_agent.operate.plan import SECOND_MS, CutoverProgress, Step
from voice_agent.operate.ports import CutoverError, Numbers, Routing
from voice_agent.operate.preflight import problems
from voice_agent.runtime.pod.fleet import count

LONGEST_GAP_S = 10.0
"""Two looks further apart say nothing about the time between them."""
SETTLED_S = 5.0
"""A color handed back is empty once it was for so long: heartbeats are up to 2 s old."""
UNSEEN_S = 15.0
"""A color to be handed back that had no pod at all for so long has nobody left to wait for."""
EXTRA_WAIT_S = 30.0

T = TypeVar("T")


class Steps:
    """Does the steps of one run."""

    def __init__(
        self, context: Context, budget: ErrorBudget, save: Callable[[CutoverProgress], Awaitable[None]]
    ) -> None:
        """`save` keeps a record; it raises `StoreError` and `CutoverError`."""
        self._context = context
        self._monitor = Monitor(context, budget, save)
        self._changes = Changes(context, self._monitor.retry)

    @property
    def counts(self) -> Counts | None:
        """What each pod has lost, as far as this run knows; None: it has not looked yet."""
        return self._monitor.counts

    async def do(self, progress: CutoverProgress) -> CutoverProgress:
        """Do the step of a record; returns the record with what was found out.

        Raises `CutoverError` when it failed, `Unfinished` when it was only too long.
        """
        handlers: dict[Step, Callable[[CutoverProgress], Awaitable[CutoverProgress | None]]] = {
            Step.PREPARE: self._prepare,
            Step.PREFLIGHT: self._preflight,
            Step.SMOKE: self._smoke,
            Step.SHIFT: self._route,
            Step.HOLD: self._hold,
            Step.EXCLUSIVE: self._route,
            Step.DRAIN: self._drain,
            Step.WATCH: self._watch,
            Step.FINISH: self._finish,
            Step.REOPEN: self._reopen,
            Step.RETURN: self._route,
            Step.HAND_BACK: self._hand_back,
            Step.WATCH_BACK: self._watch_back,
            Step.RESTORE: self._restore,
        }
        self._monitor.begin(progress)
        return await handlers[progress.step](progress) or progress

    # --- forth ----------------------------------------------------------------------

    async def _prepare(self, progress: CutoverProgress) -> None:
        if not progress.before.differing:
            await self._changes.tell_weights(progress.before.weights)
        await self._changes.withdraw_request(progress.new)
        if any(pod.color == progress.new for pod in (await self._monitor.fleet()).pods):
            await self._monitor.until_taking_calls(progress, progress.new)

    async def _preflight(self, progress: CutoverProgress) -> None:
        context = self._context
        healthy = await self._monitor.retry(lambda: context.router.healthy_targets(progress.new))
        fleet = await self._monitor.fleet()
        found = problems(fleet, progress.old, progress.new, healthy)
        excused = [problem.text for problem in found if problem.of_old and progress.options.force]
        for text in excused:
            context.reporter.said(text)
        against = [problem.text for problem in found if problem.text not in excused]
        if against:
            raise CutoverError("; ".join(against))
        context.reporter.said(price(fleet, progress.old, progress.options.drain_deadline_s))
        # A source that is not there is better known now than with callers half way.
        await self._monitor.retry(
            lambda: context.watch.look([progress.new] if excused else [progress.old, progress.new])
        )

    async def _smoke(self, progress: CutoverProgress) -> None:
        self._context.reporter.said(await self._context.smoke(progress.new))

    async def _route(self, progress: CutoverProgress) -> None:
        if progress.step is Step.SHIFT:
            await self._monitor.take_baseline(progress.new)
        await self._changes.set_router(progress.routing)

    async def _hold(self, progress: CutoverProgress) -> None:
        clock = self._context.clock
        began_s = clock.monotonic_s()
        seen_s = turned_s = began_s
        while True:
            # Neither time under this weight, nor a silence that is held against the new color.
            away_s, turned_s = self._monitor.away_s(turned_s), clock.monotonic_s()
            began_s, seen_s = began_s + away_s, seen_s + away_s
            left_s = progress.options.hold_s - (clock.monotonic_s() - began_s)
            weight = progress.options.percents[progress.stage]
            waits_for = f"{max(0.0, left_s):.0f} s at {weight} %" if left_s > 0 else ""
            if await self._monitor.look(progress, waits_for) is not None:
                seen_s = clock.monotonic_s()
                if left_s <= 0:
                    return
            elif clock.monotonic_s() - seen_s > PATIENCE_S:
                silent = ", ".join(self._monitor.silent(progress.new))
                told = f" ({silent} fell silent)" if silent else ""
                raise CutoverError(f"for {PATIENCE_S:g} s nobody could say how {progress.new} does{told}")
            await clock.sleep(LOOK_S)

    async def _drain(self, progress: CutoverProgress) -> None:
        await self._changes.request_drain(progress.old, progress)

    async def _watch(self, progress: CutoverProgress) -> CutoverProgress:
        clock, options = self._context.clock, progress.options
        empty_for = EmptyFor(options.buffer_s, LONGEST_GAP_S)
        began_s = there_s = turned_s = clock.monotonic_s()
        while True:
            away_s, turned_s = self._monitor.away_s(turned_s), clock.monotonic_s()
            began_s, there_s = began_s + away_s, there_s + away_s
            await self._changes.check_request(progress.old)
            numbers = await self._monitor.look(
                progress, _emptiness(progress.old, empty_for, options.buffer_s, clock.monotonic_s())
            )
            now_s = clock.monotonic_s()
            active_calls = _active(numbers, progress.old)
            if empty_for.look(active_calls, now_s):
                empty_s = empty_for.empty_for_s(now_s) or 0.0
                drained_at_ms = clock.wall_ms() - int(empty_s * SECOND_MS)
                return replace(progress, drain=replace(progress.drain, drained_at_ms=drained_at_ms))
            if active_calls is not None or not options.force or await self._monitor.is_there(progress.old):
                there_s = now_s
            elif now_s - there_s > UNSEEN_S:
                return _remarked(progress, f"no {progress.old} pod is left; what became of its calls is not known here")
            if now_s - began_s > options.watch_deadline_s:
                raise Unfinished(self._not_empty(progress, active_calls))
            await clock.sleep(LOOK_S)

    def _not_empty(self, progress: CutoverProgress, active_calls: int | None) -> str:
        options, silent = progress.options, self._monitor.silent(progress.old)
        left = "how many calls it has is not known" if active_calls is None else f"it has {count(active_calls, 'call')}"
        if silent:
            left += f"; {', '.join(silent)} fell silent with calls"
        lost = number_lost(self._monitor.counts or {})
        told = f". So far {count(lost, 'caller')} {'was' if lost == 1 else 'were'} lost" if lost else ""
        return (
            f"{progress.old} was not empty for {options.buffer_s:g} s within {options.watch_deadline_s:g} s "
            f"({left}); {progress.new} serves all callers, and nothing was deleted{told}"
        )

    async def _finish(self, progress: CutoverProgress) -> None:
        if progress.options.delete:
            for line in await self._monitor.retry(lambda: self._context.router.retire(progress.old)):
                self._context.reporter.said(line)
        await self._changes.withdraw_request(progress.old)
        await self._monitor.fleet()  # The last word on who was lost.

    # --- back -----------------------------------------------------------------------

    async def _reopen(self, progress: CutoverProgress) -> None:
        await self._changes.withdraw_request(progress.old)
        await self._monitor.until_taking_calls(progress, progress.old)

    async def _hand_back(self, progress: CutoverProgress) -> None:
        await self._changes.request_drain(progress.new, progress)

    async def _watch_back(self, progress: CutoverProgress) -> CutoverProgress:
        clock = self._context.clock
        empty_for = EmptyFor(SETTLED_S, LONGEST_GAP_S)
        began_s = unseen_s = turned_s = clock.monotonic_s()
        while True:
            away_s, turned_s = self._monitor.away_s(turned_s), clock.monotonic_s()
            began_s, unseen_s = began_s + away_s, unseen_s + away_s
            numbers = await self._monitor.look(progress, f"{progress.new}'s calls to move back", judge=False)
            now_s = clock.monotonic_s()
            active_calls = _active(numbers, progress.new)
            if active_calls is not None or await self._monitor.is_there(progress.new):
                unseen_s = now_s
            if empty_for.look(active_calls, now_s):
                return progress
            if now_s - unseen_s > UNSEEN_S:
                return _remarked(progress, f"no {progress.new} pod is left to hand its calls back")
            if now_s - began_s > progress.options.drain_deadline_s + EXTRA_WAIT_S:
                return _remarked(progress, f"{progress.new} is not known to have handed all its calls back")
            await clock.sleep(LOOK_S)

    async def _restore(self, progress: CutoverProgress) -> CutoverProgress | None:
        await self._changes.withdraw_request(progress.new)
        # Back in the rule, it may be reached by callers whom a cookie pins to it: so it must take calls first.
        if progress.original != Routing.alone(progress.old):
            try:
                await self._monitor.until_taking_calls(progress, progress.new)
            except CutoverError as error:
                return _remarked(progress, f"{progress.new} is left out of the rule: {error}")
            await self._changes.set_router(progress.original)
        return None


def _active(numbers: Mapping[str, Numbers] | None, color: str) -> int | None:
    return numbers[color].active_calls if numbers is not None and color in numbers else None


def _emptiness(color: str, empty_for: EmptyFor, buffer_s: float, now_s: float) -> str:
    empty_s = empty_for.empty_for_s(now_s)
    return f"{color} to be empty" if empty_s is None else f"{color} to stay empty for {buffer_s:g} s"


def _remarked(progress: CutoverProgress, remark: str) -> CutoverProgress:
    return replace(progress, remarks=(*progress.remarks, remark))


def planned(progress: CutoverProgress) -> list[Routing]:
    """Every routing that a cutover sets, in order."""
    shifts = [Routing.split(progress.new, percent, progress.old) for percent in progress.options.percents]
    return [*shifts, Routing.alone(progress.new)]
