"""`retry` and its schedule."""

from __future__ import annotations

import asyncio
import math
from itertools import islice, repeat

import pytest

from voice_agent.retry import Delays, retry


class Clock:
    """Time that passes only in `sleep`, and in `run` if it is told so."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.delays: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        """A delay."""
        self.delays.append(delay_s)
        self.now_s += delay_s


class Failing:
    """Fails with one error after the other, each after `takes_s`; then answers."""

    def __init__(self, clock: Clock, *errors: Exception, takes_s: float = 0.0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.takes_s = takes_s
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        self.clock.now_s += self.takes_s
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_what_works_at_once_is_done_once() -> None:
    """Without a delay, and without asking how long to go on."""
    clock = Clock()
    run = Failing(clock)
    assert await retry(run, (), for_s=lambda error: 1 / 0, now_s=clock, sleep=clock.sleep) == "done"
    assert (run.tries, clock.delays) == (1, [])


async def test_it_is_tried_again_after_each_delay_and_failures_are_told() -> None:
    """`on_failure` hears of every error that is retried, in order."""
    clock = Clock()
    errors = [OSError("one"), OSError("two")]
    told: list[Exception] = []
    done = await retry(
        Failing(clock, *errors),
        (1, 3, 9),
        for_s=lambda error: 60,
        now_s=clock,
        sleep=clock.sleep,
        on_failure=told.append,
    )
    assert (done, clock.delays, told) == ("done", [1, 3], errors)


async def test_an_error_that_may_not_pass_is_raised_at_once() -> None:
    """Also when the delay would be none."""
    clock = Clock()
    run = Failing(clock, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        await retry(run, repeat(0), for_s=lambda error: 0, now_s=clock, sleep=clock.sleep)
    assert run.tries == 1


@pytest.mark.parametrize(("takes_s", "tries"), [(0.0, 4), (0.5, 3), (4.0, 1)])
async def test_the_last_try_begins_within_the_time_from_the_first(takes_s: float, tries: int) -> None:
    """Time that a try takes counts; one that could only begin later is not waited for, and the last error raised."""
    clock = Clock()
    errors = [OSError(str(number)) for number in range(9)]
    run = Failing(clock, *errors, takes_s=takes_s)
    with pytest.raises(OSError, match=str(tries - 1)):
        await retry(run, repeat(1.0), for_s=lambda error: 3.0, now_s=clock, sleep=clock.sleep)
    assert run.tries == tries


async def test_the_time_depends_on_the_error() -> None:
    """What follows another kind of error is measured from the first try as well."""
    clock = Clock()
    run = Failing(clock, OSError(), OSError(), KeyError(), KeyError())
    with pytest.raises(KeyError):
        await retry(
            run, repeat(5), for_s=lambda error: 60 if isinstance(error, OSError) else 14, now_s=clock, sleep=clock.sleep
        )
    assert run.tries == 3


async def test_where_the_delays_end_the_tries_end() -> None:
    """Three delays are four tries."""
    clock = Clock()
    run = Failing(clock, *(OSError() for _ in range(9)))
    with pytest.raises(OSError):
        await retry(run, (1, 1, 1), for_s=lambda error: math.inf, now_s=clock, sleep=clock.sleep)
    assert run.tries == 4


async def test_a_cancelled_try_is_not_retried() -> None:
    """Neither is one that is cancelled in a delay."""
    clock = Clock()

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await retry(cancelled, repeat(1), for_s=lambda error: math.inf, now_s=clock, sleep=clock.sleep)
    assert clock.delays == []


def test_delays_double_up_to_the_longest() -> None:
    """From the first on."""
    delays = Delays(0.1, 1.0)
    found = [0.0]
    for _ in range(5):
        found.append(delays.after(found[-1]))
    assert found[1:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])


def test_spread_delays_stay_within_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """And grow as the others do, whatever chance says."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    monkeypatch.setattr("random.uniform", uniform)
    assert list(islice(Delays(1.0, 3.0).spread(0.5, 1.5), 3)) == [0.5, 1.0, 1.5]
    assert asked == [(0.5, 1.5), (1.0, 3.0), (1.5, 4.5)]
