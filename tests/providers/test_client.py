"""Asking providers, against servers on real sockets; with `exchange`, which it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.providers.server import RawProvider, Request, chunked, sending, serving, stalling, whole
from tests.servers import free_port
from tests.waiting import until
from voice_agent.kit.agent import Kit
from voice_agent.providers.breaker import BreakerState
from voice_agent.providers.client import MAX_ERROR_BYTES, MAX_WHY_CHARS, ProviderClient
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.providers.exchange import HELD_BYTES

SECRET = "sk-very-secret"
HELLO = chunked(b"hel", b"lo")


async def asked(client: ProviderClient, endpoint: Endpoint, **body: Any) -> bytes:
    """All that is answered."""
    async with client.stream(endpoint, "POST", "/speak", **(body or {"json": {"input": "x"}})) as response:
        return await response.read()


def pool_of(client: ProviderClient) -> Any:
    """httpx's own count of connections."""
    return client._http._transport._direct._pool  # type: ignore[attr-defined]


async def all_closed(client: ProviderClient, provider: RawProvider) -> None:
    """Wait until neither side has a connection that is at work."""
    await until(lambda: not client.open_requests)
    await until(lambda: all(connection.is_idle() for connection in pool_of(client).connections))
    await until(lambda: len(provider.open) == len(pool_of(client).connections))
    assert pool_of(client)._requests == []


async def test_an_answer_comes_whole_and_its_connection_is_used_again(client: ProviderClient) -> None:
    """Ten requests, one connection; the path, the key and the query are where they belong."""
    async with serving(sending(HELLO)) as provider:
        endpoint = provider.endpoint(key=SECRET, query={"api-version": "1"})
        for _ in range(10):
            assert await asked(client, endpoint) == b"hello"
        assert provider.connections == 1
        request = provider.requests[0]
    assert request.line == "POST /v1/speak?api-version=1 HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == b'{"input":"x"}'
    assert client.health(endpoint).answers == 10


async def test_what_is_left_behind_the_part_that_mattered_costs_no_connection(client: ProviderClient) -> None:
    """A reader who has its `[DONE]` leaves; the end of the answer, just behind it, is read all the same."""
    async with serving(sending(HELLO)) as provider:
        for _ in range(3):
            async with client.stream(provider.endpoint(), "GET", "/") as response:
                assert await anext(response.pieces()) in (b"hel", b"hello")
        assert provider.connections == 1


@pytest.mark.parametrize("answer", [whole(b"hello"), HELLO], ids=["length", "chunks"])
async def test_an_answer_that_is_cut_at_any_byte_fails_and_is_never_taken_for_whole(
    client: ProviderClient, answer: bytes
) -> None:
    """Before the first byte of the body it is as if nothing had come; behind it, it is cut."""
    kinds = []
    for size in range(len(answer)):
        async with serving(sending(answer[:size], cut=True)) as provider:
            with pytest.raises(ProviderFailed) as failed:
                await asked(client, provider.endpoint())
            kinds.append(failed.value.kind)
            await all_closed(client, provider)
    assert set(kinds) == {FailureKind.UNREACHABLE, FailureKind.CUT}
    assert sorted(kinds, key=list(FailureKind).index) == kinds


async def test_what_came_before_a_cut_is_given_before_it_is_told(client: ProviderClient) -> None:
    """Its reader goes on from there."""
    async with serving(sending(HELLO[:-10], cut=True)) as provider:
        found = b""
        with pytest.raises(ProviderFailed):
            async with client.stream(provider.endpoint(), "GET", "/") as response:
                async for piece in response.pieces():
                    found += piece
    assert found == b"hel"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", FailureKind.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\nX", FailureKind.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", FailureKind.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", FailureKind.TIMEOUT),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n", FailureKind.FAILING),
        (b"\x16\x03\x01 this is not HTTP\r\n\r\n", FailureKind.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 200_000, FailureKind.UNREACHABLE),
    ],
)
async def test_a_provider_that_stalls_anywhere_is_given_up(
    client: ProviderClient, answer: bytes, kind: FailureKind
) -> None:
    """Before the status, in the headers, before the body, in it, in an error; and so is one that speaks no HTTP."""
    async with serving(stalling(answer)) as provider:
        with pytest.raises(ProviderFailed) as failed:
            patience_s = 0.05 if kind is FailureKind.TIMEOUT else 30.0
            await asked(client, provider.endpoint(first_s=patience_s, stall_s=0.05))
        assert failed.value.kind is kind
        await all_closed(client, provider)


