"""The callers of a fleet, all of them together: rehearsal's callers, over the resuming client."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol

from voice_agent.client.backoff import Backoff
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.refusals import CallFailed, CallRefused, Unreachable
from voice_agent.client.sockets import Socket
from voice_agent.rehearse.caller import Manners, RehearsedCaller
from voice_agent.rehearse.conversation import Totals, totals
from voice_agent.retry import retry
from voice_agent.runtime.clock import SystemClock

COME_BACK_FOR_S = 90.0
FIRST_TRIES = 30
FINISH_S = 150.0
CallAgain = Callable[[int], RehearsedCaller[Any]]
"""Makes the next call on a line, by its number."""
MANNERS = Manners(frame_ms=40, spoken_ms=(200, 1640), thinks_s=(0.0, 0.5), answered_s=120.0, recorded_s=3.0)


class Balancer(Protocol):
    """A load balancer in front of pods, as far as callers see it."""

    async def open_socket(self, url: str, headers: Mapping[str, str]) -> Socket:
        """`client.sockets.OpenSocket` for ``ws://fleet``."""

    async def record(self, call_id: str) -> dict[str, Any]:
        """A call's record, from any pod; empty if nobody could say."""


class FleetCall(RealtimeCall):
    """A call to whatever pod the load balancer picks; its view is a moment old, so the first connect is tried often."""

    def __init__(self, fleet: Balancer) -> None:
        super().__init__(
            "ws://fleet/v1/realtime?resumable=1",
            model="echo",
            backoff=Backoff(COME_BACK_FOR_S),
            open_socket=self._open,
        )
        self.resumes: list[ResumedConnection] = []
        self.on_resumed = self.resumes.append
        self._fleet = fleet

    async def _open(self, url: str, headers: Mapping[str, str]) -> Socket:
        return await retry(
            lambda: self._fleet.open_socket(url, headers),
            repeat(0.25, FIRST_TRIES if self.call_id is None else 0),
            for_s=lambda error: math.inf if isinstance(error, CallRefused | Unreachable | OSError) else 0,
            now_s=time.monotonic,
            sleep=asyncio.sleep,
        )


def fleet_caller(name: str, fleet: Balancer, seed: int, manners: Manners = MANNERS) -> RehearsedCaller[FleetCall]:
    """One who talks to the agent `echo` of a fleet."""
    return RehearsedCaller(name, FleetCall(fleet), fleet.record, SystemClock(), seed, manners)


def fleet_callers(fleet: Balancer, seeds: Iterable[int]) -> list[RehearsedCaller[FleetCall]]:
    """One for each seed."""
    return [fleet_caller(f"caller-{seed}", fleet, seed) for seed in seeds]


@dataclass(slots=True)
class CallersVerdict:
    """What callers found, and what pods complained of meanwhile."""

    callers: list[RehearsedCaller[Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Errors in the pods' logs."""
    took_s: float = 0.0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)
    _on_line: list[RehearsedCaller[Any]] = field(default_factory=list)
    """Who talks now, or did last."""
    _talking: list[asyncio.Task[None]] = field(default_factory=list)
    """One for each line."""

    def begin(self, callers: Sequence[RehearsedCaller[Any]], again: CallAgain | None = None) -> None:
        """Have callers talk until `finish`; `again`: once one has hung up, the next."""
        self.callers, self._on_line = list(callers), list(callers)
        self._talking = [asyncio.create_task(self._talk(line, again)) for line in range(len(callers))]

    async def _talk(self, line: int, again: CallAgain | None) -> None:
        """One call after the other; the line is silent after one with which anything was wrong."""
        await self._on_line[line].run(self._enough.is_set)
        while again is not None and self._on_line[line].found.is_clean and not self._enough.is_set():
            caller = self._on_line[line] = again(line)
            self.callers.append(caller)
            await caller.run(self._enough.is_set)

    async def until_all_talk(self) -> None:
        """Wait until each has a call. Raises what one has ended with; `CallFailed` if that is no exception."""
        while any(caller.call.call_id is None for caller in self.callers):
            for caller, talking in zip(self._on_line, self._talking, strict=True):
                if talking.done():
                    talking.result()
                    raise CallFailed(caller.found.dropped)
            await asyncio.sleep(0.05)

    async def finish(self) -> None:
        """Have them end their calls; who does not get to the end in time is dropped."""
        self._enough.set()
        _, late = await asyncio.wait(self._talking, timeout=FINISH_S)
        for caller, task in zip(self._on_line, self._talking, strict=True):
            if task in late:
                caller.found.dropped = caller.found.dropped or f"got no further: {caller.waits}"
                task.cancel()
        ended = await asyncio.gather(*self._talking, return_exceptions=True)
        for caller, end in zip(self._on_line, ended, strict=True):
            if isinstance(end, Exception):
                caller.found.dropped = caller.found.dropped or repr(end)

    @property
    def totals(self) -> Totals:
        """What was wrong with what they got."""
        return totals([caller.found for caller in self.callers])

    @property
    def traffic(self) -> dict[str, int]:
        """How much was said."""
        return {
            "calls": len(self.callers),
            "turns": sum(caller.talk.turns for caller in self.callers),
            "events": sum(caller.call.tally.events for caller in self.callers),
            "resumes": sum(caller.call.tally.resumes for caller in self.callers),
        }

    @property
    def is_clean(self) -> bool:
        """Every caller got what it should, and no pod complained."""
        return not self.complaints and not self.bad_callers

    @property
    def bad_callers(self) -> list[str]:
        """Who did not get what it should, and what that was."""
        return [
            f"{caller.name} ({caller.call.call_id or 'no call'}): {caller.found}"
            for caller in self.callers
            if not caller.found.is_clean
        ]
