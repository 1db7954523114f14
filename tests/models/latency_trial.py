"""How soon a model's first sentence is heard, and whether callers beside notice that models are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loadtest.fleet import Fleet
from loadtest.profiles import ProfileRun
from loadtest.resuming import Findings
from tests.e2e.listener import listening
from tests.models.fault_trial import TYPED, fleet
from tests.models.hearing import percentile, replies
from tests.models.providers import AGENT, counting

FIRST_AUDIO_S = 0.3
"""From when the model has sent its first sentence to when its sound reaches the caller."""
BESIDE_S = 0.02
"""By so much more frames of others may be late than without a pipeline beside."""
ALONE_S = 10.0
ECHOES = 4
WORDS = 24


@dataclass
class LatencyVerdict:
    """Of many turns."""

    turns: int = 0
    first_audio_s: list[float] = field(default_factory=list)
    alone_p99_s: float = 0.0
    beside_p99_s: float = 0.0

    @property
    def first_audio_p95_s(self) -> float:
        """That 95 of 100 do not exceed."""
        return percentile(self.first_audio_s, 95) if self.first_audio_s else 0.0

    @property
    def passed(self) -> bool:
        """Whether both are soon enough."""
        is_soon = self.turns > 0 and self.first_audio_p95_s <= FIRST_AUDIO_S
        return is_soon and self.beside_p99_s - self.alone_p99_s <= BESIDE_S

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        shown = {name: value for name, value in vars(self).items() if name != "first_audio_s"}
        median_s = percentile(self.first_audio_s, 50) if self.first_audio_s else 0.0
        return {
            **shown,
            "first_audio_p50_s": median_s,
            "first_audio_p95_s": self.first_audio_p95_s,
            "passed": self.passed,
        }


async def trial(turns: int, callers: int, told: Callable[[LatencyVerdict], None]) -> LatencyVerdict:
    """So many callers of a pipeline at once, and some beside whose frames come back at once."""
    verdict = LatencyVerdict()
    async with fleet() as (pod, doubles):
        findings = Findings()
        beside = ProfileRun(Fleet([("127.0.0.1", pod.port)], {}), lambda _: None, findings)
        beside.pace.add(await beside.connect(ECHOES))
        await beside.pace.keep(ALONE_S)
        verdict.alone_p99_s = findings.echo.percentile_s(99)
        findings.echo = type(findings.echo)()
        left = iter(range(turns))

        async def talk() -> None:
            async with listening(pod.url, model=AGENT, session=TYPED) as caller:
                for done, turn in enumerate(left, 1):
                    asked = counting(100 * turn, 100 * turn + WORDS - 1)
                    await caller.type(asked)
                    await caller.replies(done)
                    [request] = [each for each in doubles[0].provider.log.of("chat") if asked in each.was_asked_for]
                    assert request.first_sentence_at is not None
                    verdict.first_audio_s.append(replies(caller)[-1].arrivals[0][0] - request.first_sentence_at)
                    verdict.turns += 1
                    verdict.beside_p99_s = findings.echo.percentile_s(99)
                    told(verdict)

        talking = asyncio.gather(*(talk() for _ in range(callers)))
        while not talking.done():
            await beside.pace.keep(1.0)
        await talking
        await beside.settle()
    return verdict
