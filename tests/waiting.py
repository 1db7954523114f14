"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_S = 120.0
"""How long a test waits for what must come. It bounds a test that has failed, and judges no machine: what has to come
within a time of its own is measured by an injected clock or by CPU time."""
LOOK_S = 0.005


async def until(condition: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Wait for something to become true; the condition may be a function or a coroutine function."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(LOOK_S)
