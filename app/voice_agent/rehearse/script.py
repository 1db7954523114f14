"""The script of a rehearsal: what is done to pods while people talk, in which order.

::

    warm-up > blue to green > calm, or a pod killed, one stopped, one drained > back to blue
            > a green that fails its smoke call: rolled back > to green again, with one blue pod killed in the middle
            > the last turns

All cutovers run through the command line. With edges, pods are killed, stopped and drained under all who talk. Without
them a caller that cannot come back loses its call with its pod, whatever anybody does; what a cutover must do is wait
for its end. So the pod that is killed holds only calls that can be resumed by then: from the cutover before on it is
spared new ones, and those that cannot resume have ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.callers import LAST_CALLS_S, Callers, Clients
from voice_agent.rehearse.cutovers import Outcome, cut_over
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.faults import PodFaults
from voice_agent.rehearse.figures import RehearsalRecording, ScriptedCutover
from voice_agent.rehearse.timeline import Mark
from voice_agent.runtime.ports import Clock

DRAIN_DEADLINE_S = 45
CALM_S = 5.0
VICTIM = "blue-2"
FAULTY = "echo"
"""The agent of the faulty release: it says back what it hears, and understands nothing."""
FOLLOW_S = 0.25
"""How often the edges are asked which calls have moved, for whoever looks on."""


@dataclass(frozen=True, slots=True)
class RehearsalPlan:
    """What is to be played."""

    callers: int = 40
    clients: Clients = Clients.MIXED
    edges: int = 2
    is_short: bool = False
    """Only one cutover, from blue to green, and no smoke call."""
    warm_up_s: float = 8.0
    last_turns_s: float = 5.0
    plain_call_s: tuple[float, float] = (8.0, 24.0)
    """A call that cannot resume, and that no edge holds, begins its last turn between these: it ends well within the
    drain's deadline."""

    def shortened(self) -> RehearsalPlan:
        """What takes half a minute."""
        return replace(self, is_short=True, warm_up_s=3.0, last_turns_s=2.0, plain_call_s=(1.0, 4.0))


class Rehearsal:
    """Runs the script in an environment. `recording` is filled while it runs, for whoever looks on."""

    def __init__(self, plan: RehearsalPlan, environment: RehearsalEnvironment, directory: Path, clock: Clock) -> None:
        self.recording = RehearsalRecording(plan.callers, cutovers_planned=1 if plan.is_short else 4)
        self.phase = "starting"
        self.callers = Callers(
            plan.clients,
            plan.callers,
            environment,
            self.recording,
            clock,
            lambda: self.now_s,
            short_call_s=plan.plain_call_s,
        )
        self._plan = plan
        self._environment = environment
        self._faults = PodFaults(environment, self.callers, clock, self._mark)
        self._log = directory / "cutovers.log"
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.recording.faults = self._faults.done

    @property
    def now_s(self) -> float:
        """Seconds since it began."""
        return self._clock.monotonic_s() - self._began_s

    async def run(self) -> None:
        """Start the environment, run the script, and stop all at the end. Raises `CutoverError`, `SettingsError`."""
        self._mark("phase", "starting")
        try:
            await self._environment.open()
            # Time begins with the calls.
            self._began_s = self._clock.monotonic_s()
            self.recording.marks.clear()
            await self._play()
            self.recording.complaints = self._environment.complaints()
        finally:
            await self._environment.close()
        self.recording.seconds = self.now_s

    async def _play(self) -> None:
        calling = asyncio.create_task(self.callers.talk())
        following = asyncio.create_task(self._follow())
        try:
            await self._cutovers()
            self._begin("the last turns")
            await self._clock.sleep(self._plan.last_turns_s)
            self.callers.finish()
            await asyncio.wait({calling}, timeout=LAST_CALLS_S)
            if not calling.done():
                raise CutoverError(f"{len(self.callers.live)} callers did not come to an end")
            calling.result()
            self.callers.follow_edges()
            self.recording.edges = await self._environment.edges.counts()
        finally:
            for task in (calling, following):
                task.cancel()
            await asyncio.gather(calling, following, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            self.callers.follow_edges()
            await self._clock.sleep(FOLLOW_S)

    # --- the cutovers -------------------------------------------------------------------

    async def _cutovers(self) -> None:
        self._begin("warm-up")
        await self._clock.sleep(self._plan.warm_up_s)
        await self.callers.until_all_talk()
        if not await self._cut_over("blue to green", "green") or self._plan.is_short:
            return
        await self._between_cutovers()
        if not await self._cut_over("back to blue", "blue"):
            return
        self._begin("a faulty release is deployed to green")
        if not self._plan.edges:
            await self._environment.balancer.spare(VICTIM)
        await self._environment.redeploy("green", agent=FAULTY)
        before = self.callers.moves
        if not await self._cut_over("the faulty green", "green", is_to_fail=True):
            return
        self.recording.moved_by_rollback = self.callers.moves - before
        self._begin("a good release is deployed to green")
        await self._environment.redeploy("green")
        if not self._plan.edges:
            self._begin(f"calls on {VICTIM} that cannot resume come to their end")
            await self.callers.until_only_resumable(VICTIM)
        await self._cut_over(f"to green, {VICTIM} killed", "green", crash=VICTIM)

    async def _between_cutovers(self) -> None:
        if not self._plan.edges:
            self._begin("calm")
            await self._clock.sleep(CALM_S)
            return
        for phase, do in (
            ("a pod is killed", self._faults.kill),
            ("a pod is stopped", self._faults.stop),
            ("a pod is drained", self._faults.drain),
        ):
            self._begin(phase)
            await do()
            await self._clock.sleep(CALM_S)

    async def _cut_over(self, title: str, to: str, *, is_to_fail: bool = False, crash: str = "") -> bool:
        """One cutover; whether it ended as planned. A crash happens under the new weights, before the drain."""
        self._begin(title)
        crashing: list[asyncio.Task[None]] = []

        def read(line: dict[str, Any]) -> None:
            if line["event"] != "step":
                return
            self.phase = f"{title}: {line['step']}"
            self._mark("shift" if line["step"] == "shift" else "step", f"{title}: {line['step']}")
            if line["step"] == "hold" and crash and not crashing:
                crashing.append(asyncio.create_task(self._crash(crash)))

        outcome = await cut_over(
            self._environment, to, DRAIN_DEADLINE_S, self._log, read, smoke=not self._plan.is_short
        )
        for task in crashing:
            await task
        self.recording.cutovers.append(ScriptedCutover(title, outcome, is_to_fail, crash if crashing else ""))
        self._mark("over", f"{title}: {_ending(outcome)}")
        return self.recording.cutovers[-1].is_as_planned

    async def _crash(self, name: str) -> None:
        self._mark("crash", f"kill -9 {name}")
        await self._environment.kill(name)
        await self._environment.start(self._environment.pods[name])
        self._mark("step", f"{name} is back")

    def _begin(self, phase: str) -> None:
        self.phase = phase
        self._mark("phase", phase)

    def _mark(self, kind: str, text: str) -> None:
        self.recording.marks.append(Mark(self.now_s, kind, text))


def _ending(outcome: Outcome) -> str:
    return "done" if outcome.ok else f"exit {outcome.status}: {outcome.reason}"
