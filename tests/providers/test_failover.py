"""Several providers that can do the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.providers.server import chunked, sending, serving, stalling, whole
from tests.waiting import until
from voice_agent.providers.breaker import BreakerState
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.failover import Failover

LONG_S = 60.0
A, B, C = (Endpoint(url=f"http://127.0.0.1:1/{name}", name=name) for name in "abc")
FAILED = ProviderFailed("x", FailureKind.FAILING, "answered 500")


def test_a_list_without_an_endpoint_is_refused(client: ProviderClient) -> None:
    """There would be nobody to ask."""
    with pytest.raises(ValueError, match="must be an endpoint"):
        Failover(client, [])


async def test_those_that_fail_are_asked_last_and_none_is_left_out(client: ProviderClient) -> None:
    """A last resort is better than nothing."""
    failover = Failover(client, [A, B, C])
    assert failover.candidates() == [A, B, C]
    for _ in range(3):
        client.health(A).failed(FAILED)
    assert failover.candidates() == [B, C, A]
    assert failover.candidates(besides=[B]) == [C, A, B]
    assert failover.candidates(besides=[B, C]) == [A, B, C]


async def asked(failover: Failover) -> tuple[str, bytes]:
    """Who answered, and what."""

    async def start(endpoint: Endpoint) -> AsyncGenerator[bytes, None]:
        async with failover.client.stream(endpoint, "GET", "/") as response:
            async for piece in response.pieces():
                yield piece

    async with failover.ask(start) as answer:
        return answer.endpoint.name, b"".join([piece async for piece in answer.items])


async def test_a_caller_gets_an_answer_while_one_of_two_gives_any(client: ProviderClient) -> None:
    """Stalled, refused, failing, cut before it began: the second answers, and the first is soon asked last."""
    for bad in (
        stalling(b""),
        stalling(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        sending(whole(b"", "429 No", "Retry-After: 60")),
        sending(whole(b"", "500 No")),
        sending(b"HTTP/1.1 200 OK\r\n", cut=True),
    ):
        async with serving(bad) as one, serving(sending(chunked(b"hello"))) as other:
            first, second = one.endpoint(name="first"), other.endpoint(name="second")
            failover = Failover(client, [first, second], hedge_s=0.05)
            for _ in range(5):
                assert await asked(failover) == ("second", b"hello")
            assert client.health(first).state is BreakerState.OPEN
            assert len(one.requests) <= 3
            await until(lambda: not client.open_requests)


async def test_one_that_is_alone_is_asked_once_more_where_that_may_help(client: ProviderClient) -> None:
    """After a moment, as its budget allows."""
    answers = iter([whole(b"", "503 Busy"), chunked(b"hello")])

    async def answer(request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with serving(answer) as provider:
        assert await asked(Failover(client, [provider.endpoint(name="a")])) == ("a", b"hello")
    async with serving(sending(whole(b"", "503 Busy"))) as provider:
        for _ in range(30):
            with pytest.raises(ProviderFailed):
                endpoint = provider.endpoint(name="b")
                client.health(endpoint).budget.tokens = min(client.health(endpoint).budget.tokens, 2.0)
                await asked(Failover(client, [endpoint]))
        assert len(provider.requests) == 30 + 2


@pytest.mark.parametrize("answer", [whole(b"", "401 No"), whole(b"", "429 No", "Retry-After: 60")])
async def test_one_that_will_not_is_not_asked_again(client: ProviderClient, answer: bytes) -> None:
    """A caller waits."""
    async with serving(sending(answer)) as provider:
        with pytest.raises(ProviderFailed):
            await asked(Failover(client, [provider.endpoint()]))
        assert len(provider.requests) == 1


async def test_when_none_answers_the_error_is_the_one_that_may_pass(client: ProviderClient) -> None:
    """It says when to come again."""
    async with (
        serving(sending(whole(b"", "401 No"))) as one,
        serving(sending(whole(b"", "429 No", "Retry-After: 9"))) as other,
    ):
        with pytest.raises(ProviderFailed) as failed:
            await asked(Failover(client, [one.endpoint(), other.endpoint()]))
    assert (failed.value.kind, failed.value.retry_after_s) == (FailureKind.RATE_LIMITED, 9.0)


async def test_one_that_is_cut_in_the_middle_is_the_readers_to_go_on_from(client: ProviderClient) -> None:
    """Nothing is said twice behind its back."""
    async with serving(sending(chunked(b"hel", b"lo")[:-10], cut=True)) as one, serving(stalling(b"")) as other:
        failover = Failover(client, [one.endpoint(), other.endpoint()], hedge_s=LONG_S)
        with pytest.raises(ProviderFailed) as failed:
            await asked(failover)
        assert failed.value.kind is FailureKind.CUT
        assert not other.requests
