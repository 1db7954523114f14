"""`python -m tests.hostile.caller`: the hostile callers of one mode, in a process of their own.

So that their work does not make the talking callers late, who are measured. Prints what they got as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sys
from time import monotonic

import uvloop

from tests.hostile.modes import MODES, Mode
from tests.hostile.wire import Got, RefusedByServer, Target

NICE = 10
"""The machine is shared; a hostile caller of the field has one of its own."""
REFUSED_PAUSE_S = 0.1


async def attack(mode: Mode, target: Target, callers: int, seconds: float) -> None:
    """So many callers at once do harm for so long."""
    end_s = monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(_again(mode, target, end_s))


async def _again(mode: Mode, target: Target, end_s: float) -> None:
    while monotonic() < end_s:
        target.got.add("tries")
        try:
            await mode.attack(target)
        except (OSError, TimeoutError, RefusedByServer):
            await asyncio.sleep(REFUSED_PAUSE_S)


def as_json(got: Got) -> str:
    """What they got."""
    return json.dumps({"counts": got.counts, "examples": got.examples})


def main() -> None:
    """Do harm, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.caller")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--ports", required=True, help="of the pods, separated by commas")
    parser.add_argument("--key", required=True)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    os.nice(NICE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = Target([int(port) for port in asked.ports.split(",")], asked.key)
    uvloop.run(attack(MODES[asked.mode], target, asked.callers, asked.seconds))
    sys.stdout.write(as_json(target.got) + "\n")


if __name__ == "__main__":
    main()
