"""Providers that fail while callers are answered: what is heard of it, and for how long nothing is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.doubles.faults import Fault, Task
from tests.doubles.serving import Served
from tests.doubles.tones import sound_of
from tests.e2e.listener import Listener, listening
from tests.e2e.pods import PodProcess, pods
from tests.models.hearing import HeardReply, percentile, replies
from tests.models.providers import AGENT, FIRST_S, TOKEN_S, VOICE_PACE, counting, providers, settings

WORDS, SENTENCE = 12, 4
STALL_S = 30.0
"""Longer than anybody waits."""
LONGEST_SILENCE_S = 0.7
"""That 95 of 100 callers may hear of a fault."""
SHOWN = 12
WITHOUT_FAULT = 2
"""Turns of each caller before its faults."""
TYPED = {"audio": {"input": {"turn_detection": None}}}
BODY_BYTES: dict[Task, int] = {"chat": 8_000, "hear": 200, "speak": 60_000}
"""About as many has an answer."""
KINDS = ("timeout", "rate_limited", "failing", "cut", "cut", "short", "stall", "garbage")
TASKS: tuple[Task, ...] = ("chat", "chat", "speak", "speak", "hear")


@dataclass
class FaultVerdict:
    """Of many turns, each with one fault."""

    turns: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """Those that befell a request, by task and kind."""
    words: int = 0
    resaid: int = 0
    """Words that were broken off, and said again whole."""
    usual_s: list[float] = field(default_factory=list)
    """As `silences_s`, of turns without a fault."""
    silences_s: list[float] = field(default_factory=list)
    """Of each turn the longest."""
    slowest: list[tuple[float, str]] = field(default_factory=list)
    """The longest of them, and the faults that were planned then."""
    problems: list[str] = field(default_factory=list)

    @property
    def silence_p95_s(self) -> float:
        """That 95 of 100 turns do not exceed."""
        return percentile(self.silences_s, 95) if self.silences_s else 0.0

    @property
    def passed(self) -> bool:
        """Whether no word was missing, none came twice, and nobody waited for long."""
        return not self.problems and self.turns > 0 and self.silence_p95_s <= LONGEST_SILENCE_S

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        shown = {name: value for name, value in vars(self).items() if name not in ("silences_s", "usual_s")}
        figures = {
            "usual_p50_s": percentile(self.usual_s, 50) if self.usual_s else 0.0,
            "silence_p95_s": self.silence_p95_s,
            "silence_max_s": max(self.silences_s, default=0.0),
        }
        return {**shown, **figures, "passed": self.passed}


def drawn(random: Random) -> tuple[Task, Fault]:
    """One of the faults."""
    task = random.choice(TASKS)
    after = random.randrange(BODY_BYTES[task])
    match random.choice(KINDS):
        case "timeout":
            return task, Fault("timeout", seconds=STALL_S)
        case "rate_limited":
            return task, Fault("status", status=429, retry_after_s=random.choice([None, 0.05, 1, 20]))
        case "failing":
            return task, Fault("status", status=random.choice([500, 502, 503]))
        case "stall":
            return task, Fault("stall", after, STALL_S)
        case "short" if task == "speak":
            return task, Fault("cut", after)  # Headless samples that end are whole: nobody can tell.
        case "garbage" if task == "speak":
            return task, Fault("status", status=500)  # Nor garbage from samples.
        case kind:
            return task, Fault(kind, after)  # type: ignore[arg-type]  # one of those that are left


@asynccontextmanager
async def fleet() -> AsyncIterator[tuple[PodProcess, list[Served]]]:
    """One pod, and two providers of which each may suffer the fault that is planned next."""
    with providers() as doubles:
        for double in doubles:
            double.provider.faults = doubles[0].provider.faults
            double.provider.first_s, double.provider.token_s = dict(FIRST_S), TOKEN_S
            double.provider.voice_pace = VOICE_PACE
        # What a provider does wrong stands in the log with its traceback, where an ear has failed.
        async with pods("memory://", allows_tracebacks=True) as its:
            its.settings = settings(doubles)
            yield await its.start(), doubles


class FaultTrial:
    """One run. Each caller has a pod and providers of its own, so that a turn has the fault that was drawn for it."""

    def __init__(self, turns: int, seed: int, told: Callable[[FaultVerdict], None]) -> None:
        self.verdict = FaultVerdict()
        self._left = iter(range(turns))
        self._random = Random(seed)
        self._told = told

    async def run(self, callers: int) -> FaultVerdict:
        """So many callers at once, until all turns are over."""
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(self._talk(number))
        return self.verdict

    async def _talk(self, number: int) -> None:
        async with fleet() as (pod, doubles), listening(pod.url, model=AGENT, session=TYPED) as caller:
            for turn in range(WITHOUT_FAULT):
                first = 100_000 + 1_000 * number + 20 * turn
                await _ask(caller, range(first, first + WORDS), spoken=False)
                await caller.replies(turn + 1)
                self.verdict.usual_s.append(replies(caller)[-1].longest_silence_s)
            for done, turn in enumerate(self._left, WITHOUT_FAULT + 1):
                task, fault = drawn(self._random)
                before = [None] * self._random.randrange(WORDS // SENTENCE) if task == "speak" else []
                plan = doubles[0].provider.faults
                plan.add(task, *before, fault)
                due = range(20 * turn, 20 * turn + WORDS)
                await _ask(caller, due, spoken=task == "hear")
                await caller.replies(done)
                status = f" {fault.status}" if fault.kind == "status" else ""
                self.verdict.faults[f"{task} {fault.kind}{status}"] += not plan.left(task)
                plan.clear()
                self._note(replies(caller)[-1], due, f"turn {turn}, {task} {fault}")

    def _note(self, reply: HeardReply, due: range, what: str) -> None:
        found = reply.count(due)
        self.verdict.turns += 1
        self.verdict.words += len(due)
        self.verdict.resaid += len(found.resaid)
        self.verdict.silences_s.append(reply.longest_silence_s)
        slowest = [*self.verdict.slowest, (reply.longest_silence_s, what)]
        self.verdict.slowest = sorted(slowest, reverse=True)[:SHOWN]
        self.verdict.problems += [f"{what}: {problem}" for problem in _problems(reply, due)]
        self._told(self.verdict)


def _problems(reply: HeardReply, due: range) -> Iterator[str]:
    if reply.status != "completed":
        yield f"the reply is {reply.status}"
    if not (found := reply.count(due)).is_complete:
        yield f"{found}, heard {' '.join(reply.words)}"


async def _ask(caller: Listener, due: range, *, spoken: bool) -> None:
    text = counting(due[0], due[-1], SENTENCE)
    if spoken:
        await caller.speak(sound_of(text))
    else:
        await caller.type(text)
