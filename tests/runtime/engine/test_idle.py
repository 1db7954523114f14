"""The time that an agent does nothing runs only while it is its turn."""

from __future__ import annotations

from tests.runtime.clocks import StoppedClock
from voice_agent.runtime.engine.idle import IdleTime


def test_it_stands_still_while_something_else_is_waited_for() -> None:
    """And begins anew behind that, when the last of several waits is over."""
    clock = StoppedClock()
    idle = IdleTime(clock)
    clock.now_s += 3
    assert idle.seconds == 3
    with idle.waiting():
        with idle.waiting():
            clock.now_s += 50
            assert idle.seconds == 0
        clock.now_s += 50
        assert idle.seconds == 0
    clock.now_s += 2
    assert idle.seconds == 2
    idle.begin()
    assert idle.seconds == 0
