"""How a job of a speech worker ends early, where nobody wants its answer any more.

An engine asks between the stages of its work; a stage itself is not interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar


class JobDropped(Exception):
    """The answer is not wanted any more."""


IS_WANTED: ContextVar[Callable[[], bool]] = ContextVar("voice_agent.is_wanted")
"""Of the job that is being done; where there is none, or nobody can drop it, it is not set."""


def end_if_dropped() -> None:
    """Raises `JobDropped` where the answer of the current job is not wanted any more."""
    is_wanted = IS_WANTED.get(None)
    if is_wanted is not None and not is_wanted():
        raise JobDropped
