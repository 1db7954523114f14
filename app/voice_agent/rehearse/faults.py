"""What is done to pods while edges hold the callers: each time to the one that serves most of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.callers import Callers
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.timeline import PodFault
from voice_agent.runtime.ports import Clock

MOVED_S = 60.0
"""Callers who are not served by another pod after so long will not be."""
LOOK_S = 0.05


class PodFaults:
    """`kill`, `stop` and `drain`, one after the other; each waits until all callers are served elsewhere."""

    def __init__(
        self, environment: RehearsalEnvironment, callers: Callers, clock: Clock, mark: Callable[[str, str], None]
    ) -> None:
        """`mark` puts something on the timeline: a kind of `timeline.Mark`, and a text."""
        self.done: list[PodFault] = []
        self._environment = environment
        self._callers = callers
        self._clock = clock
        self._mark = mark

    async def kill(self) -> None:
        """kill -9."""
        pod, calls = await self._busiest()
        self._mark("crash", f"kill -9 {pod}")
        began_s = self._clock.monotonic_s()
        await self._environment.kill(pod)
        await self._until_empty("kill -9", pod, calls, began_s)
        await self._environment.start(self._environment.pods[pod])

    async def stop(self) -> None:
        """SIGSTOP: connections to it stand, and nothing comes; SIGCONT once nobody waits for it."""
        pod, calls = await self._busiest()
        self._mark("crash", f"stop {pod}")
        began_s = self._clock.monotonic_s()
        self._environment.pause(pod)
        try:
            await self._until_empty("stop", pod, calls, began_s)
        finally:
            self._environment.unpause(pod)

    async def drain(self) -> None:
        """SIGTERM, and another process in its place."""
        pod, calls = await self._busiest()
        self._mark("crash", f"drain {pod}")
        began_s = self._clock.monotonic_s()
        leaving = asyncio.create_task(self._environment.drain(pod))
        try:
            await self._until_empty("drain", pod, calls, began_s)
            await leaving
        finally:
            leaving.cancel()
        await self._environment.start(self._environment.pods[pod])

    async def _busiest(self) -> tuple[str, int]:
        """The pod with most callers of edges, and how many. Raises `CutoverError` if there are none any more."""
        until_s = self._clock.monotonic_s() + MOVED_S
        while not (found := self._callers.on_pods()):
            if self._clock.monotonic_s() > until_s:
                raise CutoverError("no caller of an edge is served by any pod")
            await self._clock.sleep(LOOK_S)
        return found.most_common(1)[0]

    async def _until_empty(self, what: str, pod: str, calls: int, began_s: float) -> None:
        """Notes how long it took; that it took too long is the verdict's to say."""
        while self._callers.on_pods()[pod]:
            if self._clock.monotonic_s() - began_s > MOVED_S:
                self.done.append(PodFault(what, pod, calls, None))
                return
            await self._clock.sleep(LOOK_S)
        self.done.append(PodFault(what, pod, calls, self._clock.monotonic_s() - began_s))
