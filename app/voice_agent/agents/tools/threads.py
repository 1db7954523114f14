"""Running a function that blocks, in a thread of its own.

Not in asyncio's pool: that has a handful of threads for the whole pod, and a pod that leaves waits for all of them. A
function that never returns must hold up neither.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from voice_agent.kit.tools import ToolError

MAX_THREADS = 64
"""At the same time: stops functions that never return from taking all memory of the pod."""


class ThreadEach(Executor):
    """A thread for each piece of work; the process ends without waiting for them."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._slots = threading.BoundedSemaphore(max_threads)

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """See `Executor`. Raises `ToolError` where as many as may run do."""
        if not self._slots.acquire(blocking=False):
            raise ToolError("Too much is being done at the moment. Nothing was done.")
        result: Future[Any] = Future()
        result.set_running_or_notify_cancel()  # What has begun cannot be taken back.
        try:
            threading.Thread(target=self._run, args=(result, partial(work, *args, **named)), daemon=True).start()
        except BaseException:  # The system has no thread left.
            self._slots.release()
            raise
        return result

    def _run(self, result: Future[Any], work: Callable[[], Any]) -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 whatever it is, it is raised where the result is waited for
            self._slots.release()
            result.set_exception(error)
        else:
            self._slots.release()
            result.set_result(value)


_threads = ThreadEach()


async def in_thread(function: Callable[..., Any], named: Mapping[str, Any]) -> Any:
    """What the function gives, or raises. Cancelled, it is not waited for any longer; the thread goes on.

    Raises `RuntimeError` in place of what would end the pod or the wait, as `SystemExit` and `StopIteration`.
    """
    work = partial(contextvars.copy_context().run, _contained, function, named)
    return await asyncio.get_running_loop().run_in_executor(_threads, work)


def _contained(function: Callable[..., Any], named: Mapping[str, Any]) -> Any:
    try:
        return function(**named)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
