"""Clocks of the client: pacing, backing off, and numbering, none of which waits for real time here.

Tests of `backoff`, `pacing` and `sequence`, too.
"""

from __future__ import annotations

import asyncio

import pytest

from voice_agent.client.backoff import JITTER, PAUSES, STEADY_S, Backoff
from voice_agent.client.pacing import Metronome
from voice_agent.client.sequence import SequenceChecker, Tally, number


class SteppedClock:
    """Time that passes only by sleeping, and by `late_s` more at each sleep."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.late_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds + self.late_s
        await asyncio.sleep(0)


async def test_an_hour_of_frames_does_not_drift() -> None:
    """However late each tick is, the hour's last frame is sent an hour after the first, not later."""
    clock = SteppedClock()
    clock.late_s = 0.003
    metronome = Metronome(20, now_s=clock, sleep=clock.sleep)
    for _ in range(180_000):
        await metronome.tick()
    assert clock.now_s == pytest.approx(1000 + 3600 + 0.003, abs=1e-6)
    assert metronome.worst_lag_s == pytest.approx(0.003, abs=1e-6)


async def test_frames_that_a_stall_delayed_are_made_up_for() -> None:
    """After 100 ms away five frames go out at once, the next is on time again, and the lag is told."""
    clock = SteppedClock()
    metronome = Metronome(20, now_s=clock, sleep=clock.sleep)
    await metronome.tick()
    clock.now_s += 0.1
    before = len(clock.slept)
    for _ in range(6):
        await metronome.tick()
    assert clock.slept[before:] == pytest.approx([0, 0, 0, 0, 0, 0.02], abs=1e-9)
    assert metronome.worst_lag_s == pytest.approx(0.08)
    assert clock.now_s == pytest.approx(1000 + 7 * 0.02)


async def test_a_machine_that_cannot_keep_up_still_listens() -> None:
    """A tick that is overdue lets other tasks run."""
    clock = SteppedClock()
    metronome = Metronome(20, now_s=clock)
    await metronome.tick()
    clock.now_s += 10
    ran = 0

    async def other() -> None:
        nonlocal ran
        while True:
            ran += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(100):
        await metronome.tick()
    task.cancel()
    assert ran >= 99


def test_the_first_try_is_at_once_and_later_ones_wait_longer() -> None:
    """Up to two seconds, until the deadline; then no more."""
    clock = SteppedClock()
    backoff = Backoff(10, now_s=clock, chance=lambda low, high: 1.0)
    backoff.broke()
    pauses = []
    while (pause_s := backoff.pause_s()) is not None:
        pauses.append(pause_s)
        clock.now_s += pause_s
    assert pauses[:7] == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, PAUSES.longest_s])
    assert sum(pauses) == pytest.approx(10)
    assert backoff.left_s == 0


def test_pauses_differ_from_caller_to_caller() -> None:
    """So that the callers of a dead pod do not come back in step."""
    asked: list[tuple[float, float]] = []

    def chance(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    backoff = Backoff(10, now_s=SteppedClock(), chance=chance)
    backoff.broke()
    assert [backoff.pause_s(), backoff.pause_s()] == pytest.approx([0, 0.1 * (1 + JITTER)])
    assert asked == [(1 - JITTER, 1 + JITTER)] * 2


def test_a_server_may_ask_for_patience_but_not_beyond_the_deadline() -> None:
    """`Retry-After` is the least pause; one that outlasts the deadline ends the trying at once."""
    backoff = Backoff(10, now_s=SteppedClock())
    backoff.broke()
    assert backoff.pause_s(3) == 3
    assert backoff.pause_s(11) is None


def test_a_short_mend_does_not_start_the_deadline_anew() -> None:
    """A connection that broke again within five seconds was never back; one that held longer was."""
    clock = SteppedClock()
    backoff = Backoff(30, now_s=clock, chance=lambda low, high: 1.0)
    backoff.broke()
    assert backoff.pause_s() == 0
    backoff.mended()
    clock.now_s += STEADY_S - 0.1
    backoff.broke()
    assert backoff.pause_s() == pytest.approx(0.1)
    assert backoff.left_s == pytest.approx(30 - STEADY_S + 0.1)
    backoff.mended()
    clock.now_s += STEADY_S
    backoff.broke()
    assert backoff.pause_s() == 0
    assert backoff.left_s == pytest.approx(30)


@pytest.mark.parametrize(
    ("event_id", "n"),
    [("evt_0", 0), ("evt_41", 41), ("evt_", None), ("evt_x", None), ("evt_-1", None), ("event_1", None), (7, None)],
)
def test_only_our_ids_are_numbers(event_id: object, n: int | None) -> None:
    """Ids of other servers are never read as ours."""
    assert number({"event_id": event_id}) == n


def test_a_gap_that_was_seen_already_takes_nothing_back() -> None:
    """The position never goes backwards, or events would be taken twice."""
    numbering = SequenceChecker(Tally())
    numbering.begin({"event_id": "evt_10"}, None, first=True)
    numbering.begin({"event_id": "evt_10"}, {"from": "evt_6", "to": "evt_8"}, first=False)
    assert numbering.last_event_id == "evt_10"
    assert not numbering.is_new({"event_id": "evt_9"})
