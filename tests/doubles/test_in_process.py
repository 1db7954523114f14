"""A provider without sockets is one to httpx: streams, faults, and clients that leave."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.doubles.faults import Fault
from tests.doubles.in_process import InProcess
from tests.doubles.provider import Provider
from tests.doubles.test_model import ALL, ASKED
from tests.waiting import until

BODY = {"model": "m", "messages": [ASKED], "stream": True}
URL = "http://first/v1/chat/completions"


async def test_an_answer_comes_piece_by_piece() -> None:
    """Before it is whole; an unknown host refuses the connection."""
    provider = Provider()
    provider.faults.add("chat", Fault("stall", 400))
    async with httpx.AsyncClient(transport=InProcess({"first": provider})) as client:
        async with client.stream("POST", URL, json=BODY) as response:
            async for piece in response.aiter_raw():
                assert piece.startswith(b"data: ")
                break
        await until(lambda: not provider.log.open)
        assert not provider.log.all[0].is_complete
        whole = (await client.post(URL, json=BODY)).text
        with pytest.raises(httpx.ConnectError):
            await client.post(URL.replace("first", "second"), json=BODY)
    assert whole.endswith("data: [DONE]\n\n")
    assert (provider.log.all[1].answer, provider.log.all[1].is_complete) == (ALL, True)


async def test_an_answer_is_cut() -> None:
    """At the byte."""
    provider = Provider()
    provider.faults.add("chat", Fault("cut", 700))
    got = b""
    async with (
        httpx.AsyncClient(transport=InProcess({"first": provider})) as client,
        client.stream("POST", URL, json=BODY) as response,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            async for piece in response.aiter_raw():
                got += piece
    assert len(got) == 700


async def test_a_provider_learns_that_its_client_has_died() -> None:
    """Without a line of the client's being run."""
    provider = Provider()
    provider.faults.add("chat", Fault("timeout"))
    transport = InProcess({"first": provider})
    async with httpx.AsyncClient(transport=transport) as client:
        asking = asyncio.create_task(client.post(URL, json=BODY))
        await until(lambda: provider.log.open)
        transport.client_died()
        await until(lambda: not provider.log.open)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
