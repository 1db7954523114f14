"""An asyncio event loop in which time, order and death come from a seed.

Every callback belongs to a process: the one in whose context it was made. Each process
keeps asyncio's own order; whose turn it is next is drawn. Time stands still while any
process has something to do and then jumps to the next timer. A process that is stopped
(SIGSTOP) gets no turns; one that is killed never runs another line, not even a `finally`,
which is what makes a crash at any await point what it is on a real machine.

There are no sockets. What is given to an executor runs in a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

BEGAN_MS = 1_700_000_000_000
"""The wall clock when a virtual loop begins."""


class WorldEnded(RuntimeError):
    """Something waits, or begins, in a loop that is disposed of."""


class Process:
    """Something that can be stopped or killed as a whole: a pod, a caller, or the world around them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[asyncio.Handle] = deque()
        """Its turns to come."""
        self.alive = True
        self.stopped = False
        self.steps = 0
        """Turns taken, that is pieces of code run between two waits."""
        self.dies_at_step: int | None = None
        self.on_death: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[Any]] = []
        self.observed_tasks: list[asyncio.Task[Any]] = []
        """Those that `OBSERVES_TASKS` runs: what they raise is of no concern to the process."""
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)


PROCESS: ContextVar[Process] = ContextVar("process")
AnyCoroutine = Coroutine[Any, Any, Any]
OBSERVES_TASKS: ContextVar[Callable[[AnyCoroutine], AnyCoroutine]] = ContextVar("observes_tasks")
"""Where it is set, whatever is made a task is run by this: `observe(coroutine)` is the coroutine with a witness."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Use `spawn` for what is to run in a process, `run` to let the world go on."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """By time and then by age: asyncio alone would leave the order of equals to chance."""
        self._timers_made = 0
        self.world = Process("world")
        self.processes: list[Process] = [self.world]
        self.faults: list[str] = []
        """What the loop was told of by tasks and callbacks that raised."""
        self.turns = 0
        self._observed: list[AnyCoroutine] = []
        self.observed_tasks: set[asyncio.Task[Any]] = set()
        """Those that agents made: what one raises is its maker's to see to."""
        self._is_disposed = False
        """What tasks of dead processes have perhaps never begun."""
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def process(self, name: str) -> Process:
        """A new process."""
        made = Process(name)
        self.processes.append(made)
        return made

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in a process."""
        return self.create_task(work, context=process.context)

    def at(self, delay_s: float, callback: Callable[..., None], *arguments: Any) -> None:
        """Have the world do something later."""
        self.call_at(self._now_s + delay_s, callback, *arguments, context=self.world.context)

    def kill(self, process: Process) -> None:
        """End a process here and now."""
        if process.alive:
            process.alive = False
            process.queue.clear()
            process.on_death()

    # --- what asyncio asks of a loop ------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run it in a turn of the world: there are no threads."""
        result: asyncio.Future[T] = self.create_future()
        self.call_soon(_run_into, result, func, args, context=self.world.context)
        return result

    async def getaddrinfo(self, *args: Any, **more: Any) -> Any:
        """Raise `OSError`: there is no network."""
        raise OSError("there is no network in a simulation: give the agent something in the place of what it calls")

    def create_future(self) -> asyncio.Future[Any]:
        if self._is_disposed:
            raise WorldEnded
        return super().create_future()

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> asyncio.Task[Any]:
        if self._is_disposed:
            coro.close()
            raise WorldEnded
        found = context or copy_context()
        observe = found.get(OBSERVES_TASKS, None)
        work = coro
        if observe is not None:
            work = observe(coro)
            self._observed.append(coro)
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, name=name, context=context)
        if observe is not None:
            self.observed_tasks.add(task)
        process = found.get(PROCESS, self.world)
        # Kept, so that no garbage collection runs a dead process's `finally` blocks at a moment of its own.
        (process.tasks if observe is None else process.observed_tasks).append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = events.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = events.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _enqueue(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(PROCESS, self.world)  # type: ignore[attr-defined]
        if process.alive:
            process.queue.append(handle)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- running ----------------------------------------------------------------

    def run(self, until: Callable[[], bool], *, deadline_s: float) -> bool:
        """Let everybody take turns; whether `until` came true before the deadline and before nothing was left."""
        events._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=_left_alone)
        try:
            while not until():
                if not self._turn() and not self._advance(deadline_s):
                    return False
            return True
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(None)

    def _turn(self) -> bool:
        ready = [process for process in self.processes if process.queue and not process.stopped]
        if not ready:
            return False
        process = ready[0] if len(ready) == 1 else self._random.choice(ready)
        handle = process.queue.popleft()
        if handle._cancelled:
            return True
        handle._run()
        self.turns += 1
        process.steps += 1
        if process.steps == process.dies_at_step:
            self.kill(process)
        return True

    def _advance(self, deadline_s: float) -> bool:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > deadline_s:
            return False
        self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                self._enqueue(timer)
        return True

    def dispose(self) -> None:
        """Close whatever still waits, silently: the world has ended."""
        tasks = [task for process in self.processes for task in (*process.tasks, *process.observed_tasks)]
        for process in self.processes:
            process.alive = False
            process.queue.clear()
        self._timers.clear()
        self._is_disposed = True
        events._set_running_loop(self)  # What would begin something is told that nothing begins any more.
        hook, sys.unraisablehook = sys.unraisablehook, _left_alone  # What waits in a `finally` is dropped there.
        try:
            for task in tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    drop(task.get_coro())
                elif not task.cancelled():
                    task.exception()
            for work in self._observed:
                drop(work)
            self._observed.clear()
        finally:
            sys.unraisablehook = hook
            events._set_running_loop(None)
        self.close()


MOST_WAITS = 32
"""In the `finally` blocks of a coroutine: each is left with an error of its own."""


def drop(work: Any) -> None:
    """Close a coroutine, whatever it does about that: also one that waits again while it tidies up."""
    for _ in range(MOST_WAITS):
        with contextlib.suppress(BaseException):
            work.close()
            return


def _left_alone(what: Any) -> None:
    """Of a dead process not even a `finally` runs: a generator that is read no more, an error while it is dropped."""


def _run_into(result: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        found = func(*args)
    except Exception as error:  # noqa: BLE001 it is the error of who waits for the result
        if not result.done():
            result.set_exception(error)
        return
    if not result.done():
        result.set_result(found)


class VirtualClock:
    """`runtime.ports.FleetClock` on the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC; the loop begins in November 2023."""
        return BEGAN_MS + int(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._loop.time()

    def follow(self, wall_ms: float, *, leaps: bool) -> None:
        """There is one clock."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        future = self._loop.create_future()
        handle = self._loop.call_later(max(0.0, seconds), _wake, future)
        try:
            await future
        finally:
            handle.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("it waited")
