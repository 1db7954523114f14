"""For which call the speech workers work, so that none takes them from the others.

As of `kit.usage.METER`, what is asked of an ear or a voice in a task of the call's, or in one made by it, belongs to
the call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class SpeechWork:
    """Jobs of one call, and what they have cost."""

    call_id: str
    is_early: bool = False
    """Of a turn that may not be over: nobody waits for it yet."""
    cpu_ms: float = 0.0
    """Spent by workers so far, answers that nobody wanted any more among it."""
    when_due: Callable[[], None] | None = None
    """Of the newest job that was early when it was asked for."""

    def due(self) -> None:
        """The turn is over: from now on a caller waits for what is asked already."""
        self.is_early = False
        if self.when_due is not None:
            self.when_due()


WORK: ContextVar[SpeechWork | None] = ContextVar("voice_agent.speech_work", default=None)
"""That of the current task; None: of no call."""
