"""A run: so many paced calls at one server for some seconds, and the server's CPU over just that time.

The generator polls its sockets between two sends instead of waiting for them: waking a process that waits is work the
kernel does in the sender's name, up to 4 µs a frame, and would be billed to the server. It sleeps by the clock between
two looks: the store beside it must not wait for the core, or its round trips take the length of a scheduler's slice.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep

from loadtest.peers.caller import FRAME_S, AnyCaller, Caller, Tally, connected
from loadtest.peers.dialects import dialect
from loadtest.peers.environment import Server, Store
from loadtest.peers.holding import AT_ONCE, upgrade_request

TICKS = 20
"""Calls are spread over the 20 ms of a frame in so many groups."""
WARMUP_S = 1.0
WARMUP_PER_CALL_S = 0.002
"""A store that shares the callers' core writes a thousand new calls for a while."""
POLL_S = 0.0001
"""Between two looks at the sockets, with what the kernel adds: a tick is ten times as long."""
DRAIN_S = 1.0
"""So long at most the last echoes are waited for; what is not there then is missing."""
LAG_LIMIT_S = 0.01
"""A generator that is later than this, half a frame, in one of a hundred ticks, measures itself. It is not less
because the store beside it takes some milliseconds in one piece to write what hundreds of calls said."""
P99_LIMIT_S = 0.02
CONNECT_S = 30.0
MOST_AT_ONCE = 32


@dataclass(frozen=True)
class Load:
    """What one run saw."""

    calls: int
    seconds: float
    us_per_frame: float
    """CPU of the server, one frame in and one out."""
    core: float
    """Share of one core that the server used."""
    store_us: float | None
    """CPU of the store for each frame; None without a store."""
    p99_s: float
    lag_p99_s: float
    wrong: int
    missing: int
    lost: int
    pss_kb: int
    """The server's memory while the calls talked."""

    @property
    def counts(self) -> bool:
        """Whether the generator kept its own time."""
        return self.lag_p99_s <= LAG_LIMIT_S

    @property
    def fault(self) -> str:
        """Why the run was not sound; empty if it was."""
        if not self.counts:
            return f"the generator was {self.lag_p99_s * 1e3:.0f} ms late with {self.calls} calls"
        named = {"damaged, repeated or swapped": self.wrong, "not back in time": self.missing, "cut off": self.lost}
        return ", ".join(f"{number} {name} with {self.calls} calls" for name, number in named.items() if number)

    @property
    def quick(self) -> bool:
        """Whether it was sound and its 99th percentile below 20 ms."""
        return not self.fault and self.p99_s < P99_LIMIT_S


async def run_load(server: Server, store: Store | None, calls: int, seconds: float) -> Load:
    """Connect, warm up, measure, hang up. Raises `TimeoutError`, `Refused`."""
    tally, speech = Tally(), dialect(server.contender.dialect)
    callers = await connect_all(
        server, [lambda connection, rest: Caller(connection, rest, speech, tally) for _ in range(calls)]
    )
    async with paced(callers) as pace:
        used = await measured(pace, tally, server, store, WARMUP_S + WARMUP_PER_CALL_S * calls, seconds)
        await pace.drain()
    return Load(
        calls=calls,
        seconds=seconds,
        us_per_frame=used.us_per_frame,
        core=used.core,
        store_us=used.store_us,
        p99_s=percentile(tally.latencies_s, 99),
        lag_p99_s=percentile(pace.lags_s, 99),
        wrong=tally.wrong,
        missing=sum(caller.sent - caller.heard for caller in callers),
        lost=tally.lost,
        pss_kb=used.pss_kb,
    )


@dataclass(frozen=True)
class Used:
    """What server and store used while a run was measured."""

    us_per_frame: float
    core: float
    store_us: float | None
    store_bytes: float | None
    """Sent to the store, a frame."""
    pss_kb: int


async def measured(
    pace: Pace, tally: Tally, server: Server, store: Store | None, warmup_s: float, seconds: float
) -> Used:
    """Let the callers talk for so long, of which the warm-up is in no figure but the counts of faults."""
    await pace.keep(warmup_s)
    tally.forget_times()
    pace.lags_s.clear()
    sent_bytes = store.received_bytes() if store else 0
    received, cpu_s, store_s = tally.received, server.cpu_s(), store.cpu_s() if store else 0.0
    await pace.keep(seconds)
    received, cpu_s = max(1, tally.received - received), server.cpu_s() - cpu_s
    store_us = (store.cpu_s() - store_s) / received * 1e6 if store else None
    store_bytes = (store.received_bytes() - sent_bytes) / received if store else None
    return Used(cpu_s / received * 1e6, cpu_s / seconds, store_us, store_bytes, server.pss_kb())


