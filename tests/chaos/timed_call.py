"""A plain call of which every pause in a reply is known, with when it was."""

from __future__ import annotations

import asyncio
import math
import time
from itertools import repeat
from typing import NamedTuple, Self

from voice_agent.client.refusals import CallFailed
from voice_agent.rehearse.plain_call import Habits, PlainCall
from voice_agent.rehearse.reply_playback import ReplyPlayback
from voice_agent.rehearse.timeline import CallLine
from voice_agent.retry import retry

AGAIN_AFTER_S = 1.0
MOST_DIALED = 5
"""So often more, then the call is dropped."""


class Pause(NamedTuple):
    """A silence within a reply."""

    began_s: float
    """In wall time."""
    pause_s: float


class TimedPlayback(ReplyPlayback):
    """Keeps every silence."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[Pause] = []

    def hear(self, response_id: str, audio_bytes: int, at_s: float) -> None:
        """Audio of a reply has come."""
        longest_s, self.longest_silence_s = self.longest_silence_s, 0.0
        super().hear(response_id, audio_bytes, at_s)
        if self.longest_silence_s:
            self.pauses.append(Pause(at_s - self.longest_silence_s, self.longest_silence_s))
        self.longest_silence_s = max(longest_s, self.longest_silence_s)


class TimedCall(PlainCall):
    """Over one edge."""

    def __init__(self, url: str, habits: Habits, turn: asyncio.Semaphore) -> None:
        """`turn`: of the run, for those who connect at a time."""
        super().__init__(url, CallLine("", "plain"), time.time, habits)
        self.playback: TimedPlayback = TimedPlayback()
        self.refused = 0
        """How often it was not taken; then it calls again, as a person does."""
        self._turn = turn

    async def __aenter__(self) -> Self:
        """Connect. Raises `CallFailed`."""
        async with self._turn:
            return await retry(
                super().__aenter__,
                repeat(AGAIN_AFTER_S, MOST_DIALED),
                for_s=lambda error: math.inf if isinstance(error, CallFailed) else 0,
                now_s=time.monotonic,
                sleep=asyncio.sleep,
                on_failure=self._not_taken,
            )

    def _not_taken(self, _: Exception) -> None:
        self.refused += 1

    @property
    def closed_with(self) -> int | None:
        """The close that it saw; None until then, and after a hang-up of its own."""
        return next((leg.ended_with for leg in self.line.legs if leg.ended_with is not None), None)
