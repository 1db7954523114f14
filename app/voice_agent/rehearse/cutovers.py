"""Cutovers of a rehearsal: the command `voice-agent cutover`, run as an operator would, and read line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.programs import ROOT, python_module
from voice_agent.settings import environment_of_child

BUFFER_S = 5
HOLD_S = 2
EXTRA_WAIT_S = 60
"""A cutover whose old color is not empty so long after the drain's deadline has failed."""
SMOKE_LIMIT_S = 5
"""Callers, pods and smoke call share one machine here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a cutover ended."""

    to: str
    status: int
    """Of the process, one of `plan.Exit`."""
    ok: bool
    reason: str
    drain_seconds: float | None
    """From the shift until the old color was empty."""


async def cut_over(
    environment: RehearsalEnvironment,
    to: str,
    drain_deadline_s: int,
    log: Path,
    on_line: Callable[[dict[str, Any]], None],
    *,
    smoke: bool,
) -> Outcome:
    """Run one cutover to its end; `on_line` gets each line as it comes. Cancelled, it kills the process."""
    options = {
        "to": to,
        "router": "haproxy",
        "haproxy": str(environment.balancer.socket),
        "store": environment.store_url,
        "max-turn": str(SMOKE_LIMIT_S),
        "buffer": str(BUFFER_S),
        "hold": str(HOLD_S),
        "drain-deadline": str(drain_deadline_s),
        "deadline": str(drain_deadline_s + EXTRA_WAIT_S),
    }
    if smoke:
        options |= {"smoke-url": environment.balancer.calls, "smoke-limit": str(SMOKE_LIMIT_S)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with log.open("ab") as complaints:
        process = await asyncio.create_subprocess_exec(
            *python_module("cutover", *words, *([] if smoke else ["--no-smoke"]), "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            env=environment_of_child(),
            cwd=ROOT,
        )
    last: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            last = orjson.loads(line)
            on_line(last)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if last.get("event") != "over":
        last = {"ok": False, "reason": _last_line(log)}
    return Outcome(to, status, bool(last["ok"]), last["reason"], last.get("drain_seconds"))


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
