"""What is done to the fleet, one fault at a time to each pod.

A pod that is cut off from the store lets events out that no store has (design, section 3.6).
Only while it lives are they promised to anybody; so nothing that the contract excuses is done
here: a pod is not killed, and its callers are not cut off, while it cannot reach the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import httpx

from tests.chaos.caller import FleetCall
from tests.chaos.fleet import DRAIN_DEADLINE_S, Fleet, Pod
from tests.chaos.proxy import Weather
from tests.replicated import SentinelSet
from voice_agent.rehearse.caller import RehearsedCaller

OUTAGE_S = 30.0
AT_ONCE = 2
"""So many pods may be in trouble at a time."""
EVERY_S = 0.35


class Faults:
    """`run` until it is enough; `history` says what was done when."""

    def __init__(
        self,
        fleet: Fleet,
        store: SentinelSet,
        callers: Sequence[RehearsedCaller[FleetCall]],
        chance: random.Random,
        *,
        outage_s: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.history: list[str] = []
        self._fleet = fleet
        self._store = store
        self._callers = callers
        self._chance = chance
        self._outage_s = outage_s
        self._began_s = time.monotonic()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, enough: asyncio.Event, store_wide_at_s: Sequence[tuple[float, str]]) -> None:
        """Do faults to pods and callers; at the times given, do one to the whole store."""
        due = list(store_wide_at_s)
        try:
            while not enough.is_set():
                if due and time.monotonic() - self._began_s >= due[0][0]:
                    await self._quiet()
                    await self._do_to_store(due.pop(0)[1])
                self._do_to_somebody()
                await asyncio.sleep(self._chance.uniform(0.5, 1.5) * EVERY_S)
        finally:
            await self._quiet()

    async def _quiet(self) -> None:
        while self._under_way:
            done, _ = await asyncio.wait(self._under_way)
            for task in done:
                task.result()
            self._under_way -= done

    def _note(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self.history.append(f"{time.monotonic() - self._began_s:7.2f} s  {kind}: {what}")

    # --- one pod or one caller -------------------------------------------------------

    def _do_to_somebody(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            self._under_way.remove(task)
            task.result()
        well = [pod for pod in self._fleet.pods if pod.is_well]
        if well and (len(self._under_way) >= AT_ONCE or self._chance.random() < 0.5):
            self._cut_caller({pod.name for pod in well})
            return
        if len(self._under_way) >= AT_ONCE or len(well) < len(self._fleet.pods) - AT_ONCE + 1:
            return
        pod = self._chance.choice(well)
        kinds: list[tuple[str, Callable[[Pod], Awaitable[None]], int]] = [
            ("kill -9", self._kill, 4),
            ("stop and continue", self._stop, 3),
            ("drain by SIGTERM", self._drain, 2),
            ("drain, cancelled", self._drain_and_cancel, 1),
            ("partition: refused", self._weather(Weather.REFUSED), 1),
            ("partition: silent", self._weather(Weather.SILENT), 1),
            ("partition: answers lost", self._weather(Weather.NO_ANSWERS), 2),
            ("slow store", self._weather(Weather.SLOW), 1),
        ]
        kind, do, _ = self._chance.choices(kinds, [weight for *_, weight in kinds])[0]
        self._note(kind, pod.name)
        pod.busy = True
        self._under_way.add(asyncio.create_task(self._do(do, pod)))

    async def _do(self, do: Callable[[Pod], Awaitable[None]], pod: Pod) -> None:
        await do(pod)
        await self._fleet.until_well([pod])
        pod.busy = False

    def _cut_caller(self, pods: set[str]) -> None:
        there = [caller for caller in self._callers if caller.call.pod in pods]
        if there:
            caller = self._chance.choice(there)
            self._note("connection cut", f"{caller.name} on {caller.call.pod}")
            caller.call.lose_connection()

    async def _pass(self, shortest_s: float, longest_s: float) -> None:
        # Nothing is waited for: so long a fault lasts.
        await asyncio.sleep(self._chance.uniform(shortest_s, longest_s))

    async def _kill(self, pod: Pod) -> None:
        assert pod.process is not None
        pod.signal(signal.SIGKILL)
        await asyncio.to_thread(pod.process.wait)
        pod.health = {}
        await self._pass(0.1, 1.5)
        await self._fleet.start(pod)

    async def _stop(self, pod: Pod) -> None:
        pod.signal(signal.SIGSTOP)
        await self._pass(0.1, 2.0)
        if self._chance.random() < 0.7:
            # They come back elsewhere while this pod still believes that it has them.
            for caller in self._callers:
                if caller.call.pod == pod.name:
                    caller.call.lose_connection()
        await self._pass(0.1, 3.0)
        pod.signal(signal.SIGCONT)

    async def _drain(self, pod: Pod) -> None:
        assert pod.process is not None
        pod.signal(signal.SIGTERM)
        async with asyncio.timeout(2 * DRAIN_DEADLINE_S):
            await asyncio.to_thread(pod.process.wait)
        pod.health = {}
        await self._fleet.start(pod)

    async def _drain_and_cancel(self, pod: Pod) -> None:
        request = {"mode": "handoff", "deadline_s": DRAIN_DEADLINE_S}
        with contextlib.suppress(httpx.HTTPError):
            await self._fleet.http.post(f"{pod.http}/admin/drain", json=request)
        await self._pass(0.2, 4.0)
        with contextlib.suppress(httpx.HTTPError):
            await self._fleet.http.delete(f"{pod.http}/admin/drain")

    def _weather(self, weather: Weather) -> Callable[[Pod], Awaitable[None]]:
        async def spell(pod: Pod) -> None:
            pod.become(weather)
            longest_s = self._chance.choice((0.3, 1.0, 4.0))
            await self._pass(longest_s / 2, longest_s)
            pod.become(Weather.FINE)

        return spell

    # --- the whole store ------------------------------------------------------------

    async def _do_to_store(self, kind: str) -> None:
        await self._fleet.until_well()
        for pod in self._fleet.pods:
            pod.busy = True
        if kind == "failover":
            self._note("failover by Sentinel", "kill -9 of the master")
            killed = await asyncio.to_thread(self._store.kill_master)
            await asyncio.to_thread(self._store.await_failover, killed)
            await asyncio.to_thread(self._store.revive, killed)
            # Until then the store goes away again and again, and who is killed then takes what it has shown along.
            await asyncio.to_thread(self._store.await_settled)
        else:
            self._note(f"store away for {self._outage_s:g} s", "from all pods")
            for number, pod in enumerate(self._fleet.pods):
                pod.become(Weather.REFUSED if number % 2 else Weather.SILENT)
            await self._pass(self._outage_s, self._outage_s)
            for pod in self._fleet.pods:
                pod.become(Weather.FINE)
        await self._fleet.until_well()
        for pod in self._fleet.pods:
            pod.busy = False
