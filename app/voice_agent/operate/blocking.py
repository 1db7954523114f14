"""Libraries that block, seen from an event loop."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from voice_agent.extras import install
from voice_agent.operate.ports import CutoverError

P = ParamSpec("P")
T = TypeVar("T")


async def run_to_completion(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread. Cancelled, it first lets the work end.

    A thread cannot be stopped: whoever takes a change back must not be overtaken by the change.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen: nobody is left to be told
        raise


def optional(module: str) -> Any:
    """Import what comes with the extra `operate`. Raises `CutoverError` that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise CutoverError(f"the library {module} is not installed; install it with: {install('operate')}") from None
