"""Work of an agent that runs in a task of its own, and what times its steps there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")

WATCH: ContextVar[Callable[[Awaitable[Any]], Awaitable[Any]]] = ContextVar("watch")
"""Set by the server where it runs an agent: `WATCH.get()(work)` is the work, its steps timed as the agent's."""


def watched(work: Awaitable[Result]) -> Awaitable[Result]:
    """To be awaited in place of the work. One that blocks the event loop is named, as what is awaited in `run` is."""
    watch = WATCH.get(None)
    return work if watch is None else watch(work)
