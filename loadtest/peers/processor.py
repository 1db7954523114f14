"""CPU time and memory of other processes, and where they run. Linux only."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ACCOUNTED = 2
"""The kernel's number for the clock of all time a process ran: CPUCLOCK_SCHED in its posix-timers_types.h."""


def cpu_s(pid: int) -> float:
    """Seconds of CPU a process has used, user and system, all threads, to the nanosecond.

    ``/proc/PID/stat`` counts in ticks of 10 ms, which is 4 % of what a quick server uses in a short run; the
    process' own clock, which clock_getcpuclockid(3) names, does not. Raises `OSError` when the process is gone.
    """
    return time.clock_gettime((~pid << 3) | ACCOUNTED)


def pss_kb(pid: int) -> int:
    """Memory of a process in KiB, pages shared with others counted in part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no line 'Pss:'; a Linux kernel of 4.14 or newer is needed")


@cache
def cores() -> tuple[int, int]:
    """The server's core, and the one for its callers and its store; the same where there is but one.

    As it was when first asked: within `on_core` the answer would be that core, for everybody.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this thread, and whatever it starts, on one core; children keep it after the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
