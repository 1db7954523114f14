"""What is done about a call that is looked after, by how long ago what happened; and how often calls are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import Mock, create_autospec, patch

import pytest

from tests.call.calls import new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import FixedAgents, Rig
from tests.waiting import until
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.runtime.calls.client_activity import ClientActivity
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.pod import upkeep
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.upkeep import ASK_EPOCH_S, UPKEEP_S
from voice_agent.stores.memory import MemoryStore


class LookedAfter:
    """A call at one moment, and what its upkeep did about it."""

    def __init__(self, *, ttl_s: int = 60, idle_s: float = 0, **state: Any) -> None:
        self.pod = Rig(MemoryStore(ttl_s=60), FixedAgents()).unopened_pod(
            "a", clock=StoppedClock(), ttl_s=ttl_s, idle_timeout_s=idle_s, resume_window_s=2
        )
        self.live: Any = create_autospec(
            LiveCall, instance=True, memory=Mock(), responder=Mock(), activity=ClientActivity(self.pod.ports.clock)
        )
        now_s = self.now_s = self.pod.ports.clock.monotonic_s()
        self.live.call = state.pop("call", None) or new_call()
        call = self.live.call
        call.identity = replace(call.identity, created_at_ms=self.pod.ports.clock.wall_ms())
        self.live.activity.has_sent = state.pop("has_sent", False)
        self.live.activity.heard_at_s -= state.pop("heard_ago_s", 0.0)
        key_kept_at_s = now_s - state.pop("key_kept_ago_s", 0.0)
        committed_at_s = now_s - state.pop("committed_ago_s", 0.0)
        self.live.writer = Mock(
            writes_paused=state.pop("writes_paused", False), committed_at_s=committed_at_s, key_kept_at_s=key_kept_at_s
        )
        assert not state
        self.marked, self.kept = Mock(), Mock()
        self.pod.committer.mark = self.marked  # type: ignore[method-assign]  # whether it was told
        self.pod.owned.keep_key = self.kept  # type: ignore[method-assign]  # the same
        self.pod.owned.by_id["call_a"] = self.live
        with patch.object(upkeep, "notice_silence") as self.silence_noticed:
            self.pod.upkeep.look_after_all()

    @property
    def dropped(self) -> int:
        """How many were counted as dropped by a handoff."""
        counts: dict[tuple[str, object], int] = self.pod.observer.counts  # type: ignore[attr-defined]  # the rig's
        return counts.get(("call_dropped", "handoff"), 0)


@pytest.mark.parametrize(
    ("ttl_s", "ago_s", "is_asked"),
    [(60, ASK_EPOCH_S, True), (60, ASK_EPOCH_S - 0.25, False), (3, 1.0, True), (3, 0.8, False)],
)
def test_a_call_that_was_not_written_for_a_while_is_asked_for(ttl_s: int, ago_s: float, is_asked: bool) -> None:
    """So it is noticed who owns it, and the store does not forget it: a third of the TTL is soon enough."""
    assert LookedAfter(ttl_s=ttl_s, committed_ago_s=ago_s).marked.called == is_asked


@pytest.mark.parametrize(("key", "ago_s", "is_kept"), [("k", 1.0, True), ("k", 0.8, False), ("", 1.0, False)])
def test_the_key_of_a_call_is_kept_as_long_as_the_call(key: str, ago_s: float, is_kept: bool) -> None:
    """Bound again each third of the TTL; a call without a key has none to keep."""
    call = new_call()
    call.identity = replace(call.identity, call_key_hash=key)
    assert LookedAfter(ttl_s=3, call=call, key_kept_ago_s=ago_s).kept.called == is_kept


@pytest.mark.parametrize(("has_sent", "silent_s"), [(False, 4.0), (True, 0.0)])
def test_a_caller_is_silent_since_something_was_heard_last(has_sent: bool, silent_s: float) -> None:
    """As of the last look, which begins anew; each look weighs the call, and asks after caller and agent."""
    at = LookedAfter(has_sent=has_sent, heard_ago_s=4.0)
    at.silence_noticed.assert_called_once_with(at.live, silent_s)
    at.live.responder.stop_silent.assert_called_once_with()
    at.live.memory.update.assert_called_once_with()
    assert (at.live.activity.has_sent, at.live.activity.heard_at_s) == (False, at.now_s - silent_s)


def parked(*, handed_off: bool) -> CallRecord:
    """Since the beginning of time."""
    call = new_call()
    call.lifecycle.status, call.lifecycle.left_at_ms, call.lifecycle.handed_off = Status.PARKED, 0, handed_off
    return call


def test_a_call_whose_time_is_over_ends() -> None:
    """Counted as dropped only if a handoff was promised to go on elsewhere; not while it is given to another owner."""
    idle: dict[str, Any] = {"idle_s": 3, "heard_ago_s": 4.0, "committed_ago_s": 9.0}
    at = LookedAfter(**idle)
    at.live.finish.assert_called_once_with("timeout", reason="nothing was sent for 3 s")
    assert not at.marked.called
    assert not LookedAfter(**idle, writes_paused=True).live.finish.called
    assert not LookedAfter().live.finish.called
    for handed_off in (False, True):
        at = LookedAfter(call=parked(handed_off=handed_off))
        at.live.finish.assert_called_once_with("abandoned", reason="")
        assert at.dropped == handed_off


def idle_pod() -> Pod:
    """One that does nothing by itself."""
    return Rig(MemoryStore(ttl_s=60), FixedAgents()).unopened_pod("a", clock=StoppedClock())


@pytest.mark.parametrize("loop", ["run", "bound_parking"])
async def test_calls_are_looked_after_for_as_long_as_the_pod_lives(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    """Again and again, and not before the time has come."""
    pod, times = idle_pod(), list[float]()

    def at_once() -> None:
        times.append(pod.ports.clock.monotonic_s())

    async def acts() -> None:
        at_once()

    if loop == "run":
        monkeypatch.setattr(pod.upkeep, "look_after_all", at_once)
    else:
        monkeypatch.setattr(pod.upkeep.parking, "enforce", acts)
    task = asyncio.create_task(getattr(pod.upkeep, loop)())
    await until(lambda: len(times) > 2)
    task.cancel()
    assert times[:3] == [1000.0 + UPKEEP_S * n for n in (1, 2, 3)]


async def test_one_look_after_the_calls_also_bounds_what_they_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both at once, for whoever does not want to wait."""
    pod, done = idle_pod(), list[str]()

    async def enforce() -> None:
        done.append("bounded")

    monkeypatch.setattr(pod.upkeep.parking, "enforce", enforce)
    monkeypatch.setattr(pod.upkeep, "look_after_all", lambda: done.append("looked"))
    await pod.upkeep.look_after_calls()
    assert done == ["looked", "bounded"]
