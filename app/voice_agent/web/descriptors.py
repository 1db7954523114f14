"""File descriptors: each connection needs one, and a process that has none left answers nothing, not even health."""

from __future__ import annotations

import resource

RESERVED = 128
"""For the store, agents, listening sockets and files."""


def raise_limit() -> int:
    """Let this process have as many descriptors as an administrator allows it; returns how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def shortage(allowed: int, connections: int) -> str | None:
    """What to warn of in one line if so many connections do not fit; None if they do."""
    needed = connections + RESERVED
    if needed <= allowed:
        return None
    return (
        f"{allowed} file descriptors are allowed (ulimit -n) and VOICE_MAX_CALLS with its waiting connections "
        f"needs {needed}: raise the limit, or lower the setting."
    )
