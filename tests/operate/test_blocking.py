"""Blocking libraries under an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.waiting import PATIENCE_S
from voice_agent.operate.blocking import optional, run_to_completion
from voice_agent.operate.ports import CutoverError


async def test_a_cancelled_change_ends_before_the_cancellation_does() -> None:
    """Whoever takes the change back afterwards is not overtaken by it."""
    begun, may_end, done = threading.Event(), threading.Event(), []

    def change() -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        done.append(1)

    task = asyncio.create_task(run_to_completion(change))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


async def test_an_error_of_the_work_is_the_callers() -> None:
    """As if it had not run in a thread."""
    with pytest.raises(ZeroDivisionError):
        await run_to_completion(lambda: 1 // 0)


def test_a_missing_library_says_how_to_get_it() -> None:
    """By the name of the extra."""
    with pytest.raises(CutoverError, match=r"no_such_library is not installed.*pip install 'voice-agent\[operate\]'"):
        optional("no_such_library")
