"""The work beside a pod's calls: a fault of it is logged, and shows."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from tests.waiting import until
from voice_agent.runtime.pod.tasks import PodTasks


async def ends() -> None: ...


async def waits() -> None:
    await asyncio.Event().wait()


async def crashes() -> None:
    raise RuntimeError("broken")


async def test_only_a_task_that_crashed_is_logged_as_crashed() -> None:
    """One that has ended is none, nor one that was cancelled; and the event loop hears of none."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    tasks = PodTasks({work.__name__: work for work in (ends, waits, crashes)})
    with capture_logs() as logs:
        tasks.start("ends", "waits", "crashes")
        await asyncio.sleep(0)
        await tasks.stop()
    assert [(line["event"], line["task"]) for line in logs] == [("pod task crashed", "crashes")]
    assert faults == []


async def test_work_that_ends_has_failed() -> None:
    """For none is ever done; what was not started has not."""
    tasks = PodTasks({work.__name__: work for work in (ends, waits)})
    tasks.start("waits")
    await asyncio.sleep(0)
    assert not tasks.has_failed
    tasks.start("ends")
    await until(lambda: tasks.has_failed)
    await tasks.stop()
    assert all(task.done() for task in tasks.running)
