"""Runs a cutover from the first step or from where an earlier run stopped, and rolls it back when it must."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from voice_agent.errors import StoreError
from voice_agent.operate.context import Context, Reporter
from voice_agent.operate.journal import RENEW_S, Journal, LeaseLost
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.patience import BEGIN_PATIENCE_S, NOT_KNOWN, StoreAway, Unfinished, retry_and_tell
from voice_agent.operate.plan import (
    ROLLS_BACK_TO,
    CutoverProgress,
    Exit,
    Options,
    Step,
    advanced,
    rolled_back,
    rolled_back_on_request,
)
from voice_agent.operate.ports import CutoverError, Routing
from voice_agent.operate.steps import Steps
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import Store

WRITES = frozenset({Step.SHIFT, Step.EXCLUSIVE, Step.DRAIN})
"""Not broken off when somebody interrupts: a router's half-sent change must not arrive after the one that undoes it."""


SAVE_PAUSE_S = 0.5

T = TypeVar("T")


class CutoverRefused(CutoverError):
    """Nothing was begun; nobody was moved."""

    exit_status = Exit.REFUSED


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What fails in it fails before anything was begun. Raises `CutoverRefused`, unless the error says more."""
    try:
        yield
    except (CutoverRefused, NothingToDo, StoreAway):
        raise
    except (CutoverError, StoreError) as error:
        raise CutoverRefused(f"{error}; nothing was changed") from error


async def retry_at_start(run: Callable[[], Awaitable[T]], clock: Clock, reporter: Reporter) -> T:
    """Do what must be done before anything is begun; a failover of the store is waited for.

    Raises `CutoverRefused`, and `StoreAway` where it is not known whether an earlier run has moved callers.
    """
    with refusing():
        return await retry_and_tell(run, clock, reporter, NOT_KNOWN, store_patience_s=BEGIN_PATIENCE_S)


class Stuck(CutoverError):
    """It ended neither done nor rolled back; the sentence says what is so, and what to do."""


class NothingToDo(CutoverError):
    """The color serves everybody already."""

    exit_status = Exit.NO_CALLER_LOST


class Runner:
    """One run. `run` or `roll_back` once; `interrupt` at any time, from a signal handler."""

    def __init__(self, context: Context, options: Options, budget: ErrorBudget) -> None:
        self._context = context
        self._options = options
        self._journal = Journal(context.store, context.clock)
        self._steps = Steps(context, budget, self._journal.save)
        self._interrupted = asyncio.Event()

    def interrupt(self) -> None:
        """Roll back, unless it is being rolled back already."""
        self._interrupted.set()

    async def run(self, new: str, *, old: str | None = None) -> CutoverProgress:
        """Cut over to a color, or go on with a cutover to it. Returns the record, done or rolled back.

        Raises `CutoverError`: `CutoverRefused` or `NothingToDo` before anything was done, later `Stuck` or `Unfinished`
        with the next command to give; `StoreAway` at any time.
        """
        return await self._run_with_lease(lambda: self.begin(new, old))

    async def roll_back(self) -> CutoverProgress:
        """Undo an unfinished cutover; returns the record.

        Raises `CutoverRefused` if there is none, and else as `run`.
        """
        return await self._run_with_lease(self._begin_back)

    async def _run_with_lease(self, beginning: Callable[[], Awaitable[CutoverProgress]]) -> CutoverProgress:
        """Do all steps under the lease."""
        context = self._context
        await retry_at_start(self._journal.acquire, context.clock, context.reporter)
        renewing = asyncio.create_task(self._renew())
        try:
            progress = await retry_at_start(beginning, context.clock, context.reporter)
            return await self._run_to_completion(progress, renewing)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._journal.release()

    async def _run_to_completion(self, progress: CutoverProgress, renewing: asyncio.Task[None]) -> CutoverProgress:
        try:
            while not progress.is_over:
                # Saved before it is done: whoever comes after us starts with this step again.
                await self._save(progress)
                self._context.reporter.step(progress)
                progress = self._counted(await self._step(progress, renewing))
            await self._save(progress)
        except (Stuck, Unfinished):
            with contextlib.suppress(CutoverError, StoreError):
                await self._journal.save(self._counted(progress))
            raise
        self._context.reporter.over(progress)
        return progress

    def _counted(self, progress: CutoverProgress) -> CutoverProgress:
        return replace(progress, counts=dict(self._steps.counts or progress.counts))

    async def _save(self, progress: CutoverProgress) -> None:
        context = self._context
        await retry_and_tell(
            lambda: self._journal.save(progress),
            context.clock,
            context.reporter,
            progress.position,
            pause_s=SAVE_PAUSE_S,
        )

    async def begin(self, new: str, old: str | None) -> CutoverProgress:
        """The record with which `run` would begin; changes nothing. Raises as `run`."""
        known = await self._journal.read()
        if known is not None and not known.is_over:
            self._check_same(known, new)
            options = replace(self._options, percents=known.options.percents)
            progress = replace(known, options=options, rollback_asked=False)
            self._context.reporter.begun(progress, again=True)
            return progress
        routing = await self._context.router.read()
        serving = old or _serving(routing, new)
        now_ms = self._context.clock.wall_ms()
        progress = CutoverProgress(
            cutover_id=f"cut_{secrets.token_hex(6)}",
            old=serving,
            new=new,
            router=self._context.router.name,
            before=routing,
            options=self._options,
            started_at_ms=now_ms,
            step_at_ms=now_ms,
        )
        self._context.reporter.begun(progress, again=False)
        return progress

    async def _begin_back(self) -> CutoverProgress:
        known = await self._journal.read()
        if known is None or known.is_over:
            raise CutoverError("no cutover is unfinished: to go back to the other color, cut over to it (--to)")
        self._check_same(known, known.new)
        self._context.reporter.begun(known, again=True)
        asked = replace(known, rollback_asked=True)
        if known.is_rolling_back:
            return asked
        if known.step not in ROLLS_BACK_TO:
            raise CutoverError(f"{known.old} is empty already; finish with --to {known.new}, then cut over back")
        return rolled_back_on_request(asked, "rollback asked for", self._context.clock.wall_ms())

    def _check_same(self, known: CutoverProgress, new: str) -> None:
        if known.new != new:
            raise CutoverError(
                f"a cutover to {known.new} is unfinished (step {known.step.value}): "
                f"finish it with --to {known.new}, or undo it with --rollback"
            )
        if known.router != self._context.router.name:
            raise CutoverError(
                f"the unfinished cutover to {known.new} was begun with another router: {known.router}; "
                "if that is no more, --forget"
            )

    # --- one step ---------------------------------------------------------------------

    async def _step(self, progress: CutoverProgress, renewing: asyncio.Task[None]) -> CutoverProgress:
        """Do one step; returns the record for the next."""
        clock = self._context.clock
        if self._interrupted.is_set() and progress.step in ROLLS_BACK_TO:
            return rolled_back_on_request(progress, "interrupted", clock.wall_ms())
        doing = asyncio.create_task(self._steps.do(progress))
        interrupting = asyncio.create_task(self._interrupted.wait())
        waited: set[asyncio.Task[Any]] = {doing, renewing}
        if progress.step in ROLLS_BACK_TO and progress.step not in WRITES:
            waited.add(interrupting)
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if renewing.done():
                renewing.result()
            if not doing.done():
                return rolled_back_on_request(progress, "interrupted", clock.wall_ms())
            return advanced(doing.result(), clock.wall_ms())
        except (LeaseLost, Unfinished, asyncio.CancelledError):
            raise
        except (CutoverError, StoreError) as error:
            return self._failed(progress, error)
        finally:
            for task in (doing, interrupting):
                task.cancel()
            await asyncio.gather(doing, interrupting, return_exceptions=True)

    def _failed(self, progress: CutoverProgress, error: CutoverError | StoreError) -> CutoverProgress:
        if progress.step in ROLLS_BACK_TO:
            return rolled_back(progress, str(error), self._context.clock.wall_ms())
        if progress.is_rolling_back:
            raise Stuck(
                f"the rollback stopped at {progress.step.value}: {error}. It was begun because: {progress.reason}. "
                "When that is mended, go on with --rollback"
            ) from error
        raise Stuck(
            f"{progress.new} serves all callers, but {progress.step.value} failed: {error}. Run it again"
        ) from error

    async def _renew(self) -> None:
        """Keep the lease until cancelled; ends with `LeaseLost`."""
        while True:
            await self._context.clock.sleep(RENEW_S)
            try:
                await self._journal.renew()
            except StoreError:
                # Whether it is silent or refuses: the next try will tell if another has taken it. Without this task
                # no step could be done any more, not even back.
                continue


def _serving(routing: Routing, new: str) -> str:
    """The color to leave."""
    others = sorted(color for color in routing.weights if color != new)
    if not others:
        raise NothingToDo(f"{new} alone serves all callers already")
    if len(others) > 1:
        raise CutoverError(f"the router knows several other colors ({', '.join(others)}): name the old one, --from")
    return others[0]


async def forget(store: Store, clock: Clock) -> str:
    """Drop the record of an unfinished cutover, for when its router or its color is no more; says what it was.

    Raises `CutoverError` if there is none, or a tool is at work at it.
    """
    journal = Journal(store, clock)
    await journal.acquire()
    try:
        known = await journal.read()
        if known is None or known.is_over:
            raise CutoverError("no cutover is unfinished")
        await journal.drop()
    finally:
        await journal.release()
    return (
        f"forgot the cutover from {known.old} to {known.new} over {known.router} at step {known.step.value}; "
        f"weights and drains are as it left them: look at them (voice-agent fleet; voice-agent drain --cancel)"
    )
