"""Direct mode: ear and front desk in this process, without a call. Quick, and each result can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.eval_speech import people
from tests.eval_speech.hearing import Heard, Hearing, TimeIsUpError
from tests.eval_speech.requests import Request
from tests.eval_speech.talking import Outcome, Said, talk
from tests.eval_speech.words import errors, words
from voice_agent.kit.ear import Transcript


@dataclass(frozen=True, slots=True)
class Trial:
    """One request by one caller in one condition."""

    caller: str
    condition: str
    request: Request


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial."""

    ear: str
    trial: Trial
    outcome: Outcome
    heard: tuple[Heard, ...]
    """Turn by turn."""
    words: int
    word_errors: int
    """Of the request's first turn. One that was not understood has none of its words."""


def trials(callers: Sequence[str], conditions: Sequence[str], requests: Sequence[Request]) -> Iterator[Trial]:
    """All of them; people say what they have said, and callers the rest."""
    for condition in conditions:
        for caller in callers:
            for request in requests:
                if (request.kind == people.CALLER) == (caller == people.CALLER):
                    yield Trial(caller, condition, request)


async def run(hearing: Hearing, planned: Sequence[Trial], advance: Callable[[], None]) -> list[Result]:
    """All trials, one after the other, or as many as there is time for: then a fair sample of them."""
    results = []
    for trial in Random(len(planned)).sample(planned, len(planned)):
        with suppress(TimeIsUpError):
            results.append(await _result(hearing, trial))
        advance()
    hearing.save()
    return results


async def _result(hearing: Hearing, trial: Trial) -> Result:
    turns: list[Heard] = []

    async def hear(said: Said) -> Transcript:
        # People have said each thing once.
        asked = Said(trial.request.text) if trial.caller == people.CALLER else said
        turns.append(await hearing.hear(trial.caller, trial.condition, asked))
        return turns[-1].transcript

    outcome = await talk(trial.request, hear)
    said, understood = words(trial.request.text), words(turns[0].text or "")
    return Result(hearing.name, trial, outcome, tuple(turns), len(said), errors(said, understood))
