"""The script of a rehearsal: who calls, what is done to them, in which order.

::

    warm-up > blue to green > calm > back to blue > a green that fails its smoke call: rolled back
            > to green again, with one blue pod killed in the middle > the last turns

All cutovers run through the command line. The pod that is killed holds only calls that can
be resumed by then: from the cutover before on it is spared new ones, and those that cannot
resume have ended. A caller that cannot come back loses its call with its pod, whatever
anybody does; what a cutover must do is wait for his end, and that is what is tested.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from openai import AsyncOpenAI

from voice_agent.operate.ports import CutoverError
from voice_agent.rehearse.caller import Caller
from voice_agent.rehearse.clients import BrowserClient, PlainClient, RehearsalClient, SdkClient
from voice_agent.rehearse.cutovers import Outcome, cut_over
from voice_agent.rehearse.environment import RehearsalEnvironment
from voice_agent.rehearse.figures import CallResult, RehearsalRecording, ScriptedCutover
from voice_agent.rehearse.rehearsed_call import RehearsedCall
from voice_agent.rehearse.timeline import CallLine, Mark
from voice_agent.runtime.ports import Clock

DRAIN_DEADLINE_S = 45
CALM_S = 5.0
BROWSER_CALL_S = (30.0, 60.0)
BETWEEN_CALLS_S = (0.2, 1.0)
VICTIM = "blue-2"
FAULTY = "echo"
"""The agent of the faulty release: it says back what it hears, and understands nothing."""
LAST_CALLS_S = 90.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class RehearsalPlan:
    """What is to be played."""

    callers: int = 40
    is_short: bool = False
    """Only one cutover, from blue to green, and no smoke call."""
    warm_up_s: float = 8.0
    last_turns_s: float = 5.0
    plain_call_s: tuple[float, float] = (8.0, 24.0)
    """A call that cannot resume begins its last turn between these: it ends well within the drain's deadline."""
    seed: int = 0

    @staticmethod
    def short(callers: int) -> RehearsalPlan:
        """What takes half a minute."""
        return RehearsalPlan(callers, is_short=True, warm_up_s=3.0, last_turns_s=2.0, plain_call_s=(1.0, 4.0))


