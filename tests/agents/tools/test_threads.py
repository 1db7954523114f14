"""Functions that block run in threads of their own, and hold up nobody."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from tests.waiting import PATIENCE_S
from voice_agent.agents.tools.threads import ThreadEach, in_thread
from voice_agent.kit.tools import ToolError

ASKED = contextvars.ContextVar("asked", default="")


async def test_what_is_given_up_is_not_waited_for() -> None:
    """The thread goes on, and its end is noticed by nobody."""
    may_end, has_ended = threading.Event(), threading.Event()

    def block() -> None:
        may_end.wait()
        has_ended.set()

    task = asyncio.create_task(in_thread(block, {}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()
    assert await asyncio.to_thread(has_ended.wait, PATIENCE_S)


async def test_it_knows_in_whose_call_it_runs() -> None:
    """Context variables are those of who asks."""
    ASKED.set("me")
    assert await in_thread(ASKED.get, {}) == "me"


async def test_there_are_only_so_many() -> None:
    """One more is refused, and one that has ended makes place."""
    threads, may_end = ThreadEach(max_threads=1), threading.Event()
    first = threads.submit(may_end.wait)
    with pytest.raises(ToolError, match="Nothing was done"):
        threads.submit(may_end.wait)
    may_end.set()
    assert await asyncio.wrap_future(first)
    assert threads.submit(int).result() == 0


async def test_a_thread_that_cannot_be_started_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one may be started again."""
    threads = ThreadEach(max_threads=1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            threads.submit(int)
    assert threads.submit(int).result() == 0
