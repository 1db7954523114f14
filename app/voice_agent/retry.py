"""Trying again what may pass: how long to wait between tries, and for how long to go on.

`Delays` is the schedule, for those who keep time themselves (a supervisor, a probe). `retry` does the whole loop
with a clock and a sleep that are given. It is no library's: tenacity, which stamina is built on, takes the time
from `time.monotonic` itself, and so do others; tests and simulations bring a clock of their own here.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delays:
    """`first_s`, then twice as long each time, up to `longest_s`."""

    first_s: float
    longest_s: float

    def after(self, last_s: float) -> float:
        """The delay that follows one of `last_s`; 0 stands for none yet."""
        return min(self.longest_s, max(self.first_s, 2 * last_s))

    def spread(self, low: float, high: float) -> Iterator[float]:
        """The delays without end, each times a random number from `low` to `high`, so that clients do not keep step."""
        delay_s = 0.0
        while True:
            delay_s = self.after(delay_s)
            yield random.uniform(low * delay_s, high * delay_s)  # noqa: S311 - spreads clients; no secret


async def retry(
    run: Callable[[], Awaitable[T]],
    delays: Iterable[float],
    *,
    for_s: Callable[[Exception], float],
    now_s: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    on_failure: Callable[[Exception], None] = lambda error: None,
) -> T:
    """`run` until it returns. Raises its last error once that cannot be retried.

    `for_s` says of an error how long after the first try the last one may begin; 0: this error is not retried. Where
    `delays` end, so do the tries. `on_failure` is told of each error that is retried, before the delay.

    Cancelled, it leaves what `run` leaves.
    """
    began_s = now_s()
    waits = iter(delays)
    while True:
        try:
            return await run()
        except Exception as error:
            most_s = for_s(error)
            delay_s = next(waits, None)
            if delay_s is None or most_s <= 0 or now_s() + delay_s > began_s + most_s:
                raise
            on_failure(error)
        await sleep(delay_s)
