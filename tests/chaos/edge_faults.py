"""What is done to pods behind edges, one fault after the other: so what callers feel of each can be told apart."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.chaos.edge_fleet import EdgeFleet, gone_on
from tests.chaos.fleet import DRAIN_DEADLINE_S, LOOK_S, READY_S, Pod

LEAST_WELL = 3
"""A fault begins while so many pods are well: the one that is struck has others to hand its calls to."""
STOPPED_S = (0.2, 2.0, 9.0)
"""So long a pod stands still, or its wire is silent: less than anybody notices, and more."""
LEAST_OF_SHARE, MOST_OF_SHARE = 0.8, 1.2
"""Struck are pods with about their share of all calls: what a kill takes grows with the calls that a pod had, and says
nothing of a fleet that is evenly filled where it had few or most of them."""
EVEN_S = 1.5
"""After calls were moved, until pods have told how many they have."""
FELT_S = 0.7
"""After a fault until the next one, so that what callers feel of it is over."""
RESTART_S = 1.0
"""After its end a pod is started again, as soon as a container runtime does. What a start takes, a second of CPU, would
else fall into the moment of the resumes, on the same two cores."""


class Fault(NamedTuple):
    """One that was done."""

    began_s: float
    """In wall time."""
    kind: str
    pod: str
    calls: int = 0
    """Which the pod had then."""

    def __str__(self) -> str:
        return f"{self.began_s:.2f} {self.kind}: {self.pod} with {self.calls} calls"


Do = Callable[[Pod], Awaitable[None]]


class EdgeFaults:
    """`run` until it is enough; `done` says what was done when."""

    def __init__(self, fleet: EdgeFleet, chance: random.Random) -> None:
        self.done: list[Fault] = []
        self.moves: list[Fault] = []
        """No faults: pods whose calls were more than their share, from which some were moved."""
        self._fleet = fleet
        self._moving = asyncio.Lock()
        self._chance = chance

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(Counter(fault.kind for fault in self.done))

    @property
    def history(self) -> list[Fault]:
        """All that callers may have felt, in order."""
        return sorted(self.done + self.moves)

    async def run(self, enough: Callable[[], bool]) -> None:
        """One fault after the other; at the end all pods are well again."""
        async with asyncio.TaskGroup() as recovering:
            while not enough():
                well = [pod for pod in self._fleet.pods if pod.is_well]
                even = [pod for pod in well if self._has_its_share(pod)]
                if len(well) == len(self._fleet.pods) and not even:
                    await self._even_out()
                if len(well) < LEAST_WELL or not even or self._moving.locked():
                    # Nothing else goes on while what callers feel of a fault is timed.
                    await asyncio.sleep(LOOK_S / 4)
                    continue
                pod = self._chance.choice(even)
                await self._do_to(pod)
                recovering.create_task(self._recover(pod))
                # Nothing is waited for: what is felt of it from now on is not to be taken for the next fault's.
                await asyncio.sleep(FELT_S)

    def _has_its_share(self, pod: Pod) -> bool:
        share = sum(each.calls for each in self._fleet.pods) / len(self._fleet.pods)
        return LEAST_OF_SHARE * share <= pod.calls <= MOST_OF_SHARE * share

    async def storm(self, callers: int) -> float:
        """Kill half of the pods at once; returns after how many seconds each of their callers had another one."""
        async with asyncio.timeout(READY_S):
            while sum(pod.calls for pod in self._fleet.pods) < callers:  # They are looked at from time to time only.
                await asyncio.sleep(LOOK_S / 4)
        struck = self._fleet.pods[::2]
        calls = sum(pod.calls for pod in struck)
        for pod in struck:
            pod.busy = True
            pod.signal(signal.SIGKILL)
        began_s = time.time()
        self.done += [Fault(began_s, "storm", pod.name, pod.calls) for pod in struck]
        while len(served := self._served_since(began_s)) < calls or await self._fleet.away():
            await asyncio.sleep(LOOK_S / 4)
        for pod in struck:
            assert pod.process is not None
            await asyncio.to_thread(pod.process.wait)
            pod.health = {}
        await asyncio.gather(*(self._recover(pod) for pod in struck))
        return max(served) - began_s

    def _served_since(self, began_s: float) -> list[float]:
        """When calls went on elsewhere since then."""
        return [each.at_s for edge in self._fleet.edges for each in gone_on(edge) if each.at_s > began_s]

    async def _do_to(self, pod: Pod) -> None:
        kinds: list[tuple[str, Do, int]] = [
            ("kill -9", self._kill, 4),
            ("drain", self._drain, 4),
            ("stop", self._stop, 2),
        ]
        if pod.name in self._fleet.wires:
            kinds += [("partition", self._partition, 4), ("cut", self._cut, 2)]
        kind, do, _ = self._chance.choices(kinds, [weight for *_, weight in kinds])[0]
        pod.busy = True
        self.done.append(Fault(time.time(), kind, pod.name, pod.calls))
        await do(pod)

    async def _recover(self, pod: Pod) -> None:
        # Nothing is waited for: see above.
        await asyncio.sleep(0.0 if pod.runs else RESTART_S)
        await self._fleet.start(pod)
        await self._fleet.until_well([pod])
        pod.busy = False
        await self._even_out()

    async def _even_out(self) -> None:
        """What an operator does once a pod is back: else calls stay where they went, nearly all of them on one pod."""
        async with self._moving:
            # One that is struck has no newer entry than that: its callers wait for the fault.
            well = frozenset(pod.name for pod in self._fleet.pods if pod.is_well)
            moves = await self._fleet.plan(well)
            still = {pod.name for pod in self._fleet.pods if pod.is_well}
            moves = [move for move in moves if move.source in still]
            sources = {move.source for move in moves}
            given = [pod for pod in self._fleet.pods if pod.name in sources]
            self.moves += [Fault(time.time(), "move", pod.name, pod.calls) for pod in given]
            if moves:
                await self._fleet.move(moves)
                # Nothing is waited for: who plans before would move the same calls again.
                await asyncio.sleep(EVEN_S)

    async def _kill(self, pod: Pod) -> None:
        assert pod.process is not None
        pod.signal(signal.SIGKILL)
        await asyncio.to_thread(pod.process.wait)
        pod.health = {}

    async def _drain(self, pod: Pod) -> None:
        assert pod.process is not None
        pod.signal(signal.SIGTERM)
        async with asyncio.timeout(2 * DRAIN_DEADLINE_S):
            await asyncio.to_thread(pod.process.wait)
        pod.health = {}

    async def _stop(self, pod: Pod) -> None:
        pod.signal(signal.SIGSTOP)
        # Nothing is waited for: so long a fault lasts.
        await asyncio.sleep(self._chance.choice(STOPPED_S))
        pod.signal(signal.SIGCONT)

    async def _partition(self, pod: Pod) -> None:
        wire = self._fleet.wires[pod.name]
        wire.signal(signal.SIGSTOP)
        # As above.
        await asyncio.sleep(self._chance.choice(STOPPED_S))
        wire.signal(signal.SIGCONT)

    async def _cut(self, pod: Pod) -> None:
        wire = self._fleet.wires[pod.name]
        wire.close()
        wire.open()
