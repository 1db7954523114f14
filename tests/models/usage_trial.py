"""What calls' records say was used, against what the providers have counted, while pods die."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.doubles.faults import Fault, Task
from tests.doubles.provider import Provider
from tests.doubles.request_log import Request
from tests.models.pipelines import HttpPipeline, http_settings
from tests.models.providers import counting
from tests.models.simulated import SimulatedCall, simulated_call
from voice_agent.call.usage import AUDIO_MS, CACHED_INPUT_TOKENS, CHARACTERS, INPUT_TOKENS, OUTPUT_TOKENS
from voice_agent.testing.script import Say, ScriptStep

WORDS = 12
TURNS = 2
CALL_S = 15.0
"""About as long as a call without kills."""
UNITS: Mapping[str, str] = {
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "cached_input_tokens": CACHED_INPUT_TOKENS,
    "characters": CHARACTERS,
    "audio_ms": AUDIO_MS,
}
"""Of providers' figures, as records call them."""


@dataclass
class UsageVerdict:
    """Of many calls."""

    calls: int = 0
    kills: int = 0
    requests: int = 0
    """That providers have had."""
    unknown: int = 0
    never_sent: int = 0
    """Of which records know, and no provider: their pods died before they were sent."""
    words: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every request stands in exactly one record, with its figures or as unknown."""
        return not self.faults and self.calls > 0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**vars(self), "passed": self.passed}


def one_call(number: int, kills: int, *, with_faults: bool = True) -> tuple[SimulatedCall, list[range]]:
    """A call of spoken turns whose pod dies so often, and the numbers that are due in each reply."""
    random = Random(number)
    due = [range(start, start + WORDS) for start in (1000 * number + 100 * turn for turn in range(TURNS))]
    script: list[ScriptStep] = [Say(counting(numbers[0], numbers[-1])) for numbers in due]
    times_s = sorted(random.uniform(0.5, CALL_S) for _ in range(kills))
    plan = _faults if with_faults else _none
    found = simulated_call(HttpPipeline, http_settings(), script, seed=number, kills_at_s=times_s, plan=plan)
    return found, due


def _none(random: Random, providers: Mapping[str, Provider]) -> None: ...


def _faults(random: Random, providers: Mapping[str, Provider]) -> None:
    """Some of the requests fail, so that others are asked as well; no two that follow each other."""
    first = next(iter(providers.values()))
    for provider in providers.values():
        provider.faults = first.faults
    tasks: tuple[Task, ...] = ("chat", "hear", "speak")
    for task in tasks:
        kinds = [None, Fault("status"), Fault("cut", random.randrange(2_000)), Fault("timeout")]
        first.faults.add(task, random.choice(kinds), *(None,) * 3, random.choice(kinds))


def trial(numbers: Iterable[int], kills: int, told: Callable[[UsageVerdict], None]) -> UsageVerdict:
    """Of the calls of these numbers; `told` after each."""
    verdict = UsageVerdict()
    for number in numbers:
        try:
            found, due = one_call(number, kills)
        except Exception as error:  # noqa: BLE001 the next call may say more
            verdict.faults.append(f"call {number}: {error!r}")
            continue
        verdict.calls += 1
        verdict.kills += found.kills
        verdict.requests += sum(map(len, found.requests.values()))
        verdict.unknown += sum(one.unknown for one in found.usage.sums.values())
        verdict.faults += [f"call {number}: {fault}" for fault in faults_of(found, due, verdict)]
        told(verdict)
    return verdict


def faults_of(found: SimulatedCall, due: list[range], verdict: UsageVerdict) -> Iterator[str]:
    """What is wrong with a call."""
    if not found.is_done:
        yield "it did not end"
    if found.usage.open:
        yield f"requests are open: {found.usage.open}"
    spoken = [heard for heard in found.heard if heard]
    if len(spoken) != len(due):
        yield f"{len(spoken)} replies: {found.heard}"
    else:
        for counted in found.counts(due):
            verdict.words += WORDS
            if not counted.is_complete:
                yield f"its words are {counted}"
    sent: Counter[str] = Counter()
    for host, requests in found.requests.items():
        for model in {request.model for request in requests}:
            its = [request for request in requests if request.model == model]
            sent[f"{host}/{model}"] = len(its)
            yield from _differences(f"{host}/{model}", its, found)
    for pair, total in found.usage.sums.items():
        verdict.never_sent += total.known + total.unknown - sent[pair]


def _differences(pair: str, requests: list[Request], found: SimulatedCall) -> Iterator[str]:
    """Between the record of a call and what one provider had of it for one model."""
    total = found.usage.sums.get(pair)
    if total is None:
        yield f"{pair} is in no record"
        return
    ids = [request.client_request_id for request in requests]
    if len(set(ids)) != len(ids) or "" in ids:
        yield f"{pair}: a request has no id of its own"
    unknown = set(found.usage.unknown_ids)
    known = [request for request in requests if request.client_request_id not in unknown]
    if len(known) != total.known:
        yield f"{pair}: {total.known} are known, the provider has {len(known)} beside the unknown"
    counted: Counter[str] = Counter()
    for request in known:
        counted.update({UNITS[unit]: figure for unit, figure in request.usage.items()})
    figures = {unit: figure for unit, figure in total.figures.items() if unit in UNITS.values() and figure}
    if dict(+counted) != figures:
        yield f"{pair}: the record has {figures}, the provider {dict(counted)}"