@contextlib.asynccontextmanager
async def paced(callers: Sequence[Caller]) -> AsyncIterator[Pace]:
    """The clock of these callers, who hang up at the end; no collection of garbage makes it late meanwhile."""
    pace = Pace(callers)
    gc.collect()
    gc.disable()
    try:
        yield pace
    finally:
        gc.enable()
        pace.close()
        for caller in callers:
            caller.hang_up()


class Pace:
    """Sends each call's next frame when it is due, and listens in between."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._callers = {caller.connection.fileno(): caller for caller in callers}
        self._poll = select.epoll()
        for fd in self._callers:
            self._poll.register(fd, select.EPOLLIN)
        self._groups = [callers[start::TICKS] for start in range(TICKS)]
        self._tick_s = FRAME_S / TICKS
        self._begin_s = perf_counter() + self._tick_s
        self._tick = 0
        self.lags_s: list[float] = []
        """How late each tick was."""
        for number, group in enumerate(self._groups):
            for caller in group:
                caller.first_due_s = self._begin_s + number * self._tick_s

    async def keep(self, seconds: float) -> None:
        """Go on for so long; whoever else runs on the event loop gets a turn every 20 ms."""
        end_tick = self._tick + round(seconds / self._tick_s)
        while self._tick < end_tick:
            due_s = self._begin_s + self._tick * self._tick_s
            self.listen()
            while perf_counter() < due_s:
                sleep(POLL_S)  # noqa: ASYNC251 - nothing else may run meanwhile but the store, a process of its own
                self.listen()
            self.lags_s.append(perf_counter() - due_s)
            for caller in self._groups[self._tick % TICKS]:
                caller.say()
            self._tick += 1
            if self._tick % TICKS == 0:
                await asyncio.sleep(0)

    def listen(self) -> None:
        """Read from the callers who have something, not so many that a tick would be late for it."""
        for fd, _ in self._poll.poll(0, MOST_AT_ONCE):
            caller = self._callers[fd]
            caller.listen()
            if caller.cut_off:
                self._poll.unregister(fd)

    async def drain(self) -> None:
        """Wait for the last echoes, `DRAIN_S` at most."""
        deadline_s = perf_counter() + DRAIN_S
        callers = self._callers.values()
        while perf_counter() < deadline_s and any(caller.heard < caller.sent for caller in callers):
            self.listen()
            await asyncio.sleep(0)

    def close(self) -> None:
        """Let go of the sockets; they stay open."""
        self._poll.close()


async def find_most(run: Callable[[int], Awaitable[Load]], guess: int, most: int) -> tuple[int, str]:
    """The most calls that stay quick, within 4 %, and what stopped it if that was the generator and not the server.

    A run that was not quick is repeated once: one hiccup of the machine is not a limit. 0: not even one call was.
    """
    low, high, calls = 0, most + 1, max(1, min(guess, most))
    stopped = ""
    while high - low > max(1, low * 0.04):
        seen = await run(calls)
        if not seen.quick:
            seen = await run(calls)
        if seen.quick:
            low = calls
        else:
            high = calls
            stopped = "" if seen.counts else f"{seen.fault}, so its most calls are more than shown"
        if high > most:
            calls = min(most, round(low * 1.15) + 1)
        elif low == 0:
            calls = max(1, round(high * 0.8))
        else:
            calls = (low + high) // 2
        if calls in {low, high}:
            break
    if low == most:
        stopped = f"no more than {most} calls were tried"
    return low, stopped


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of 100 do not pass (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def connect_all(server: Server, makers: Sequence[Callable[[socket.socket, bytes], AnyCaller]]) -> list[AnyCaller]:
    """A caller of each maker. Raises `TimeoutError`, `Refused`."""
    request = upgrade_request(server.url, server.headers)
    address = ("127.0.0.1", server.port)
    callers: list[AnyCaller] = []
    async with asyncio.timeout(CONNECT_S):
        for start in range(0, len(makers), AT_ONCE):
            some = makers[start : start + AT_ONCE]
            callers += await asyncio.gather(*(connected(address, request, make) for make in some))
    return callers
