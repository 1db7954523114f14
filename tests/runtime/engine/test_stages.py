"""Each stage of a reply is told once, whatever comes of it later."""

from __future__ import annotations

from tests.runtime.alone import TimingObserver
from tests.runtime.clocks import StoppedClock
from voice_agent.call.changes import OutboxEntry
from voice_agent.runtime.engine.stages import StageTimes


def test_a_reply_is_timed_from_its_opening_to_its_audio() -> None:
    """Events without audio tell nothing; a second sentence neither."""
    clock, observer = StoppedClock(), TimingObserver()
    stages = StageTimes(clock, observer)
    stages.asked()
    clock.now_s += 1
    stages.worded()
    clock.now_s += 2
    stages.voiced()
    stages.visible([OutboxEntry(1, b"{}", b"")])
    clock.now_s += 4
    for _ in range(2):
        stages.worded()
        stages.voiced()
        stages.visible([OutboxEntry(2, b"{}", b"audio")])
    assert observer.stages == [("think", 1), ("tts", 2), ("first_audio", 7)]


def test_what_is_said_unprompted_is_not_thought_about() -> None:
    """Nobody waited for it."""
    observer = TimingObserver()
    stages = StageTimes(StoppedClock(), observer)
    stages.worded()
    stages.voiced()
    stages.visible([OutboxEntry(1, b"{}", b"audio")])
    assert observer.stages == []
