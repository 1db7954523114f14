"""How soon a model's first sentence is heard, and whether callers beside notice that models are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.listener import Listener, listening
from tests.models.echoes import echoes
from tests.models.fault_trial import TYPED, fleet
from tests.models.hearing import percentile
from tests.models.providers import AGENT, counting

FIRST_AUDIO_S = 0.3
"""From when the model has sent its first sentence to when its sound reaches the caller."""
BESIDE_S = 0.02
"""By so much more frames of others may be late than without a pipeline beside."""
LAG_S = 0.01
"""Half a frame: callers who are later themselves measure the machine, and nothing else."""
ALONE_S = 10.0
ECHOES = 4
WORDS = 12


@dataclass
class LatencyVerdict:
    """Of many turns."""

    turns: int = 0
    first_audio_s: list[float] = field(default_factory=list)
    alone_p99_s: float = 0.0
    beside_p99_s: float = 0.0
    lag_p99_s: float = 0.0
    """How late the callers beside were themselves, when it was worse."""

    @property
    def first_audio_p95_s(self) -> float:
        """That 95 of 100 do not exceed."""
        return percentile(self.first_audio_s, 95) if self.first_audio_s else 0.0

    @property
    def is_sound(self) -> bool:
        """Whether the callers beside kept their time."""
        return self.lag_p99_s <= LAG_S

    @property
    def passed(self) -> bool:
        """Whether both are soon enough."""
        is_soon = self.turns > 0 and self.first_audio_p95_s <= FIRST_AUDIO_S
        return self.is_sound and is_soon and self.beside_p99_s - self.alone_p99_s <= BESIDE_S

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        shown = {name: value for name, value in vars(self).items() if name != "first_audio_s"}
        median_s = percentile(self.first_audio_s, 50) if self.first_audio_s else 0.0
        return {
            **shown,
            "first_audio_p50_s": median_s,
            "first_audio_p95_s": self.first_audio_p95_s,
            "is_sound": self.is_sound,
            "passed": self.passed,
        }


async def trial(turns: int, callers: int, told: Callable[[LatencyVerdict], None]) -> LatencyVerdict:
    """So many callers of a pipeline at once, and some beside whose frames come back at once."""
    verdict = LatencyVerdict()
    left = iter(range(turns))
    async with fleet() as (pod, doubles), echoes(pod.port, ECHOES) as beside:

        async def talk() -> None:
            async with listening(pod.url, model=AGENT, session=TYPED) as caller:
                for done, turn in enumerate(left, 1):
                    asked = counting(100 * turn, 100 * turn + WORDS - 1)
                    before = len(caller.events)
                    await caller.type(asked)
                    await caller.replies(done)
                    [request] = [each for each in doubles[0].provider.log.of("chat") if asked in each.was_asked_for]
                    assert request.first_sentence_at is not None
                    verdict.first_audio_s.append(_first_audio_at(caller, before) - request.first_sentence_at)
                    verdict.turns += 1
                    told(verdict)

        await asyncio.sleep(ALONE_S)  # So long they are alone.
        alone = await beside.times()
        await asyncio.gather(*(talk() for _ in range(callers)))
        with_others = await beside.times()
    verdict.alone_p99_s, verdict.beside_p99_s = alone.p99_s, with_others.p99_s
    verdict.lag_p99_s = max(alone.lag_p99_s, with_others.lag_p99_s)
    return verdict


def _first_audio_at(caller: Listener, since: int) -> float:
    """When the first sound of a reply came whose events begin behind so many."""
    coming = zip(caller.times[since:], caller.events[since:], strict=False)
    return next(came_at for came_at, event in coming if event["type"] == "response.output_audio.delta")
