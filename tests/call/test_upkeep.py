"""When a call ends by itself."""

from __future__ import annotations

from dataclasses import replace

from tests.call.calls import feed, new_call
from voice_agent.call.inputs import ConnectionLost
from voice_agent.call.record import CallRecord
from voice_agent.call.upkeep import Limits, ending

LIMITS = Limits(resume_window_s=120, call_s=3600, idle_s=600)


def outcome(call: CallRecord, *, now_s: float, silent_s: float = 0.0, limits: Limits = LIMITS) -> str | None:
    """Of a call at a time."""
    found = ending(call, limits, now_ms=round(now_s * 1000), silent_s=silent_s)
    return found.outcome if found is not None else None


def test_a_call_lasts_no_longer_than_it_may() -> None:
    """To the millisecond, counted from when it was made."""
    call = new_call()
    call.identity = replace(call.identity, created_at_ms=5000)
    assert outcome(call, now_s=3604.999) is None
    assert outcome(call, now_s=3605) == "timeout"


def test_a_caller_who_sends_nothing_at_all_is_let_go() -> None:
    """Unless that is switched off."""
    assert outcome(new_call(), now_s=700, silent_s=599.9) is None
    assert outcome(new_call(), now_s=700, silent_s=600) == "timeout"
    assert outcome(new_call(), now_s=700, silent_s=600, limits=Limits(120, 3600, 0)) is None


def test_a_parked_call_waits_for_its_window() -> None:
    """However long it had been silent before."""
    call = new_call()
    feed(call, ConnectionLost(hung_up=False, planned=False), now_ms=10_000)
    assert outcome(call, now_s=129.9, silent_s=5000) is None
    assert outcome(call, now_s=130) == "abandoned"


def test_only_what_was_handed_off_and_never_fetched_was_dropped() -> None:
    """By a deploy, that is: a caller who lost the connection did not come back by themselves."""
    for planned in (False, True):
        call = new_call()
        feed(call, ConnectionLost(hung_up=False, planned=planned), now_ms=0)
        found = ending(call, LIMITS, now_ms=120_000, silent_s=0)
        assert found is not None
        assert found.was_dropped is planned
    late = ending(new_call(), LIMITS, now_ms=3_600_000, silent_s=0)
    assert late is not None
    assert not late.was_dropped
