"""What is seen during a cutover: both colors' numbers, who was lost, and whether the store answers."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from voice_agent.errors import StoreError
from voice_agent.operate.context import Context
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.judging import ErrorBudget, breach, since
from voice_agent.operate.losses import Counts, Losses, same_losses
from voice_agent.operate.patience import (
    AWAY,
    LOOK_S,
    PATIENCE_S,
    STORE_PATIENCE_S,
    StoreAway,
    retry_and_tell,
    store_away,
    waits_for_store,
)
from voice_agent.operate.plan import CutoverProgress
from voice_agent.operate.ports import CutoverError, Numbers, WatchError
from voice_agent.operate.preflight import ready_pods

T = TypeVar("T")


class Monitor:
    """Looks at the fleet for one run; `begin` each step. What is new of losses is saved at once."""

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

    def begin(self, progress: CutoverProgress) -> None:
        """A step begins, with what its record says."""
        if self._losses is None:
            self._losses = Losses((progress.old, progress.new), progress.counts)
        self._saved = progress.counts
        self._position = progress.position

    async def take_baseline(self, color: str) -> None:
        """Numbers from now on are judged by what they have grown since; the first time counts."""
        if self._baseline is None:
            self._baseline = await self.retry(lambda: self._context.watch.look([color]))

    @property
    def counts(self) -> Counts | None:
        """What each pod has lost, as far as this run knows; None: it has not looked yet."""
        return None if self._losses is None else self._losses.counts

    async def look(
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

    def away_s(self, turned_s: float) -> float:
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

    def silent(self, color: str) -> list[str]:
        """Pods of a color that fell silent with calls."""
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

    async def fleet(self) -> Fleet:
        """All pods, by a look that is told of losses; tried again for a while."""
        heartbeats = await self.retry(self._context.store.pods)
        if self._losses is not None:
            for line in self._losses.look(heartbeats, self._context.clock.monotonic_s()):
                self._context.reporter.said(line)
        return Fleet(heartbeats)

    async def is_there(self, color: str) -> bool:
        """Whether a color has a pod."""
        return any(pod.color == color for pod in (await self.fleet()).pods)

    async def until_taking_calls(self, progress: CutoverProgress, color: str) -> None:
        """Wait for a fresh heartbeat of a pod that takes calls: an older one may be from before a request to drain."""
        clock = self._context.clock
        until_s = clock.monotonic_s() + PATIENCE_S
        known: dict[str, int] = {}
        while True:
            pods = [pod for pod in (await self.fleet()).pods if pod.color == color]
            if any(known.get(pod.name, pod.heartbeat_at_ms) != pod.heartbeat_at_ms for pod in ready_pods(pods)):
                return
            known = {pod.name: known.get(pod.name, pod.heartbeat_at_ms) for pod in pods}
            if clock.monotonic_s() > until_s:
                states = ", ".join(f"{pod.name} is {pod.status}" for pod in pods) or "there is none"
                raise CutoverError(f"no {color} pod takes calls ({states})")
            self._context.reporter.looked(progress, None, f"{color} pods to take calls")
            await clock.sleep(LOOK_S)

    async def retry(self, run: Callable[[], Awaitable[T]]) -> T:
        """See `patience.retry_and_tell`, with where callers are during this step."""
        return await retry_and_tell(run, self._context.clock, self._context.reporter, self._position)