async def test_an_answer_that_drips_takes_no_longer_than_all_of_it_may(client: ProviderClient) -> None:
    """A byte now and then holds off the time between two pieces, and not that of the whole."""

    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.005)

    async with serving(drip) as provider:
        with pytest.raises(ProviderFailed, match=r"gave nothing in 0\.2 s") as failed:
            await asked(client, provider.endpoint(total_s=0.2))
        assert failed.value.kind is FailureKind.TIMEOUT
        await all_closed(client, provider)


async def test_a_body_without_an_end_stops_at_its_bound_and_what_is_not_read_stops_the_provider(
    client: ProviderClient,
) -> None:
    """Memory is bounded whether the reader reads or not, and time that it takes itself is not the provider's."""
    sent = 0

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"8000\r\n" + bytes(0x8000) + b"\r\n")
            await writer.drain()
            sent += 0x8000

    async with serving(endless) as provider:
        with pytest.raises(ProviderFailed, match="more than 100000 bytes") as failed:
            async with client.stream(provider.endpoint(), "GET", "/") as response:
                await response.read(100_000)
        assert failed.value.kind is FailureKind.INVALID
        async with client.stream(provider.endpoint(total_s=0.5), "GET", "/") as response:
            (exchange,) = client._exchanges
            await until(lambda: exchange._held_bytes >= HELD_BYTES)
            assert exchange._held_bytes < HELD_BYTES + 0x20000
            # Longer than the provider may take: it is the reader who waits.
            await asyncio.sleep(0.6)
            pieces = response.pieces()
            assert len([await anext(pieces) for _ in range(20)]) == 20
        await all_closed(client, provider)


@pytest.mark.parametrize(
    ("status", "kind", "retries", "opens"),
    [
        ("429 Too Many Requests", FailureKind.RATE_LIMITED, True, True),
        ("500 Oh", FailureKind.FAILING, True, True),
        ("503 Busy", FailureKind.FAILING, True, True),
        ("401 No", FailureKind.REFUSED, False, True),
        ("400 Odd", FailureKind.REFUSED, False, False),
        ("307 Elsewhere", FailureKind.REFUSED, False, True),
    ],
)
async def test_a_status_says_what_to_do(
    client: ProviderClient, status: str, kind: FailureKind, retries: bool, opens: bool
) -> None:
    """Whether to retry, for how long to wait, and whether the provider or the request was at fault."""
    answer = whole(b'{"error": {"message": "sk-very-secret\\nis wrong"}}', status, "Retry-After: 7", "Location: /x")
    async with serving(sending(answer)) as provider:
        endpoint = provider.endpoint(key=SECRET)
        with pytest.raises(ProviderFailed) as failed:
            await asked(client, endpoint)
        assert len(provider.requests) == 1, "redirects are not followed: the key would go with them"
    error = failed.value
    assert (error.kind, error.may_retry, error.retry_after_s) == (kind, retries, 7.0)
    assert error.helps_elsewhere
    assert error.why == f"answered {status[:3]}: *** is wrong"
    assert client.health(endpoint).state is (BreakerState.OPEN if opens else BreakerState.CLOSED)


async def test_an_error_without_an_end_is_read_no_further_than_it_may_be(client: ProviderClient) -> None:
    """A line of a log is what it becomes."""
    async with serving(
        stalling(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"x" * 99999)
    ) as one:
        with pytest.raises(ProviderFailed) as failed:
            await asked(client, one.endpoint())
        await all_closed(client, one)
    assert len(failed.value.why) == MAX_WHY_CHARS < MAX_ERROR_BYTES


async def test_nobody_there_is_told_in_one_line(client: ProviderClient) -> None:
    """No stack of a library, no secret."""
    endpoint = Endpoint.model_validate({"url": f"http://127.0.0.1:{free_port()}/v1", "key": SECRET})
    with pytest.raises(ProviderFailed) as failed:
        await asked(client, endpoint)
    assert failed.value.kind is FailureKind.UNREACHABLE
    assert "\n" not in str(failed.value)
    assert SECRET not in str(failed.value) + repr(failed.value) + repr(endpoint) + str(endpoint)
    assert failed.value.__cause__ is None


async def test_text_that_is_no_unicode_is_an_error_as_any(client: ProviderClient) -> None:
    """A client of the Realtime API may have typed it."""
    with pytest.raises(ProviderFailed) as failed:
        await asked(client, Endpoint(url="http://127.0.0.1:1/v1"), json={"input": "\ud800"})
    assert failed.value.kind is FailureKind.INVALID