class Rehearsal:
    """Runs the script in an environment. `recording` is filled while it runs, for whoever looks on."""

    def __init__(self, plan: RehearsalPlan, environment: RehearsalEnvironment, directory: Path, clock: Clock) -> None:
        self.recording = RehearsalRecording(plan.callers, cutovers_planned=1 if plan.is_short else 4)
        self.phase = "starting"
        self.live: dict[int, Caller[RehearsedCall]] = {}
        """Calls under way, by the number of their caller."""
        self.dropped = 0
        self._plan = plan
        self._environment = environment
        self._log = directory / "cutovers.log"
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._enough = False
        self._chance = random.Random(plan.seed)  # noqa: S311  # who talks when, not a secret

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
        base_url = self._environment.balancer.calls.replace("ws:", "http:").removesuffix("/realtime")
        async with AsyncOpenAI(base_url=base_url, api_key="unused") as sdk:
            callers = [asyncio.create_task(self._call_again(number, sdk)) for number in range(self._plan.callers)]
            try:
                await self._cutovers()
                self._begin("the last turns")
                await self._clock.sleep(self._plan.last_turns_s)
                self._enough = True
                _, late = await asyncio.wait(callers, timeout=LAST_CALLS_S)
                if late:
                    raise CutoverError(f"{len(late)} callers did not come to an end")
                for caller in callers:
                    caller.result()
            finally:
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)

    # --- the cutovers -------------------------------------------------------------------

    async def _cutovers(self) -> None:
        self._begin("warm-up")
        await self._clock.sleep(self._plan.warm_up_s)
        await self._until_all_talk()
        if not await self._cut_over("blue to green", "green") or self._plan.is_short:
            return
        self._begin("calm")
        await self._clock.sleep(CALM_S)
        if not await self._cut_over("back to blue", "blue"):
            return
        self._begin("a faulty release is deployed to green")
        await self._environment.balancer.spare(VICTIM)
        await self._environment.redeploy("green", agent=FAULTY)
        before = self._moves()
        if not await self._cut_over("the faulty green", "green", is_to_fail=True):
            return
        self.recording.moved_by_rollback = self._moves() - before
        self._begin("a good release is deployed to green")
        await self._environment.redeploy("green")
        self._begin(f"calls on {VICTIM} that cannot resume come to their end")
        await self._until_only_resumable(VICTIM)
        await self._cut_over(f"to green, {VICTIM} killed", "green", crash=VICTIM)

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

    async def _until_all_talk(self) -> None:
        while any(caller.talk.turns < 2 and not caller.found.dropped for caller in self.live.values()):
            await self._clock.sleep(LOOK_S)

    async def _until_only_resumable(self, pod: str) -> None:
        while any(caller.call.line.kind == "plain" and caller.call.line.is_on == pod for caller in self.live.values()):
            await self._clock.sleep(LOOK_S)

    def _moves(self) -> int:
        """How often any call changed its connection so far."""
        ended = sum(call.resumes for call in self.recording.calls)
        return ended + sum(caller.call.tally.resumes for caller in self.live.values())

    def _begin(self, phase: str) -> None:
        self.phase = phase
        self._mark("phase", phase)

    def _mark(self, kind: str, text: str) -> None:
        self.recording.marks.append(Mark(self.now_s, kind, text))

    # --- the callers ----------------------------------------------------------------------

    async def _call_again(self, number: int, sdk: AsyncOpenAI) -> None:
        """One caller's calls, one after the other, until it is enough. After a dropped call he gives up."""
        kind = kind_of(number)
        cookies: dict[str, str] = {}
        # Not all at once, as in real life.
        await self._clock.sleep(number / self._plan.callers * min(4.0, self._plan.warm_up_s / 2))
        while not self._enough:
            seed = self._chance.randrange(2**32)
            client, name = self._client(kind, number, sdk, cookies), f"{kind}-{number}"
            call = RehearsedCall(client, CallLine(name, kind), lambda: self.now_s)
            caller = Caller(name, call, self._environment.record, self._clock, seed)
            self.live[number] = caller
            longest_s = {"plain": self._plan.plain_call_s, "browser": BROWSER_CALL_S}.get(kind)
            until_s = self._clock.monotonic_s() + self._chance.uniform(*longest_s) if longest_s else float("inf")
            try:
                await caller.run(self._is_enough(until_s))
            finally:
                del self.live[number]
            self.recording.calls.append(
                CallResult(call.line, caller.found, caller.talk.turns, call.tally.events, call.tally.resumes)
            )
            if caller.found.dropped:
                self.dropped += 1
                return
            await self._clock.sleep(self._chance.uniform(*BETWEEN_CALLS_S))

    def _is_enough(self, until_s: float) -> Callable[[], bool]:
        return lambda: self._enough or self._clock.monotonic_s() > until_s

    def _client(self, kind: str, number: int, sdk: AsyncOpenAI, cookies: dict[str, str]) -> RehearsalClient:
        calls = self._environment.balancer.calls
        if kind == "sdk":
            return SdkClient(sdk)
        if kind == "browser":
            # Every other one by key, which needs no code for a resume; the rest by the cookie and the call's id.
            return BrowserClient(calls, self._clock, cookies, uuid4().hex if number % 8 == 1 else None)
        return PlainClient(calls, self._clock)


def kind_of(number: int) -> str:
    """Half are SDK clients, a quarter browsers, a quarter cannot resume."""
    return ("sdk", "browser", "sdk", "plain")[number % 4]


def _ending(outcome: Outcome) -> str:
    return "done" if outcome.ok else f"exit {outcome.status}: {outcome.reason}"
