"""What an agent reads of the caller as it happens, beside the events of the call."""

from __future__ import annotations

from voice_agent.runtime.engine.frames import FrameQueue
from voice_agent.runtime.engine.hearing import HearingNotices
from voice_agent.runtime.engine.live_queue import end_all


class LiveInput:
    """One call's, as long as this pod owns it."""

    def __init__(self) -> None:
        self.taps: list[FrameQueue] = []
        """Who reads the caller's frames."""
        self.hearing = HearingNotices()

    def end(self) -> None:
        """Nothing more comes to who reads now."""
        end_all(self.taps)
        self.hearing.end()
