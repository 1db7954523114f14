"""Several endpoints that can do the same: which is asked, and who goes on when it fails before it has begun."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from voice_agent.providers.answer_times import AnswerTimes
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import ProviderFailed
from voice_agent.providers.hedging import NoneAnswered, first_to_answer

RETRY_AFTER_S = (0.1, 0.3)
"""Between these a retry begins when all have failed: late enough for a restart of a process behind a load balancer."""
LONGEST_RETRY_AFTER_S = 2.0
"""A provider that wants to be left alone for longer is not asked again: a caller waits."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndpointAnswer(Generic[T]):
    """An endpoint that has begun to answer, and what it gives: `items` is to be read once."""

    endpoint: Endpoint
    items: AsyncGenerator[T, None]


class Failover:
    """A list of endpoints, in the order of preference."""

    def __init__(self, client: ProviderClient, endpoints: Sequence[Endpoint], *, hedge_s: float | None = None) -> None:
        """`hedge_s`: after so long without an item the next is asked as well; None: when one is overdue as usual."""
        if not endpoints:
            raise ValueError("there must be an endpoint")
        self.client = client
        self.endpoints = tuple(endpoints)
        self._fixed = None if hedge_s is None else AnswerTimes.fixed(hedge_s)

    def pauses(self, endpoint: Endpoint) -> AnswerTimes:
        """What is known of pauses within its answers."""
        return self._fixed or self.client.health(endpoint).pauses

    def candidates(self, besides: Collection[Endpoint] = ()) -> list[Endpoint]:
        """All of them, in the order to be asked now: those whose breakers are open last, and `besides` behind those.

        A last resort is better than nothing, so none is left out.
        """
        unwanted = {endpoint.identity for endpoint in besides}

        def rank(endpoint: Endpoint) -> tuple[bool, bool]:
            return endpoint.identity in unwanted, not self.client.health(endpoint).admits

        return sorted(self.endpoints, key=rank)

    @asynccontextmanager
    async def ask(
        self, start: Callable[[Endpoint], AsyncGenerator[T, None]], *, besides: Collection[Endpoint] = ()
    ) -> AsyncIterator[EndpointAnswer[T]]:
        """Have `start` ask the candidates, one by one, until one gives its first item.

        Raises `ProviderFailed` when none does. One that fails later raises it out of `items`: only the reader knows
        what it has of it, and asks for the rest with `besides`, the endpoint that failed. All are closed at the end.
        """
        candidates = self.candidates(besides)
        try:
            async with self._first(start, candidates) as answer:
                yield answer
                return
        except NoneAnswered as none:
            failed = [(candidates[index], error) for index, error in none.failed.items()]
        again, delay_s = self._retries(failed)
        if not again:
            raise _most_telling(error for _, error in failed)
        await asyncio.sleep(delay_s)
        try:
            async with self._first(start, again) as answer:
                yield answer
        except NoneAnswered as none:
            raise _most_telling(none.failed.values()) from None

    @asynccontextmanager
    async def _first(
        self, start: Callable[[Endpoint], AsyncGenerator[T, None]], candidates: Sequence[Endpoint]
    ) -> AsyncIterator[EndpointAnswer[T]]:
        starts = [partial(start, endpoint) for endpoint in candidates]
        times = [self._fixed or self.client.health(endpoint).first_items for endpoint in candidates]
        async with first_to_answer(starts, times) as answer:
            for index, after_s in answer.overtaken.items():
                self.client.health(candidates[index]).overtaken(after_s)
            yield EndpointAnswer(candidates[answer.index], answer.items)

    def _retries(self, failed: Iterable[tuple[Endpoint, Exception]]) -> tuple[list[Endpoint], float]:
        """Those that are asked once more, and after which delay: as long as all of them want."""
        again = []
        delay_s = random.uniform(*RETRY_AFTER_S)  # noqa: S311 - no secret
        for endpoint, error in failed:
            if not isinstance(error, ProviderFailed) or not error.may_retry:
                continue
            wants_s = error.retry_after_s or 0.0
            if wants_s <= LONGEST_RETRY_AFTER_S and self.client.health(endpoint).budget.take():
                again.append(endpoint)
                delay_s = max(delay_s, wants_s)
        return again, delay_s


def _most_telling(errors: Iterable[Exception]) -> Exception:
    """The first that may pass, for it says when; else the first."""
    found = list(errors)
    return next((error for error in found if isinstance(error, ProviderFailed) and error.may_retry), found[0])
