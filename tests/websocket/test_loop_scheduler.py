"""The event loop's turns are shared out fairly, and none takes longer than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.websocket.loop_scheduler import FIRST_S, RUN_S, SHARE_S, WINDOW_S, LoopScheduler, NextShare

UNIT_S = 0.0001
"""What one frame costs here."""
TURN_S = 2 * WINDOW_S + RUN_S + UNIT_S


class SteppedLoop:
    """Runs what was called soon, one turn at a time."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def turn(self) -> bool:
        """The callbacks that wait now; False if there are none."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()
        return bool(soon)


class Stopwatch:
    """A clock that goes on only while somebody works."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Reader:
    """A connection with so many frames left."""

    def __init__(self, clock: Stopwatch, frames: int) -> None:
        self.is_waiting = False
        self.left = frames
        self.done = 0
        self._clock = clock

    def work(self, until_s: float) -> bool:
        while self.left:
            self.left -= 1
            self.done += 1
            self._clock.now_s += UNIT_S
            if self._clock.now_s >= until_s:
                break
        return self.left > 0


def bench(*frames: int) -> tuple[SteppedLoop, Stopwatch, LoopScheduler, list[Reader]]:
    loop, clock = SteppedLoop(), Stopwatch()
    scheduler = LoopScheduler(cast("asyncio.AbstractEventLoop", loop), clock)
    return loop, clock, scheduler, [Reader(clock, count) for count in frames]


@given(st.lists(st.lists(st.integers(0, 500), max_size=40), max_size=6))
def test_no_turn_takes_longer_than_it_may(arrivals: list[list[int]]) -> None:
    """Whatever comes in, and whenever, a turn ends in time, no connection has more than its part, all is done."""
    loop, clock, scheduler, _ = bench()
    readers: list[Reader] = []

    def turn(arriving: list[int]) -> bool:
        begun_s, done = clock.now_s, [reader.done for reader in readers]
        more = loop.turn()
        for frames in arriving:
            readers.append(Reader(clock, frames))
            scheduler.begin(readers[-1])
        assert clock.now_s - begun_s <= TURN_S + 1e-9
        done += [0] * len(arriving)
        assert all(it.done - was <= (FIRST_S + SHARE_S) / UNIT_S + 1 for it, was in zip(readers, done, strict=True))
        return more

    for arriving in arrivals:
        turn(arriving)
    while turn([]):
        pass
    assert not any(reader.left for reader in readers)


def test_those_with_much_left_go_round() -> None:
    """After any turn none is further than one share ahead of another."""
    loop, _, scheduler, readers = bench(*[2000] * 12)
    for reader in readers:
        scheduler.begin(reader)
    while any(reader.left for reader in readers):
        loop.turn()
        done = [reader.done for reader in readers]
        assert max(done) - min(done) <= SHARE_S / UNIT_S + 1


def test_who_had_no_share_yet_goes_first() -> None:
    """A frame of a caller who sends one at a time does not stand behind the floods of others."""
    loop, clock, scheduler, readers = bench(*[10_000] * 68)
    for reader in readers:
        scheduler.begin(reader)
    assert not scheduler.has_time()
    modest = Reader(clock, 1)
    scheduler.begin(modest)
    loop.turn()
    loop.turn()
    assert modest.done == 1
    assert max(reader.done for reader in readers) <= FIRST_S / UNIT_S + 1


def test_there_is_time_again_in_the_next_turn() -> None:
    """A window that is used up ends with its turn; one that ran out in silence is no hindrance."""
    loop, clock, scheduler, _ = bench()
    assert scheduler.has_time()
    clock.now_s += 2 * WINDOW_S
    assert not scheduler.has_time()
    loop.turn()
    assert scheduler.has_time()
    loop.turn()
    clock.now_s += 60
    assert scheduler.has_time()


def test_one_that_waits_is_not_worked_on_out_of_turn() -> None:
    """However often it is offered."""
    loop, _, scheduler, (reader,) = bench(100)
    scheduler.put_off(reader)
    scheduler.put_off(reader)
    scheduler.begin(reader)
    assert (reader.is_waiting, reader.done) == (True, 0)
    loop.turn()
    assert reader.done == round(SHARE_S / UNIT_S)


async def test_connections_of_one_loop_share_their_turns() -> None:
    """Whoever asks gets the same ones."""
    loop: Any = asyncio.get_running_loop()
    assert LoopScheduler.of(loop) is LoopScheduler.of(loop)
    assert LoopScheduler.of(loop) is not LoopScheduler.of(asyncio.new_event_loop())


async def lined_up(scheduler: LoopScheduler) -> asyncio.Task[None]:
    """Somebody who waits for the next turn."""
    waiting = asyncio.create_task(NextShare(scheduler).wait())
    await asyncio.sleep(0)
    return waiting


async def turns_until(waiting: asyncio.Task[None], loop: SteppedLoop) -> int:
    """After how many turns it came."""
    for turn in range(1000):
        await asyncio.sleep(0)
        if waiting.done():
            return turn
        loop.turn()
    raise AssertionError("it never came")


async def test_the_next_turn_comes_after_all_callers_who_came_before_and_had_none() -> None:
    """So what is waited for it tells how late a message is, however short each turn of the loop is."""
    loop, clock, scheduler, readers = bench(*[2] * 400)
    for reader in readers:
        scheduler.begin(reader)
    begun_s = clock.now_s
    waiting = await lined_up(scheduler)
    assert await turns_until(waiting, loop) > 1
    assert not any(reader.left for reader in readers)
    assert clock.now_s - begun_s >= RUN_S
    assert await turns_until(await lined_up(scheduler), loop) == 1


async def test_the_next_turn_does_not_wait_for_those_who_flood() -> None:
    """They had their share: what they have left beyond it makes nobody else late."""
    loop, _, scheduler, readers = bench(*[100_000] * 20)
    for reader in readers:
        scheduler.begin(reader)
    loop.turn()
    assert await turns_until(await lined_up(scheduler), loop) == 1
