"""How each step of the plan is done. Each may be done again from its start, whatever became of the last try."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from voice_agent.call.drain import DrainMode
from voice_agent.errors import StoreError
from voice_agent.operate.context import Context
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.judging import EmptyFor, ErrorBudget, breach, since
from voice_agent.operate.losses import Counts, Losses, number_lost, same_losses
from voice_agent.operate.outlook import price
from voice_agent.operate.patience import (
    AWAY,
    LOOK_S,
    PATIENCE_S,
    STORE_PATIENCE_S,
    StoreAway,
    Unfinished,
    retry_and_tell,
    store_away,
    waits_for_store,
)
from voice_agent.operate.plan import SECOND_MS, CutoverProgress, Step
from voice_agent.operate.ports import CutoverError, Numbers, Routing, WatchError
from voice_agent.operate.preflight import problems, ready_pods
from voice_agent.runtime.pod.fleet import count
from voice_agent.stores.base import DrainRequest

LONGEST_GAP_S = 10.0
"""Two looks further apart say nothing about the time between them."""
SETTLED_S = 5.0
"""A color handed back is empty once it was for so long: heartbeats are up to 2 s old."""
UNSEEN_S = 15.0
"""A color to be handed back that had no pod at all for so long has nobody left to wait for."""
EXTRA_WAIT_S = 30.0

T = TypeVar("T")


class Steps:
    """Does the steps of one run; keeps what only this run knows."""

    def __init__(
        self, context: Context, budget: ErrorBudget, save: Callable[[CutoverProgress], Awaitable[None]]
    ) -> None:
        """`save` keeps a record; it raises `StoreError` and `CutoverError`."""
        self._context = context
        self._save = save
        self._budget = budget
        self._baseline: Mapping[str, Numbers] | None = None
        """The first look since callers were moved."""
        self._losses: Losses | None = None
        self._saved: Counts = {}
        """What the record says of each pod."""
        self._position = ""
        """Where callers are during this step."""
        self._store_away_since_s: float | None = None

    @property
    def counts(self) -> Counts | None:
        """What each pod has lost, as far as this run knows; None: it has not looked yet."""
        return None if self._losses is None else self._losses.counts

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
        if self._losses is None:
            self._losses = Losses((progress.old, progress.new), progress.counts)
        self._saved = progress.counts
        self._position = progress.position
        return await handlers[progress.step](progress) or progress

    # --- forth ----------------------------------------------------------------------

    async def _prepare(self, progress: CutoverProgress) -> None:
        if not progress.before.differing:
            await self._tell_weights(progress.before.weights)
        await self._withdraw_request(progress.new)
        if any(pod.color == progress.new for pod in (await self._fleet()).pods):
            await self._until_taking_calls(progress, progress.new)

    async def _preflight(self, progress: CutoverProgress) -> None:
        context = self._context
        healthy = await self._retry(lambda: context.router.healthy_targets(progress.new))
        fleet = await self._fleet()
        found = problems(fleet, progress.old, progress.new, healthy)
        excused = [problem.text for problem in found if problem.of_old and progress.options.force]
        for text in excused:
            context.reporter.said(text)
        against = [problem.text for problem in found if problem.text not in excused]
        if against:
            raise CutoverError("; ".join(against))
        context.reporter.said(price(fleet, progress.old, progress.options.drain_deadline_s))
        # A source that is not there is better known now than with callers half way.
        await self._retry(lambda: context.watch.look([progress.new] if excused else [progress.old, progress.new]))

    async def _smoke(self, progress: CutoverProgress) -> None:
        self._context.reporter.said(await self._context.smoke(progress.new))

    async def _route(self, progress: CutoverProgress) -> None:
        if progress.step is Step.SHIFT and self._baseline is None:
            self._baseline = await self._retry(lambda: self._context.watch.look([progress.new]))
        await self._set_router(progress.routing)

    async def _hold(self, progress: CutoverProgress) -> None:
        clock = self._context.clock
        began_s = clock.monotonic_s()
        seen_s = turned_s = began_s
        while True:
            # Neither time under this weight, nor a silence that is held against the new color.
            away_s, turned_s = self._away_s(turned_s), clock.monotonic_s()
            began_s, seen_s = began_s + away_s, seen_s + away_s
            left_s = progress.options.hold_s - (clock.monotonic_s() - began_s)
            weight = progress.options.percents[progress.stage]
            waits_for = f"{max(0.0, left_s):.0f} s at {weight} %" if left_s > 0 else ""
            if await self._look(progress, waits_for) is not None:
                seen_s = clock.monotonic_s()
                if left_s <= 0:
                    return
            elif clock.monotonic_s() - seen_s > PATIENCE_S:
                silent = ", ".join(self._silent(progress.new))
                told = f" ({silent} fell silent)" if silent else ""
                raise CutoverError(f"for {PATIENCE_S:g} s nobody could say how {progress.new} does{told}")
            await clock.sleep(LOOK_S)

    async def _drain(self, progress: CutoverProgress) -> None:
        await self._request_drain(progress.old, progress)

    async def _watch(self, progress: CutoverProgress) -> CutoverProgress:
        clock, options = self._context.clock, progress.options
        empty_for = EmptyFor(options.buffer_s, LONGEST_GAP_S)
        began_s = there_s = turned_s = clock.monotonic_s()
        while True:
            away_s, turned_s = self._away_s(turned_s), clock.monotonic_s()
            began_s, there_s = began_s + away_s, there_s + away_s
            await self._check_request(progress.old)
            numbers = await self._look(
                progress, _emptiness(progress.old, empty_for, options.buffer_s, clock.monotonic_s())
            )
            now_s = clock.monotonic_s()
            active_calls = _active(numbers, progress.old)
            if empty_for.look(active_calls, now_s):
                empty_s = empty_for.empty_for_s(now_s) or 0.0
                return replace(progress, drained_at_ms=clock.wall_ms() - int(empty_s * SECOND_MS))
            if active_calls is not None or not options.force or await self._is_there(progress.old):
                there_s = now_s
            elif now_s - there_s > UNSEEN_S:
                return _remarked(progress, f"no {progress.old} pod is left; what became of its calls is not known here")
            if now_s - began_s > options.watch_deadline_s:
                raise Unfinished(self._not_empty(progress, active_calls))
            await clock.sleep(LOOK_S)

    def _not_empty(self, progress: CutoverProgress, active_calls: int | None) -> str:
        options, silent = progress.options, self._silent(progress.old)
        left = "how many calls it has is not known" if active_calls is None else f"it has {count(active_calls, 'call')}"
        if silent:
            left += f"; {', '.join(silent)} fell silent with calls"
        lost = number_lost(self.counts or {})
        told = f". So far {count(lost, 'caller')} {'was' if lost == 1 else 'were'} lost" if lost else ""
        return (
            f"{progress.old} was not empty for {options.buffer_s:g} s within {options.watch_deadline_s:g} s "
            f"({left}); {progress.new} serves all callers, and nothing was deleted{told}"
        )

    async def _finish(self, progress: CutoverProgress) -> None:
        if progress.options.delete:
            for line in await self._retry(lambda: self._context.router.retire(progress.old)):
                self._context.reporter.said(line)
        await self._withdraw_request(progress.old)
        await self._fleet()  # The last word on who was lost.

    # --- back -----------------------------------------------------------------------

    async def _reopen(self, progress: CutoverProgress) -> None:
        await self._withdraw_request(progress.old)
        await self._until_taking_calls(progress, progress.old)

    async def _hand_back(self, progress: CutoverProgress) -> None:
        await self._request_drain(progress.new, progress)

    async def _watch_back(self, progress: CutoverProgress) -> CutoverProgress:
        clock = self._context.clock
        empty_for = EmptyFor(SETTLED_S, LONGEST_GAP_S)
        began_s = unseen_s = turned_s = clock.monotonic_s()
        while True:
            away_s, turned_s = self._away_s(turned_s), clock.monotonic_s()
            began_s, unseen_s = began_s + away_s, unseen_s + away_s
            numbers = await self._look(progress, f"{progress.new}'s calls to move back", judge=False)
            now_s = clock.monotonic_s()
            active_calls = _active(numbers, progress.new)
            if active_calls is not None or await self._is_there(progress.new):
                unseen_s = now_s
            if empty_for.look(active_calls, now_s):
                return progress
            if now_s - unseen_s > UNSEEN_S:
                return _remarked(progress, f"no {progress.new} pod is left to hand its calls back")
            if now_s - began_s > progress.options.drain_deadline_s + EXTRA_WAIT_S:
                return _remarked(progress, f"{progress.new} is not known to have handed all its calls back")
            await clock.sleep(LOOK_S)

    async def _restore(self, progress: CutoverProgress) -> CutoverProgress | None:
        await self._withdraw_request(progress.new)
        # Back in the rule, it may be reached by callers whom a cookie pins to it: so it must take calls first.
        if progress.original != Routing.alone(progress.old):
            try:
                await self._until_taking_calls(progress, progress.new)
            except CutoverError as error:
                return _remarked(progress, f"{progress.new} is left out of the rule: {error}")
            await self._set_router(progress.original)
        return None

    # --- the router -----------------------------------------------------------------

    async def _set_router(self, routing: Routing) -> None:
        """Set it, and tell the pods, so that a drain knows where callers are sent.

        Wherever this is broken off, pods are told of no color that gets nobody: before the change only those are
        named that have callers both before and after it.
        """
        told = await self._retry(self._context.store.weights)
        routed = frozenset() if told is None else told.routed
        kept = {color: weight for color, weight in routing.weights.items() if weight and color in routed}
        if told is None or kept.keys() != routed:
            await self._tell_weights(kept)
        await self._retry(lambda: self._context.router.write(routing))
        await self._tell_weights(routing.weights)

    async def _tell_weights(self, weights: Mapping[str, int]) -> None:
        context = self._context
        await self._retry(lambda: context.store.tell_weights(weights, context.clock.wall_ms()))

    # --- the fleet and its numbers ------------------------------------------------------

    async def _look(
        self, progress: CutoverProgress, waits_for: str, *, judge: bool = True
    ) -> Mapping[str, Numbers] | None:
        """Fresh numbers of both colors, or None. Raises `CutoverError` once the new color passes a limit."""
        context = self._context
        progress = await self._count_losses(progress)
        try:
            numbers = await context.watch.look([progress.old, progress.new])
        except WatchError as error:
            seen = await self._look_at_new(progress) if progress.options.force else None
            if seen is None:
                context.reporter.looked(progress, None, str(error))
                return None
            numbers = seen
        context.reporter.looked(progress, numbers, waits_for)
        if judge:
            self._judge(progress.new, numbers)
        return numbers

    async def _count_losses(self, progress: CutoverProgress) -> CutoverProgress:
        """Look at all heartbeats, if the store shows them, whoever else counts; what is new is saved at once."""
        context = self._context
        assert self._losses is not None  # made with the first step
        try:
            heartbeats = await context.store.pods()
        except StoreError as error:
            self._losses.look_failed()
            if not isinstance(error, AWAY):
                self._store_away_since_s = None
            elif self._store_away_since_s is None:
                self._store_away_since_s = context.clock.monotonic_s()
                context.reporter.said(waits_for_store(error, self._position))
            return replace(progress, counts=dict(self._losses.counts))
        if self._store_away_since_s is not None:
            context.reporter.said("the store is back")
            self._store_away_since_s = None
        for line in self._losses.look(heartbeats, context.clock.monotonic_s()):
            context.reporter.said(line)
        counted = replace(progress, counts=dict(self._losses.counts))
        if not same_losses(counted.counts, self._saved):
            with contextlib.suppress(StoreError):  # The next look tries again.
                await self._save(counted)
                self._saved = counted.counts
        return counted

    def _away_s(self, turned_s: float) -> float:
        """How much of the time since then the store was away, as of the last look: no deadline runs meanwhile.

        Raises `StoreAway` when that has been so for too long.
        """
        if self._store_away_since_s is None:
            return 0.0
        now_s = self._context.clock.monotonic_s()
        away_s = now_s - self._store_away_since_s
        if away_s > STORE_PATIENCE_S:
            raise StoreAway(store_away(away_s, self._position))
        return now_s - turned_s

    def _silent(self, color: str) -> list[str]:
        return [] if self._losses is None else self._losses.silent(color)

    async def _look_at_new(self, progress: CutoverProgress) -> Mapping[str, Numbers] | None:
        """When the old color is dead, that hides nothing of the new one."""
        with contextlib.suppress(WatchError):
            return await self._context.watch.look([progress.new])
        return None

    def _judge(self, color: str, numbers: Mapping[str, Numbers]) -> None:
        self._baseline = self._baseline or numbers
        passed = breach(since(self._baseline[color], numbers[color]), self._budget)
        if passed is not None:
            raise CutoverError(f"{color}: {passed}")

    async def _fleet(self) -> Fleet:
        heartbeats = await self._retry(self._context.store.pods)
        if self._losses is not None:
            for line in self._losses.look(heartbeats, self._context.clock.monotonic_s()):
                self._context.reporter.said(line)
        return Fleet(heartbeats)

    async def _is_there(self, color: str) -> bool:
        return any(pod.color == color for pod in (await self._fleet()).pods)

    async def _until_taking_calls(self, progress: CutoverProgress, color: str) -> None:
        """Wait for a fresh heartbeat of a pod that takes calls: an older one may be from before it learnt of a wish."""
        clock = self._context.clock
        until_s = clock.monotonic_s() + PATIENCE_S
        known: dict[str, int] = {}
        while True:
            pods = [pod for pod in (await self._fleet()).pods if pod.color == color]
            if any(known.get(pod.name, pod.heartbeat_at_ms) != pod.heartbeat_at_ms for pod in ready_pods(pods)):
                return
            known = {pod.name: known.get(pod.name, pod.heartbeat_at_ms) for pod in pods}
            if clock.monotonic_s() > until_s:
                states = ", ".join(f"{pod.name} is {pod.status}" for pod in pods) or "there is none"
                raise CutoverError(f"no {color} pod takes calls ({states})")
            self._context.reporter.looked(progress, None, f"{color} pods to take calls")
            await clock.sleep(LOOK_S)

    async def _request_drain(self, color: str, progress: CutoverProgress) -> None:
        # The same wish however often, and on whichever machine, this step is done: it keeps its deadline.
        request = DrainRequest(DrainMode.HANDOFF, progress.options.drain_deadline_s, progress.step_at_ms)
        await self._retry(lambda: self._context.store.request_drain(color, request))

    async def _withdraw_request(self, color: str) -> None:
        await self._retry(lambda: self._context.store.request_drain(color, None))

    async def _check_request(self, color: str) -> None:
        try:
            request = await self._context.store.drain_request(color)
        except AWAY:
            return
        if request is None:
            raise CutoverError(f"the drain of {color} was taken back by somebody else, or the store was emptied")

    async def _retry(self, run: Callable[[], Awaitable[T]]) -> T:
        return await retry_and_tell(run, self._context.clock, self._context.reporter, self._position)


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
