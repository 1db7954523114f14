"""Asking a model over HTTP, whatever comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from tests.doubles.faults import Fault
from tests.doubles.in_process import InProcess
from tests.doubles.provider import Provider
from voice_agent.providers.chat import MAX_WHOLE_BYTES, ChatRequest, stream_chat
from voice_agent.providers.chat_chunks import ChatBegan, ChatDelta, ChatDone, ChatText, ChatUsage
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind, ProviderFailed

REQUEST = ChatRequest(messages=[{"role": "user", "content": "hello"}], temperature=0.5, max_tokens=9)
ENDPOINT = Endpoint(url="http://model0/v1", model="small")


async def read(transport: httpx.AsyncBaseTransport, endpoint: Endpoint = ENDPOINT) -> list[ChatDelta]:
    async with httpx.AsyncClient(transport=transport) as http:
        return [delta async for delta in stream_chat(ProviderClient(http), endpoint, REQUEST)]


def gives(*pieces: bytes, content_type: str = "text/event-stream") -> httpx.AsyncBaseTransport:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return httpx.MockTransport(lambda _: httpx.Response(200, headers={"content-type": content_type}, content=body()))


async def test_an_answer_comes_as_it_is_made() -> None:
    """What was used is its last."""
    provider = Provider()
    found = await read(InProcess({"model0": provider}))
    assert found[0] == ChatBegan()
    assert "".join(delta.text for delta in found if isinstance(delta, ChatText)) == "You said: hello"
    assert isinstance(found[-2], ChatDone)
    assert isinstance(found[-1], ChatUsage)
    [request] = provider.log.all
    assert request.client_request_id.startswith("req_")
    assert request.asked == {
        "messages": REQUEST.messages,
        "model": "small",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_tokens": 9,
    }


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://me.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://local/v1", "max_tokens"),
    ],
)
def test_the_most_tokens_are_called_as_the_provider_calls_them(url: str, name: str) -> None:
    """OpenAI's newer models refuse the older name."""
    assert REQUEST.body(Endpoint(url=url))[name] == 9


def test_what_is_not_set_is_not_sent() -> None:
    """A provider may refuse what it does not know."""
    request = ChatRequest(messages=[], tool_choice="required", parallel_tool_calls=False, extra={"top_k": 1})
    assert request.body(Endpoint(url="http://local/v1")) == {
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "top_k": 1,
    }
    with_tools = ChatRequest(messages=[], tools=[{}], tool_choice="required", parallel_tool_calls=False)
    body = with_tools.body(Endpoint(url="http://local/v1"))
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([{}], "required", False)


TEXT = b'data: {"choices":[{"delta":{"content":"Hello."}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


async def test_an_answer_may_come_whole() -> None:
    """From a server that does not stream."""
    whole = b'{"choices":[{"message":{"content":"Hello."},"finish_reason":"stop"}]}'
    found = await read(gives(whole, content_type="application/json"))
    assert found == [ChatBegan(), ChatText("Hello."), ChatDone("stop")]


async def test_an_end_without_the_last_mark_is_an_end() -> None:
    """The reason was given."""
    assert await read(gives(TEXT, STOP)) == [ChatBegan(), ChatText("Hello."), ChatDone("stop")]


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((TEXT,), FailureKind.CUT),
        ((), FailureKind.CUT),
        ((TEXT, b"data: {\n\n"), FailureKind.INVALID),
        ((TEXT, b'data: {"error":{"message":"overloaded"}}\n\n'), FailureKind.FAILING),
        ((b"data: " + b"x" * (2 << 20),), FailureKind.INVALID),
        ((b": " + b"x" * 1_000 + b"\n\n",) * 9_000, FailureKind.INVALID),
    ],
)
async def test_a_stream_that_is_no_answer_fails_in_one_way(pieces: tuple[bytes, ...], kind: FailureKind) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ProviderFailed) as caught:
        await read(gives(*pieces))
    assert caught.value.kind is kind


async def test_a_whole_answer_without_end_is_refused() -> None:
    """It is not read to its end."""
    with pytest.raises(ProviderFailed) as caught:
        await read(gives(b"{" + b" " * MAX_WHOLE_BYTES, content_type="application/json"))
    assert caught.value.kind is FailureKind.INVALID


async def test_text_without_end_ends_the_stream() -> None:
    """The connection is cut, and what came is the answer."""
    found = await read(gives(*[TEXT * 1_000] * 100))
    assert found[-1] == ChatDone("length")


async def test_an_answer_that_is_not_read_to_its_end_is_let_go_of() -> None:
    """No request is left open."""
    provider = Provider()
    provider.faults.add("chat", Fault("stall", after_bytes=400))
    async with httpx.AsyncClient(transport=InProcess({"model0": provider})) as http:
        client = ProviderClient(http)
        async with aclosing(stream_chat(client, ENDPOINT, REQUEST)) as deltas:
            assert await anext(deltas) == ChatBegan()
        await asyncio.sleep(0)
        assert client.open_requests == 0


async def test_who_asks_is_told_of_the_request() -> None:
    """To say for which reply it is."""
    told: list[Any] = []
    async with httpx.AsyncClient(transport=InProcess({"model0": Provider()})) as http:
        found = [each async for each in stream_chat(ProviderClient(http), ENDPOINT, REQUEST, told.append)]
    assert len(told) == 1
    assert told[0].figures["output_tokens"] == found[-1].output  # type: ignore[union-attr]  # its usage
