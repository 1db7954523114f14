"""An upgrade under talk: kills and drains of both releases, cutovers and their rollbacks."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.caller import CallersVerdict, fleet_callers
from tests.chaos.fleet import COLORS, DRAIN_DEADLINE_S, Pod
from tests.servers import redis_server
from tests.upgrade.additions import Additions
from tests.upgrade.fleet import MixedFleet, Program
from tests.upgrade.releases import Release

EVERY_S = 1.5
"""From one fault to the next."""
LOOK_S = 0.5
"""From one look at the calls in the store to the next."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    before: str = ""
    """A directory or a tag; "": the release before, made of this one."""
    ahead: bool = False
    """The other release is the one after this one, made of it, and not one before."""
    planted: str = ""
    """A bug of the older of both that is to be found, if that is made of this one."""
    faults_each: int = 4
    """In each part of a round."""
    seconds: float = 120.0
    """Rounds begin for so long; there is one at least."""
    callers: int = 12
    seed: int = 0


@dataclass(slots=True)
class Verdict(CallersVerdict):
    """What was found."""

    plan: Plan = field(default_factory=Plan)
    part: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def figures(self) -> dict[str, Any]:
        """The table."""
        found = self.totals
        return {
            "seconds": round(self.took_s, 1),
            **dict(sorted(self.counts.items())),
            **self.traffic,
            "calls dropped": found.dropped,
            "lost": found.lost + found.lost_words + found.wrong_replies,
            "repeated": found.repeated + found.extra_words,
            "errors in logs": len(self.complaints) - self.counts["additions gone"],
        }


async def upgrade(plan: Plan, *, on_progress: Callable[[Verdict], None] = lambda verdict: None) -> Verdict:
    """Blue is of the release before, green of this one; or blue of this one, green of the one after."""
    chance = random.Random(plan.seed)
    verdict = Verdict(plan=plan)
    with tempfile.TemporaryDirectory(prefix="va-upgrade-") as name, redis_server() as server:
        directory = Path(name)
        older, newer = (Release.THIS, Release.AFTER) if plan.ahead else (Release.BEFORE, Release.THIS)
        blue = Program.checked_out(plan.before, directory) if plan.before else Program.made(older, plan.planted)
        fleet = MixedFleet(directory, server, chance, {"blue": blue, "green": Program.made(newer)})
        additions = Additions(server.url)
        try:
            await fleet.open()
            await fleet.until_well()
            await Upgrade(plan, fleet, chance, verdict, on_progress, additions).run()
            verdict.counts.update({"additions": additions.seen, "additions gone": len(additions.gone)})
            verdict.complaints = additions.gone + fleet.tracebacks()
        finally:
            await additions.close()
            await fleet.close()
    return verdict


class Upgrade:
    """One run, with everything started."""

    def __init__(
        self,
        plan: Plan,
        fleet: MixedFleet,
        chance: random.Random,
        verdict: Verdict,
        on_progress: Callable[[Verdict], None],
        additions: Additions,
    ) -> None:
        self._plan = plan
        self._fleet = fleet
        self._chance = chance
        self._verdict = verdict
        self._on_progress = on_progress
        self._additions = additions
        self._began_s = time.monotonic()

    async def run(self) -> None:
        """Talk, do rounds until it is enough, and let the callers finish."""
        await self._fleet.route("blue")
        seeds = range(self._plan.seed * 1000, self._plan.seed * 1000 + self._plan.callers)
        self._verdict.begin(fleet_callers(self._fleet, seeds))
        looking = asyncio.create_task(self._look())
        await self._round()
        while time.monotonic() - self._began_s < self._plan.seconds:
            await self._round()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        self._note("the callers finish")
        await self._verdict.finish()
        self._note("done")

    async def _look(self) -> None:
        while True:
            call_ids = [caller.call.call_id for caller in self._verdict.callers]
            await self._additions.look([call_id for call_id in call_ids if call_id])
            await asyncio.sleep(LOOK_S)  # from one look to the next

    async def _round(self) -> None:
        await self._faults("blue alone", "blue")
        await self._cut_over("blue", "green")
        self._verdict.counts["cutovers"] += 1
        await self._faults("green alone", "green")
        await self._cut_over("green", "blue")
        self._verdict.counts["rollbacks"] += 1
        await self._fleet.route(*COLORS)
        await self._faults("both", *COLORS)
        await self._fleet.route("blue")

    async def _cut_over(self, old: str, new: str) -> None:
        """As a cutover does: the new color takes calls, gets all callers, and the old one hands its own off.

        One pod of each is killed: the new color goes on with replies that the old one had begun.
        """
        self._note(f"from {old} to {new}")
        await self._fleet.tool(new, "drain", "--color", new, "--cancel")
        await self._fleet.until_well()
        await self._fleet.route(new)
        await self._kill(self._pod(old))
        drained = self._fleet.tool(old, "drain", "--color", old, "--mode", "handoff", "--yes", "--wait")
        await asyncio.gather(drained, self._kill(self._pod(new)))
        await self._fleet.tool(old, "drain", "--color", old, "--cancel")
        await self._fleet.until_well()

    async def _faults(self, part: str, *colors: str) -> None:
        for _ in range(self._plan.faults_each):
            self._note(part)
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * EVERY_S)  # the callers talk
            pod = self._pod(self._chance.choice(colors))
            await self._chance.choice((self._kill, self._drain))(pod)
            await self._fleet.until_well()

    def _pod(self, color: str) -> Pod:
        return self._chance.choice([pod for pod in self._fleet.pods if pod.color == color])

    async def _kill(self, pod: Pod) -> None:
        await self._end(pod, signal.SIGKILL)
        self._verdict.counts["kills"] += 1

    async def _drain(self, pod: Pod) -> None:
        await self._end(pod, signal.SIGTERM)
        self._verdict.counts["drains"] += 1

    async def _end(self, pod: Pod, how: signal.Signals) -> None:
        assert pod.process is not None
        pod.signal(how)
        async with asyncio.timeout(2 * DRAIN_DEADLINE_S):
            await asyncio.to_thread(pod.process.wait)
        pod.health = {}
        await self._fleet.start(pod)

    def _note(self, part: str) -> None:
        self._verdict.part, self._verdict.took_s = part, time.monotonic() - self._began_s
        self._on_progress(self._verdict)