async def test_no_more_requests_are_open_than_may_be(client: ProviderClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one too many is not sent, and says nothing of the provider."""
    monkeypatch.setattr("voice_agent.providers.client.MAX_OPEN_REQUESTS", 2)
    async with serving(stalling(b"")) as provider:
        asking = [asyncio.ensure_future(asked(client, provider.endpoint())) for _ in range(2)]
        await until(lambda: len(provider.requests) == 2)
        with pytest.raises(ProviderFailed, match="2 requests are open"):
            await asked(client, provider.endpoint())
        assert client.health(provider.endpoint()).failures == {}
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        await all_closed(client, provider)


async def test_an_encoding_that_was_not_asked_for_is_refused(client: ProviderClient) -> None:
    """What it unpacks to has no bound."""
    async with serving(sending(whole(b"xx", "200 OK", "Content-Encoding: gzip"))) as provider:
        with pytest.raises(ProviderFailed, match="encoding 'gzip'"):
            await asked(client, provider.endpoint())


async def test_no_cookie_of_one_call_goes_with_another(client: ProviderClient) -> None:
    """One pool serves all callers."""
    async with serving(sending(whole(b"x", "200 OK", "Set-Cookie: who=me"))) as provider:
        await asked(client, provider.endpoint())
        await asked(client, provider.endpoint())
        assert "cookie" not in provider.requests[1].headers


async def test_an_error_that_its_reader_raises_counts_against_the_provider(client: ProviderClient) -> None:
    """What an answer means is known further up: a stream without its last event, audio that is none."""
    async with serving(sending(HELLO)) as provider:
        endpoint = provider.endpoint()
        for _ in range(3):
            with pytest.raises(ProviderFailed):
                async with client.stream(endpoint, "GET", "/") as response:
                    await response.read()
                    raise response.failed(FailureKind.CUT, "has no end")
        assert client.health(endpoint).state is BreakerState.OPEN
        assert client.health(endpoint).failures == {FailureKind.CUT: 3}


async def test_what_is_uploaded_while_it_is_said_has_time_from_its_end_on(client: ProviderClient) -> None:
    """A caller may speak for longer than a provider may think."""
    may_end = asyncio.Event()

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"one "
        await may_end.wait()
        yield b"two"

    async with serving(sending(HELLO)) as provider:
        asking = asyncio.ensure_future(asked(client, provider.endpoint(first_s=0.2), content=content()))
        await until(lambda: provider.connections)
        await asyncio.sleep(0.3)  # Longer than the provider may take.
        may_end.set()
        assert await asking == b"hello"
        assert provider.requests[0].body == b"one two"


async def test_an_upload_is_not_waited_for_once_the_provider_is_gone(client: ProviderClient) -> None:
    """Its failure is known before the caller has ended."""

    async def content() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 4096
            await asyncio.sleep(0.005)

    endpoint = Endpoint(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ProviderFailed):
        await asked(client, endpoint, content=content())


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize(
    "answer",
    [sending(HELLO), stalling(b""), stalling(HELLO[:-10]), sending(HELLO[:-10], cut=True), stalling(HELLO[:-5])],
    ids=["whole", "nothing", "middle", "cut", "end"],
)
async def test_no_connection_is_left_whenever_and_however_often_it_is_cancelled(answer: Answer, cancels: int) -> None:
    """At each turn of the event loop, with as many cancellations right behind each other."""
    async with serving(answer) as provider:
        kit = Kit()
        client = kit.shared(ProviderClient)
        for turns in range(60):
            asking = asyncio.ensure_future(asked(client, provider.endpoint()))
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(cancels):
                asking.cancel()
                await asyncio.sleep(0)
            await asyncio.wait((asking,))
            asking.cancelled() or asking.exception()
        await all_closed(client, provider)
        await kit.close()
        await until(lambda: not provider.open)


async def test_a_flood_of_small_pieces_leaves_others_their_turn(client: ProviderClient) -> None:
    """However many came at once: between two that are received, and between two that are read."""
    turns = 0
    received: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            received.append(sum(one._held_bytes for one in client._exchanges))
            await asyncio.sleep(0)

    async with serving(stalling(chunked(*[b"x"] * 1000))) as provider:
        task = asyncio.create_task(others())
        async with client.stream(provider.endpoint(), "GET", "/") as response:
            exchange = response._exchange
            await until(lambda: exchange._held_bytes == 1000)
            read_at = [turns async for _ in response.pieces()]
        task.cancel()
    assert max(after - before for before, after in pairwise(received)) <= 2
    assert len(read_at) == len(set(read_at)) == 1000
