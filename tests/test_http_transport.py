"""Requests of the pod's client that are given up, against servers on real sockets; with `giving_up`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.providers.server import RawProvider, Request, chunked, sending, serving, stalling
from tests.tls import make_certificate, needs_openssl
from tests.waiting import until
from voice_agent.kit.agent import Kit

HELLO = chunked(b"hel", b"lo")
Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


async def asked(http: httpx.AsyncClient, provider: RawProvider) -> bytes:
    """All that is answered."""
    async with http.stream("POST", provider.endpoint().url, content=b"x") as response:
        return b"".join([piece async for piece in response.aiter_raw()])


async def cancelled(http: httpx.AsyncClient, provider: RawProvider, turns: int, cancels: int) -> None:
    """Ask, and give up after so many turns of the event loop; as often as is said, with a turn between."""
    task = asyncio.ensure_future(asked(http, provider))
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize(
    "answer",
    [sending(HELLO), stalling(b""), stalling(HELLO[:-10]), sending(HELLO[:-10], cut=True)],
    ids=["whole", "nothing", "middle", "cut"],
)
async def test_no_connection_is_left_whenever_and_however_often_it_is_cancelled(answer: Answer, cancels: int) -> None:
    """An agent that asks with `kit.http` may be cancelled as any."""
    kit = Kit()
    async with serving(answer) as provider:
        for turns in range(60):
            await cancelled(kit.http, provider, turns, cancels)
        pool: Any = kit.http._transport._direct._pool  # type: ignore[attr-defined]
        await until(lambda: not pool._requests and all(one.is_idle() for one in pool.connections))
        await until(lambda: len(provider.open) == len(pool.connections) <= 1)
        await kit.close()
        await until(lambda: not provider.open)


@pytest.mark.parametrize("cancels", [1, 3])
async def test_plain_httpx_loses_connections(cancels: int) -> None:
    """So the test above would fail without the transport; where this one fails, httpx has been mended."""
    limits = httpx.Limits(max_connections=None)
    async with serving(sending(HELLO)) as provider, httpx.AsyncClient(limits=limits) as http:
        for turns in range(60):
            await cancelled(http, provider, turns, cancels)
        pool: Any = http._transport._pool  # type: ignore[attr-defined]
        assert [one for one in pool.connections if not one.is_idle()]


@needs_openssl
async def test_nor_is_one_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up in the handshake too."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    kit = Kit()
    async with serving(sending(HELLO), tls=context) as provider:
        assert await asked(kit.http, provider) == b"hello"
        pool: Any = kit.http._transport._direct._pool  # type: ignore[attr-defined]
        for turns in range(0, 90, 3):
            await pool.aclose()
            await cancelled(kit.http, provider, turns, 2)
        await until(lambda: not pool._requests and all(one.is_idle() for one in pool.connections))
        await until(lambda: len(provider.open) == len(pool.connections) <= 1)
        await kit.close()
        await until(lambda: not provider.open)


async def test_what_is_sent_while_it_is_made_can_be_given_up() -> None:
    """A caller who falls silent in the middle of an upload holds nothing up."""
    kit = Kit()
    begun, closed = asyncio.Event(), asyncio.Event()

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"one"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(sending(HELLO)) as provider:
        url = f"http://127.0.0.1:{provider.port}/"
        task = asyncio.ensure_future(kit.http.post(url, content=content()))
        await until(begun.is_set)
        task.cancel()
        await until(closed.is_set)
        await until(lambda: not provider.open)
        await kit.close()


async def test_a_proxy_of_the_environment_is_asked_for_what_it_is_named_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for hosts that it is not to be asked for."""
    async with serving(sending(HELLO)) as provider:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{provider.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        kit = Kit()
        assert (await kit.http.get("http://models.example/v1")).content == b"hello"
        assert (await kit.http.get(f"http://127.0.0.1:{provider.port}/v2")).content == b"hello"
        assert [one.line for one in provider.requests] == [
            "GET http://models.example/v1 HTTP/1.1",
            "GET /v2 HTTP/1.1",
        ]
        await kit.close()
