"""Time, order and death in a virtual event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from random import Random

import pytest

from voice_agent.testing.virtual_loop import BEGAN_MS, VirtualClock, VirtualLoop, run_now


def loop_of(seed: int = 1) -> VirtualLoop:
    return VirtualLoop(Random(seed))


def test_time_passes_when_nobody_has_anything_to_do() -> None:
    """An hour takes no time."""
    loop = loop_of()
    clock = VirtualClock(loop)
    sleeping = loop.spawn(loop.process("one"), clock.sleep(3600))
    assert loop.run(sleeping.done, deadline_s=4000)
    assert clock.monotonic_s() == 3600
    assert clock.wall_ms() == BEGAN_MS + 3_600_000
    loop.dispose()


def test_a_process_that_is_killed_runs_no_other_line() -> None:
    """Not even a `finally`, whatever it waits for."""
    loop = loop_of()
    process = loop.process("victim")
    lines: list[str] = []

    async def work() -> None:
        try:
            lines.append("began")
            await asyncio.sleep(1)
            lines.append("went on")
        finally:
            if process.alive:
                lines.append("tidied up")

    task = loop.spawn(process, work())
    loop.at(0.5, loop.kill, process)
    assert not loop.run(task.done, deadline_s=10)
    assert lines == ["began"]
    loop.dispose()


def test_what_is_given_to_a_thread_runs_in_a_turn_of_the_loop() -> None:
    """Its result comes, and its error."""
    loop = loop_of()

    async def work() -> str:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread("done".upper)

    task = loop.spawn(loop.process("one"), work())
    assert loop.run(task.done, deadline_s=1)
    assert task.result() == "DONE"
    loop.dispose()


def test_there_is_no_network() -> None:
    """Whoever asks for it is told what to do."""
    loop = loop_of()
    task = loop.spawn(loop.process("one"), asyncio.to_thread(lambda: None))
    asking = loop.spawn(loop.process("two"), loop.create_connection(asyncio.Protocol, "example.org", 80))
    assert loop.run(lambda: task.done() and asking.done(), deadline_s=1)
    with pytest.raises(OSError, match="no network in a simulation"):
        asking.result()
    loop.dispose()


def test_a_coroutine_that_never_waits_is_run_without_a_loop() -> None:
    """One that waits is refused."""

    async def at_once() -> int:
        return 1

    assert run_now(at_once()) == 1
    sleeping = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="waited"):
        run_now(sleeping)
    sleeping.close()


def test_what_ends_with_the_world_begins_nothing() -> None:
    """What it would begin for its end is left without a word."""
    loop = loop_of()
    lines: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            await asyncio.wait([asyncio.create_task(asyncio.sleep(1))])
            lines.append("tidied up")

    async def work() -> None:
        async for number in numbers():
            lines[:] = [f"{number} came"]

    loop.spawn(loop.process("one"), work())
    assert not loop.run(lambda: False, deadline_s=1)
    loop.dispose()
    del loop
    gc.collect()
    assert lines == ["1 came"]
