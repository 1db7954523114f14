"""Calls without speech on the pod that hears: what their frames take while others talk to it, and while nobody does."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import orjson

SECONDS = 30.0
"""How long each of the two is looked at."""


@dataclass(frozen=True, slots=True)
class Echoes:
    """From when a frame was due to be said to when it came back."""

    frames: int
    p50_ms: float
    p99_ms: float
    counts: bool
    """Whether the callers kept time; else the times are their own."""
    lost: int
    """Frames that did not come back, came twice or changed."""


async def echoes(port: int, calls: int, seconds: float = SECONDS) -> Echoes:
    """So many calls that talk at once, in a process of their own. Raises `RuntimeError`, with what that said."""
    url = f"ws://127.0.0.1:{port}"
    given = ("smoke", "--url", url, "--calls", str(calls), "--seconds", str(seconds), "--json")
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest", *given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        told, complaint = await load.communicate()
    finally:
        if load.returncode is None:
            load.kill()
    try:
        found: dict[str, Any] = orjson.loads(told)
    except orjson.JSONDecodeError:
        raise RuntimeError(f"no echoes: {complaint.decode(errors='replace')}") from None
    times = found["times"]["echo"]
    lost = sum(found[name] for name in ("dropped", "lost", "repeated", "wrong", "gaps"))
    return Echoes(found["frames"], times["p50_ms"], times["p99_ms"], found["latencies_count"], lost)


@dataclass(slots=True)
class Beside:
    """What `calls` of them saw."""

    calls: int
    alone: Echoes | None = None
    """While nobody spoke."""
    among_speech: Echoes | None = None
    """From when the first caller spoke."""
